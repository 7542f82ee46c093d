"""What each runtime takes: tables of operators, one YAML file a family of runtimes, every row with its source.

A table has the `runtimes` that it speaks of, `rows` that say which operators they take with which element types, and
`limits`, conditions under which an operator is refused, slow or unclear all the same. A row holds for the versions of
the runtime from `since` to `until` and for the versions of the operator in `opsets` (99: any later one).
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal, get_args

import yaml

__all__ = ['GRAPH', 'Row', 'Runtime', 'Table', 'Verdict', 'cures', 'runtimes']

Verdict = Literal['ok', 'slow', 'unknown', 'refused']
GRAPH = '(graph)'  # operator of the rows that speak of the whole file
ANY = '*'  # operator of the limits that hold for all operators
TABLES = ('tensorrt', 'onnxruntime_cpu', 'onnxruntime_cuda', 'openvino', 'ncnn', 'coreml')
Version = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One fact and where it was read or measured.

    Attributes:
        operators: Operators that it speaks of.
        source: Repository, version and file; page and version; or what was measured with which version.
        verdict: 'ok', 'slow', 'unknown' or 'refused'.
        since: First version of the runtime, None: all.
        until: Last version of the runtime, None: all.
        opsets: First and last version of the operator.
        types: Type variable of the operator -> element types; '' is the variable of its data, and the only one of an
            operator outside of ONNX.
        when: Condition -> its argument; all must hold. See `audit.CONDITIONS`.
        casts: Element type -> the type that the runtime computes in instead.
        reason: Why, in a few words.
        cost: What becomes of the model.
        cure: What removes it.
    """

    operators: tuple[str, ...]
    source: str
    verdict: Verdict = 'ok'
    since: Version | None = None
    until: Version | None = None
    opsets: tuple[int, int] = (1, 99)
    types: Mapping[str, frozenset[str]] = field(default_factory=dict)
    when: Mapping[str, Any] = field(default_factory=dict)
    casts: Mapping[str, str] = field(default_factory=dict)
    reason: str = ''
    cost: str = ''
    cure: str = ''

    def __post_init__(self) -> None:
        if not (self.operators and self.source and self.verdict in get_args(Verdict)):
            raise ValueError(f'A row needs operators, a source and a verdict, but this one is {self}.')

    def holds(self, version: Version, since_version: int = 1) -> bool:
        """Whether it speaks of this version of the runtime and of the operator."""
        low, high = self.since or version, self.until or version
        # `until: 9.9` takes in 9.9.1
        return low <= version and version[: len(high)] <= high and self.opsets[0] <= since_version <= self.opsets[1]


@dataclass(frozen=True)
class Runtime:
    """One runtime in one version.

    Attributes:
        name: As `--runtime` takes it.
        title: As people write it.
        aliases: Other names.
        version: Of the runtime.
        opsets: First and last opset that it takes, None where no document says.
        source: Of `opsets`.
        table: What it takes.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    version: Version
    opsets: tuple[int, int] | None
    source: str
    table: 'Table'


@dataclass(frozen=True)
class Table:
    """The facts of one family of runtimes.

    Attributes:
        rows: Operator -> rows that say whether it is taken, and with which types.
        limits: Operator -> conditions under which it is not.
        casts: What happens to element types that the runtime has not.
        unlisted: What an operator without a row means.
        other_type: What an element type that no row lists means.
        refusal: What becomes of a model with a refused operator.
    """

    rows: Mapping[str, tuple[Row, ...]]
    limits: Mapping[str, tuple[Row, ...]]
    casts: tuple[Row, ...]
    unlisted: Row
    other_type: Row
    refusal: str

    def row(self, operator: str, version: Version, since_version: int) -> Row | None:
        """The row of an operator, None if there is none."""
        return next((r for r in self.rows.get(operator, ()) if r.holds(version, since_version)), None)

    def limits_of(self, operator: str, version: Version, since_version: int) -> list[Row]:
        """The conditions to try on a node of this operator."""
        found = (*self.limits.get(operator, ()), *(self.limits.get(ANY, ()) if operator != GRAPH else ()))
        return [row for row in found if row.holds(version, since_version)]


@functools.cache
def runtimes() -> dict[str, Runtime]:
    """Name -> runtime, of all tables."""
    return {name: runtime for table in TABLES for name, runtime in _read(table).items()}


@functools.cache
def cures() -> dict[str, Row]:
    """Operator -> what removes it, whatever the runtime."""
    return {operator: row for operator, (row, *_) in _index(_load('cures')['rows']).items()}


def _read(name: str) -> dict[str, Runtime]:
    content = _load(name)
    table = Table(
        rows=_index(content['rows']),
        limits=_index(content.get('limits', ())),
        casts=tuple(map(_row, content.get('casts', ()))),
        unlisted=_row(content['unlisted']),
        other_type=_row(content['other_type']),
        refusal=content['refusal'],
    )
    return {
        entry['name']: Runtime(
            name=entry['name'],
            title=entry['title'],
            aliases=tuple(entry.get('aliases', ())),
            version=_version(entry['version']) or (),
            opsets=tuple(entry['opsets']) if 'opsets' in entry else None,  # type: ignore[arg-type]
            source=entry['source'],
            table=table,
        )
        for entry in content['runtimes']
    }


def _load(name: str) -> dict[str, Any]:
    text = (resources.files(__package__ or __name__) / f'{name}.yaml').read_text(encoding='utf-8')
    return yaml.load(text, Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader))


def _index(entries: Any) -> dict[str, tuple[Row, ...]]:
    found: dict[str, list[Row]] = {}
    for entry in entries:
        row = _row(entry)
        for operator in row.operators:
            found.setdefault(operator, []).append(row)
    return {operator: tuple(rows) for operator, rows in found.items()}


def _row(entry: Mapping[str, Any]) -> Row:
    entry = dict(entry)
    types = entry.pop('types', {})
    return Row(
        operators=tuple(entry.pop('operators', (ANY,))),
        source=entry.pop('source', ''),
        since=_version(entry.pop('since', None)),
        until=_version(entry.pop('until', None)),
        opsets=tuple(entry.pop('opsets', (1, 99))),  # type: ignore[arg-type]
        types={k: frozenset(v) for k, v in (types if isinstance(types, dict) else {'': types}).items()},
        **entry,
    )


def _version(text: str | None) -> Version | None:
    return tuple(int(part) for part in text.split('.')) if text else None
