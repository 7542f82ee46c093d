"""Say whether a runtime takes an ONNX file: which node it refuses, what that costs and which option removes it.

    python tools/audit.py lsnet_t.onnx --runtime tensorrt-10.3
    python tools/audit.py lsnet_t.onnx retinanet.onnx --json audit.json

Nothing is run and no runtime is needed: the answers come from tables whose every row names its source. Exit code 0 says
that every runtime asked about takes every file, 1 that one does not or that nobody knows, 2 that the command is wrong.
"""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

try:
    from tools import files
except ImportError:  # run as a script: this folder is on the path, its parent is not
    import files  # type: ignore[no-redef]

if TYPE_CHECKING:
    from rich.table import Table

    from backbones.deploy.audit import AuditReport, Finding

SIGNS = {'ok': 'ok', 'slow': '[yellow]slow[/]', 'unknown': '[magenta]unknown[/]', 'refused': '[red]refused[/]'}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='audit.py', description='Say whether runtimes take an ONNX file.')
    parser.add_argument('files', nargs='+', metavar='FILE', help='an ONNX file')
    parser.add_argument(
        '--runtime', action='append', metavar='NAME', help='a runtime, e.g. tensorrt-10.3; repeatable (default: all)'
    )
    parser.add_argument('--json', metavar='FILE', help='write the verdicts and the problems there too')
    parser.add_argument('--verbose', action='store_true', help='show every node and every remark, not problems alone')
    parser.add_argument('--allow-unknown', action='store_true', help='let pass what no source speaks of')
    return parser


def main(args: list[str] | None = None) -> int:
    """Run the tool.

    Args:
        args: Command line without the program's name, `sys.argv` by default.

    Returns:
        Exit code: 0 if every runtime takes every file, 1 if not, 2 after a user's mistake.
    """
    options = _parser().parse_args(args)
    try:
        from backbones.deploy.audit import audit

        if options.json:
            _check(options.json, options.files)
        reports = [audit(path, options.runtime) for path in options.files]
        if options.json:
            files.write(options.json, json.dumps([report.as_dict() for report in reports], indent=1) + '\n')
        for report in reports:
            _print(report, options.verbose, options.allow_unknown)
    except (ValueError, ImportError, OSError) as error:
        print(f'audit.py: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    return 0 if all(r.passed(name, options.allow_unknown) for r in reports for name in r.runtimes) else 1


def _check(target: str, inputs: list[str]) -> None:
    """Refuse, before the work, a file that cannot be written or that is read."""
    files.check(target, '--json')
    if os.path.exists(target) and any(os.path.exists(path) and os.path.samefile(path, target) for path in inputs):
        raise ValueError(f'--json {target} would overwrite a model that is read: name another file.')


def _print(report: 'AuditReport', verbose: bool, allow_unknown: bool) -> None:
    from rich.console import Console
    from rich.markup import escape

    # a pipe has no width: let the table be as wide as it needs
    console = Console(width=None if sys.stdout.isatty() else 240)
    console.print(_table(report, verbose))
    findings = [f for f in report.findings if verbose or f.verdict != 'ok']
    for text in _lines(findings, every=verbose):
        console.print(text, highlight=False, soft_wrap=True)
    for name in report.runtimes:
        verdict, passed = report.verdict(name), report.passed(name, allow_unknown)
        count = len(report.problems(name))
        console.print(
            f'{escape(report.model)}: {name} {"passes" if passed else "[bold red]fails[/]"}, {SIGNS[verdict]}'
            f'{f", {count} findings" if count else ""}',
            highlight=False,
            soft_wrap=True,
        )


def _table(report: 'AuditReport', verbose: bool) -> 'Table':
    """Operators and what each runtime makes of them; without `verbose` those alone that have a problem."""
    from rich.table import Table

    table = Table('Operator', title=f'{report.model}, opset {report.opset}')
    table.add_column('Nodes', justify='right')
    for name in report.runtimes:
        table.add_column(name)
    clean = 0
    for operator, count in {'(graph)': 1, **report.operators}.items():
        verdicts = [report.verdict(name, operator) for name in report.runtimes]
        if not verbose and set(verdicts) == {'ok'}:
            clean += count if operator != '(graph)' else 0
            continue
        table.add_row(operator, str(count) if operator != '(graph)' else '', *(SIGNS[v] for v in verdicts))
    if clean:
        table.add_row('all others', str(clean), *('ok' for _ in report.runtimes))
    return table


def _lines(findings: list['Finding'], every: bool) -> list[str]:
    """One line a problem; nodes with the same one share it unless every node is asked for."""
    from rich.markup import escape

    groups: dict[tuple, list[str]] = {}
    for f in findings:
        facts = (f.runtime, f.verdict, f.operator, f.reason, f.cost, f.cure, f.source)
        groups.setdefault((*facts, f.node if every else ''), []).append(f.node)
    lines = []
    for (runtime, verdict, operator, reason, cost, cure, source, _), nodes in groups.items():
        where = nodes[0] + (f' and {len(nodes) - 1} more' if len(nodes) > 1 else '')
        facts = {'': reason, 'cost: ': cost, 'cure: ': cure, 'source: ': source}
        told = '; '.join(name + escape(text) for name, text in facts.items() if text)
        place = f' ({escape(where)})' if where else ''
        lines.append(f'{runtime}: {SIGNS[verdict]} {escape(operator)}{place}{": " if told else ""}{told}')
    return lines


if __name__ == '__main__':
    sys.exit(main())
