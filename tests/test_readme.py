"""The README's commands do what it says.

- Every ```python block runs, top to bottom, all in one process. A block that begins with `# needs ...` (a file or a
  machine that a test lacks) is only compiled.
- In ```bash blocks every `make TARGET` names a target, every `python tools/...` runs, unless its line ends with
  `# long`: then the files that it names must exist.

All of it in an empty folder that links to the repository's, so that relative paths work and outputs land elsewhere.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import timm

import backbones
from registry import facts, variants

ROOT = Path(__file__).parents[1]
README = ROOT / 'README.md'
TEXT = README.read_text() if README.exists() else ''
BLOCKS = [
    (match['language'], TEXT.count('\n', 0, match.start('code')), match['code'])
    for match in re.finditer(r'^```(?P<language>\w+)\n(?P<code>.*?)^```', TEXT, re.M | re.S)
]
PYTHON = [(line, code) for language, line, code in BLOCKS if language == 'python']
# A command may go on after a backslash at the end of a line.
COMMANDS = [
    command.strip()
    for language, _, code in BLOCKS
    if language == 'bash'
    for command in code.replace('\\\n', ' ').splitlines()
    if command.strip()
]
TOOLS = [command for command in COMMANDS if command.startswith('python tools/')]
LONG = [command for command in TOOLS if command.endswith('# long')]
# the commands of a block follow each other, in one folder
SHORT = [
    commands
    for language, _, code in BLOCKS
    if language == 'bash'
    and (commands := [line for line in code.replace('\\\n', ' ').splitlines() if line in TOOLS and line not in LONG])
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in ROOT.iterdir():
        if (
            path.is_dir()
            and not path.name.startswith('.')
            and path.name not in {'outputs', 'work_dirs', 'build', 'dist'}
        ):
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def run(command: list[str], folder: Path) -> None:
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f'{done.stdout[-2000:]}\n{done.stderr[-6000:]}'


def test_readme_shows_python_and_make() -> None:
    assert PYTHON
    assert {'make demo', 'make test'} <= {command.partition('#')[0].strip() for command in COMMANDS}


def test_python_blocks_run(folder: Path) -> None:
    script = ['import builtins', "scope = {'__name__': '__main__'}"]
    for line, code in PYTHON:
        # Empty lines in front make a traceback name the line of the README.
        padded = '\n' * line + code
        compile(padded, README.name, 'exec')
        if not code.startswith('# needs '):
            script.append(f'builtins.exec(builtins.compile({padded!r}, {README.name!r}, "exec"), scope)')
    (folder / 'blocks.py').write_text('\n'.join(script))
    run([sys.executable, 'blocks.py'], folder)


@pytest.mark.parametrize('commands', SHORT)
def test_tool_commands_run(commands: list[str], folder: Path) -> None:
    for command in commands:
        run([sys.executable, *shlex.split(command, comments=True)[1:]], folder)


@pytest.mark.parametrize('command', LONG)
def test_long_commands_name_what_exists(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    named = [word for word in words if re.match(r'(tools|configs|data|checkpoints)/', word)]
    assert [word for word in named if not (ROOT / word).exists()] == []


@pytest.mark.parametrize('path', [README, *sorted(ROOT.glob('docs/*.md'))], ids=lambda path: path.name)
def test_processes_that_the_commands_speak_of_are_started(path: Path) -> None:
    for line in path.read_text().replace('\\\n', ' ').splitlines():
        assert '--launcher pytorch' not in line or 'torchrun --n' in line, line


@pytest.mark.parametrize('tool', sorted({command.split()[1] for command in TOOLS}))
def test_tools_explain_themselves(tool: str) -> None:
    run([sys.executable, tool, '--help'], ROOT)


ROWS = {
    match['name']: [cell.strip() for cell in match['cells'].split('|')]
    for match in re.finditer(r'^\| `(?P<name>\w+)` \| (?P<cells>.*) \|$', TEXT, re.M)
}


def test_table_has_every_backbone_once_and_its_parameters() -> None:
    assert all(TEXT.count(f'\n| `{name}` |') == 1 for name in ROWS)
    assert set(ROWS) == set(backbones.list_models())
    for name, (_, parameters, *_) in ROWS.items():
        assert parameters == f'{facts(name).parameters / 1e6:.3f}', name


@pytest.mark.parametrize('name', variants())
def test_table_has_the_multiply_adds(name: str) -> None:
    pytest.importorskip('fvcore')
    from backbones.profile import count_macs

    model = timm.create_model(name)
    size = model.pretrained_cfg['input_size']
    assert ROWS[name][0] == str(size[1])
    assert ROWS[name][3] == f'{count_macs(model, size) / 1e9:.3f}'


def test_make_commands_name_targets() -> None:
    targets = set(re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.M))
    named = {
        word for command in COMMANDS if command.startswith('make ') for word in shlex.split(command, comments=True)[1:]
    }
    assert {word for word in named if '=' not in word} <= targets
