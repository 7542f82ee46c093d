"""The package as a whole: what importing it needs, costs and touches, what a wheel holds, who imports whom."""

import ast
import email
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import backbones

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'backbones'
SOURCES = sorted(PACKAGE.rglob('*.py'))

# Room -> rooms of this package that it may import. The package itself (`__init__`) is above all of them.
ROOMS = {
    'layers': {'layers'},
    'base': {'layers'},
    'build': {'base', 'checkpoints'},
    'keys': set(),
    'models': {'models', 'base', 'build', 'keys', 'layers'},
    'checkpoints': set(),
    'measure': set(),
    'deploy': {'deploy', 'layers', 'backbones'},  # the version, which goes into the files it writes
    'energy': {'layers'},
    'pyramid': set(),
    'profile': {'deploy', 'layers'},
    'mm': {'mm', 'base', 'backbones'},  # `import backbones` registers the names that its configs build
}
# Library -> the only room that may import it.
RESERVED = {
    **dict.fromkeys(['mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'], 'mm'),
    **dict.fromkeys(['onnx', 'onnxscript', 'onnxruntime', 'openvino'], 'deploy'),
    'fvcore': 'profile',
    'triton': 'layers',
}


def run_python(code: str, *args: str, env: dict[str, str] | None = None) -> str:
    """Standard output of `code` in a fresh interpreter at the root of the sources; fails when it wrote to stderr."""
    command = [sys.executable, '-c', code, *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, env=env)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def core_modules() -> set[str]:
    """Top-level modules of the core dependencies and of everything that they require in turn."""
    modules_of: dict[str, set[str]] = {}
    for module, names in metadata.packages_distributions().items():
        for name in names:
            modules_of.setdefault(_normal(name), set()).add(module)
    found: set[str] = set()
    queue = [_requirement(line) for line in _project()['dependencies']]
    while queue:
        name = queue.pop()
        if name in found:
            continue
        found.add(name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # required on another platform only
            continue
        queue += [_requirement(line) for line in required if 'extra ==' not in line]
    return set().union(*(modules_of.get(name, set()) for name in found))


def _project() -> dict:
    tomllib = pytest.importorskip('tomllib', reason='part of Python since 3.11')
    return tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


def _requirement(line: str) -> str:
    return _normal(re.match(r'[\w.-]+', line).group())


def _normal(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


# A second environment without the extras would take gigabytes and minutes for torch alone. Hiding every module that the
# core does not bring gives the same answer: a hidden module can neither be imported nor found by those who only look.
BARE = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        top = name.partition('.')[0]
        standard = top in sys.stdlib_module_names or top.startswith('_sysconfigdata')
        return self.finder.find_spec(name, path, target) if standard or top in core else None

core = {*sys.argv[1].split(','), 'backbones'}
sys.meta_path[:] = map(Hiding, sys.meta_path)
"""


def test_core_alone_builds_and_runs_a_model() -> None:
    code = """
import backbones, timm, torch
name = min(backbones.list_models())
model = timm.create_model(name, num_classes=3).eval()
print(tuple(backbones.deploy.fuse(model)(torch.zeros(1, 3, 64, 64)).shape))
"""
    assert run_python(BARE + code, ','.join(core_modules())) == '(1, 3)\n'


def test_bare_environment_hides_the_extras() -> None:
    """Without this the test above would prove nothing."""
    code = """
import importlib.util
print([name for name in ('mmengine', 'onnx', 'fvcore', 'pytest') if importlib.util.find_spec(name)])
"""
    assert run_python(code) == "['mmengine', 'onnx', 'fvcore', 'pytest']\n"
    assert run_python(BARE + code, ','.join(core_modules())) == '[]\n'


def test_import_is_silent_and_loads_no_extra() -> None:
    """timm loads Triton itself where there is one, hence the comparison."""
    code = """
import sys, timm
before = {*sys.modules}
import backbones
print(*sorted({name.partition('.')[0] for name in {*sys.modules} - before}))
"""
    lines = run_python(code).splitlines()
    assert len(lines) == 1, 'importing backbones printed something'
    assert not set(lines[0].split()) & set(RESERVED)
    assert 'backbones' in lines[0].split()


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy so that no build folder appears in the sources."""
    source = tmp_path_factory.mktemp('source')
    for name in ('backbones', 'configs'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp('wheel')
    command = [
        sys.executable,
        '-m',
        'pip',
        'wheel',
        '-q',
        '--no-deps',
        '--no-build-isolation',
        '--no-index',
        '-w',
        target,
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert 'BuildBackendWarning' not in done.stderr, 'list every folder of configs/ under packages in pyproject.toml'
    (built,) = target.glob('*.whl')
    return built


def test_wheel_holds_the_package_and_its_configs(wheel: Path) -> None:
    tables = sorted(PACKAGE.rglob('*.yaml'))
    assert tables
    modules = {path.relative_to(ROOT).as_posix() for path in (*SOURCES, *tables)}
    configs = {f'backbones/{path.relative_to(ROOT).as_posix()}' for path in (ROOT / 'configs').rglob('*.py')}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
        info = {name.rpartition('.dist-info/')[2] for name in archive.namelist() if '.dist-info/' in name}
    assert modules | configs <= names
    assert {name.partition('/')[0] for name in names} == {'backbones'}
    assert 'licenses/LICENSE' in info


def test_wheel_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith('.dist-info/METADATA'))
        fields = email.message_from_bytes(archive.read(name))
    assert fields['Name'] == 'backbones'
    assert fields['Version'] == backbones.__version__
    assert fields['License-Expression'] == 'Apache-2.0'
    assert set(fields.get_all('Provides-Extra', [])) == {'onnx', 'openvino', 'mm', 'profile', 'look', 'all', 'dev'}


def test_dependencies_have_no_upper_bound() -> None:
    project = _project()
    lines = [line for group in [project['dependencies'], *project['optional-dependencies'].values()] for line in group]
    assert [line for line in lines if re.search(r'<|==|~=', line)] == []


def test_every_dependency_is_pinned() -> None:
    project = _project()
    pins = {_normal(name) for name in re.findall(r'^([\w.-]+)==[\w.]+$', (ROOT / 'requirements.txt').read_text(), re.M)}
    lines = [line for group in [project['dependencies'], *project['optional-dependencies'].values()] for line in group]
    assert {_requirement(line) for line in lines} - {'backbones'} <= pins


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_module_keeps_to_its_room(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), 'a module says in its docstring what it is'
    room = path.relative_to(PACKAGE).parts[0].removesuffix('.py')
    if room == '__init__':
        return
    assert room in ROOMS, f'give the new room {room!r} its place in ROOMS'
    for module in _imported(tree, path):
        top, _, rest = module.partition('.')
        if top == 'backbones':
            assert (rest.partition('.')[0] or 'backbones') in ROOMS[room], f'{room} must not import {module}'
        assert RESERVED.get(top, room) == room, f'{module} is for {RESERVED[top]} alone'
        private = top == 'timm' and any(part.startswith('_') for part in rest.split('.'))
        assert not private or room == 'base', f'{module}: base.py alone touches private modules of timm'


def _imported(tree: ast.Module, path: Path) -> list[str]:
    """Absolute names of all modules that a file imports, inside functions too; `from . import x` counts as `.x`."""
    package = path.relative_to(ROOT).parent.parts
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level]] if node.level else []
            base += [node.module] if node.module else []
            # `from package import name` may name a module or an object of it: the file system tells which.
            for alias in node.names:
                inner = ROOT.joinpath(*'.'.join(base).split('.'), alias.name)
                is_module = inner.is_dir() or inner.with_suffix('.py').is_file()
                found.append('.'.join([*base, alias.name] if is_module else base))
    return found
