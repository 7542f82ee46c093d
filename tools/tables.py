"""Tables on the terminal and in Markdown, with the command and the machine that they come from."""

import os
import shlex
import sys
from collections.abc import Sequence
from datetime import date

try:
    from tools import files
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import files  # type: ignore[no-redef]


def show(title: str, lines: Sequence[Sequence[str]]) -> None:
    """Print a table.

    Args:
        title: What it shows.
        lines: Cells, the first line with the headings; the first column holds names, the others numbers.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for i, heading in enumerate(lines[0]):
        table.add_column(heading, justify='right' if i else 'left')
    for line in lines[1:]:
        table.add_row(*line)
    # a pipe has no width: let the table be as wide as it needs
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def write(path: str | os.PathLike, command: Sequence[str], facts: str, lines: Sequence[Sequence[str]]) -> None:
    """Write a page of Markdown: the command, how and where it was measured, the table.

    Args:
        path: The file.
        command: Words of the command line, after `python`.
        facts: What else a reader has to know, in sentences; date, machine and versions are put before it.
        lines: As `show` takes them.
    """
    from backbones.measure import machine, versions

    named = ', '.join(f'{name} {version}' for name, version in versions().items())
    rows = [f'| {" | ".join(line)} |' for line in lines]
    rows.insert(1, '| --- |' + ' ---: |' * (len(lines[0]) - 1))
    here = f'{date.today().isoformat()}, {machine()}, {named}. {facts}'
    files.write(path, '\n'.join([f'    python {shlex.join(command)}', '', here, '', *rows, '']))
