"""deploy.audit: what runtimes make of a graph, from tables whose every row names its source."""

import itertools
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnx')

import onnx
from onnx import TensorProto, helper, numpy_helper

from backbones.deploy import audit as rules
from backbones.deploy.audit import AuditReport, audit, known_runtimes, rank
from backbones.deploy.export import FORBIDDEN, OPSETS
from backbones.deploy.operators import GRAPH, Row, cures, runtimes
from tools import audit as tool

JETSON = 'tensorrt-10.3'
TENSORRT = [name for name in known_runtimes() if name.startswith('tensorrt')]
SOURCE = re.compile(
    r'[\w.-]+/[\w.-]+@|measured|issue \d+|PR \d+|release notes|migration guide|API \d|[\w.]+ \d+\.\d+|backbones\.'
)


def graph(
    operator: str,
    inputs: Sequence[Any] = ((2, 4, 8, 8),),
    dtype: int = TensorProto.FLOAT,
    opset: int = 18,
    outputs: int = 1,
    domain: str = '',
    **attributes: Any,
) -> onnx.ModelProto:
    """One node; an input is a shape (a free side is a word, None is left out) or an array, which is a constant."""
    names = ['' if given is None else f'in{place}' for place, given in enumerate(inputs)]
    given = dict(zip(names, inputs, strict=True))
    node = helper.make_node(
        operator, names, [f'out{i}' for i in range(outputs)], name='it', domain=domain, **attributes
    )
    return helper.make_model(
        helper.make_graph(
            [node],
            'made',
            [helper.make_tensor_value_info(n, dtype, s) for n, s in given.items() if isinstance(s, tuple)],
            [helper.make_empty_tensor_value_info('out0')],
            [numpy_helper.from_array(a, n) for n, a in given.items() if isinstance(a, np.ndarray)],
        ),
        opset_imports=[helper.make_opsetid('', opset), *([helper.make_opsetid(domain, 1)] if domain else [])],
        ir_version=10,
    )


def ints(*values: int) -> np.ndarray:
    return np.array(values, 'int64')


def verdict(model: onnx.ModelProto, runtime: str = JETSON) -> tuple[str, str]:
    """The worst verdict on the node, and its reason."""
    report = audit(model, [runtime])
    found = max((f for f in report.findings if f.operator != GRAPH), key=lambda finding: rank(finding.verdict))
    return found.verdict, found.reason


# The tables


def every_row() -> list[tuple[str, Row]]:
    tables = {id(runtime.table): (name, runtime.table) for name, runtime in runtimes().items()}
    rows = [
        (name, row)
        for name, table in tables.values()
        for index in (table.rows, table.limits)
        for found in index.values()
        for row in found
    ]
    extra = [(name, row) for name, t in tables.values() for row in (*t.casts, t.unlisted, t.other_type)]
    return rows + extra + [('cures', row) for row in cures().values()]


def test_every_row_names_its_source() -> None:
    for name, row in every_row():
        assert SOURCE.search(row.source) or row.source == 'the row of the operator', (name, row)
        if (
            row.verdict in ('slow', 'refused', 'unknown')
            and name != 'cures'
            and row.source != 'the row of the operator'
        ):
            assert row.reason or row.casts, (name, row)
    with pytest.raises(ValueError, match='a source'):
        Row(operators=('Conv',), source='')


def test_every_row_speaks_of_operators_and_conditions_that_exist() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    # older operators, and some that the parser of TensorRT has beside ONNX's
    known |= {schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain}
    known |= {'ImageScaler', 'ParametricSoftplus', 'ScaledTanh', GRAPH, '*'}
    types = {name.lower() for name, _ in TensorProto.DataType.items()} | {'float32', 'float64'}
    for name, row in every_row():
        assert {o for o in row.operators if '::' not in o} <= known, (name, row)
        assert set(row.when) <= {*rules.CONDITIONS, 'free'}, (name, row)
        assert set().union(*row.types.values(), row.casts, row.casts.values()) <= types, (name, row)
        assert row.since is None or row.until is None or row.since <= row.until, (name, row)


def test_an_operator_has_one_row_for_each_version() -> None:
    """But those that the code of a runtime says more of than its document: the first row holds."""
    for runtime in runtimes().values():
        for operator, rows in runtime.table.rows.items():
            found = [row for row in rows if row.holds(runtime.version, 18)]
            sources = {row.source for row in found}
            assert len(found) <= 1 or len(sources) > 1, (runtime.name, operator)


def test_every_runtime_knows_what_our_exporter_must_not_write() -> None:
    schemas = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    forbidden = [name for name in sorted(schemas) if FORBIDDEN.fullmatch(name) and name != 'ReverseSequence']
    assert len(forbidden) > 12
    table = runtimes()[JETSON].table
    for name in forbidden:
        rows = [table.row(name, (10, 3), 18), *(row for row in table.limits_of(name, (10, 3), 18) if not row.when)]
        assert {row.verdict for row in rows if row} & {'refused', 'unknown', 'slow'}, name
        assert name in cures(), name


# Rules


def test_a_plain_graph_passes_everywhere() -> None:
    report = audit(graph('Relu', opset=17))
    assert report.runtimes == tuple(known_runtimes())
    assert all(report.passed(name) for name in report.runtimes)
    assert report.operators == {'Relu': 1}
    assert {f.verdict for f in report.findings if f.operator == 'Relu'} == {'ok'}


@pytest.mark.parametrize(
    ('operator', 'inputs', 'attributes', 'expected'),
    [
        ('DFT', [(1, 8, 2)], {}, ('refused', 'before 11.2')),
        ('SequenceConstruct', [(1,), (1,)], {}, ('refused', 'no rule')),
        ('Col2Im', [(1, 9, 4), ints(4, 4), ints(3, 3)], {}, ('refused', 'no rule')),
        ('Unique', [(4,)], {}, ('refused', 'no rule')),
        ('Relu', [(1,) * 9], {}, ('refused', 'more than 8 axes')),
        ('GridSample', [(1, 2, 3, 4, 5), (1, 3, 4, 5, 3)], {}, ('refused', '4 axes')),
        ('MaxPool', [(1, 2, 8, 8)], {'kernel_shape': [2, 2], 'outputs': 2}, ('refused', 'Indices')),
        ('MaxPool', [(1, 2, 8, 8)], {'kernel_shape': [2, 2], 'dilations': [2, 2]}, ('refused', 'dilations')),
        ('MaxPool', [(1, 2, 8, 8)], {'kernel_shape': [2, 2], 'dilations': [1, 1]}, ('ok', '')),
        ('Resize', [(1, 2, 8, 8), None, None, ints(1, 2, 4, 4)], {'antialias': 1}, ('refused', 'antialias')),
        ('Resize', [(1, 2, 8, 8), None, None, ints(1, 2, 4, 4)], {'mode': 'cubic'}, ('unknown', 'cubic')),
        ('Resize', [(1, 2, 8, 8), None, None, ints(1, 2, 4, 4)], {'mode': 'linear'}, ('ok', '')),
        ('TopK', [(1, 9999), ints(4000)], {'outputs': 2}, ('refused', 'less than 3840')),
        ('TopK', [(1, 9999), ints(100)], {'outputs': 2}, ('ok', '')),
        ('TopK', [(1, 9999), ints(100)], {'outputs': 2, 'sorted': 0}, ('refused', 'sorted')),
        ('ReduceMean', [(1, 9), (1,)], {}, ('refused', 'constants')),
        ('ReduceMean', [(1, 9), ints(1)], {}, ('ok', '')),
        ('Einsum', [(4, 4)], {'equation': 'ii->i'}, ('refused', 'diagonals')),
        ('Einsum', [(4, 4), (4, 4)], {'equation': '...i,...i->...'}, ('refused', 'ellipsis')),
        ('Einsum', [(4, 4), (4, 4)], {'equation': 'ij,jk->ik'}, ('ok', '')),
        ('QuantizeLinear', [(4,), np.float32(1), np.uint8(128)], {}, ('refused', 'uint8')),
        ('QuantizeLinear', [(4,), np.float32(1), np.int8(3)], {}, ('refused', 'zero point')),
        ('QuantizeLinear', [(4,), np.float32(1), np.int8(0)], {}, ('ok', '')),
        (
            'BatchNormalization',
            [(1, 2, 4, 4), *[np.ones(2, 'f')] * 4],
            {'training_mode': 1, 'outputs': 3},
            ('refused', 'training_mode=0'),
        ),
        ('Dropout', [(1, 9), np.float32(0.5), np.bool_(True)], {}, ('refused', 'training mode')),
        ('Dropout', [(1, 9), np.float32(0.5), (1,)], {}, ('refused', 'must be a constant')),
        ('Dropout', [(1, 9), np.float32(0.5), np.bool_(False)], {}, ('ok', '')),
        ('LpPool', [(1, 2, 8, 8)], {'kernel_shape': [2, 2], 'p': 3}, ('refused', '1 or 2')),
        ('LpPool', [(1, 2, 8, 8)], {'kernel_shape': [2, 2], 'p': 1}, ('ok', '')),
        ('LpNormalization', [(1, 9)], {'p': 2}, ('ok', '')),
        ('LpNormalization', [(1, 9)], {'p': 3}, ('refused', '1 or 2')),
        (
            'Resize',
            [(1, 2, 8, 8), None, None, ints(1, 2, 4, 4)],
            {'coordinate_transformation_mode': 'tf_half_pixel_for_nn', 'nearest_mode': 'floor'},
            ('refused', 'round_prefer_floor'),
        ),
        (
            'Resize',
            [(1, 2, 8, 8), None, None, ints(1, 2, 4, 4)],
            {'coordinate_transformation_mode': 'tf_half_pixel_for_nn'},
            ('ok', ''),
        ),
        ('NonZero', [(4,)], {}, ('slow', 'depends on values')),
        ('LayerNormalization', [(1, 4), np.ones(4, 'f')], {}, ('ok', 'FP16')),
    ],
)
def test_rules_of_tensorrt(operator: str, inputs: list, attributes: dict, expected: tuple[str, str]) -> None:
    inputs = [np.asarray(i) if isinstance(i, np.generic) else i for i in inputs]
    found, reason = verdict(graph(operator, inputs, **attributes))
    assert found == expected[0], reason
    assert expected[1] in reason


def test_quantised_files_of_opset_23_pass_for_their_versions_of_tensorrt() -> None:
    """From QuantizeLinear 23 on the second type is that of the scale."""
    for opset in (19, 21, 23, 24):
        for zero, expected in ((np.int8(0), 'ok'), (np.uint8(0), 'refused')):
            model = graph('QuantizeLinear', [(4,), np.array(1, 'f'), np.array(zero)], opset=opset)
            model.graph.node.append(helper.make_node('DequantizeLinear', ['out0', 'in1', 'in2'], ['again']))
            for runtime in ('tensorrt-10.16', 'tensorrt-11.5'):
                report = audit(model, [runtime])
                assert report.verdict(runtime, 'QuantizeLinear') == expected, (opset, runtime)
                assert report.verdict(runtime, 'DequantizeLinear') == expected, (opset, runtime)


def test_a_rule_holds_for_its_versions_of_the_runtime() -> None:
    transform = graph('DFT', [(1, 8, 2)])
    assert verdict(transform, 'tensorrt-11.5')[0] == 'slow'
    assert verdict(transform, 'onnxruntime-cuda')[1].startswith('no kernel on the GPU')
    # what 10.3 refuses is the attribute itself, and 10.9 no longer does
    scatter = [(4, 4), np.zeros((1, 1), 'int64'), (1, 4)]
    written = graph('ScatterND', scatter, reduction='none')
    assert verdict(written)[0] == 'refused'
    assert verdict(written, 'tensorrt-10.16')[0] == 'ok'
    assert verdict(graph('ScatterND', scatter))[0] == 'ok'
    assert verdict(graph('ScatterND', scatter, reduction='add'), 'tensorrt-10.16')[0] == 'refused'


@pytest.mark.parametrize(
    ('runtime', 'dtype', 'expected'),
    [
        (JETSON, TensorProto.DOUBLE, 'slow'),
        (JETSON, TensorProto.COMPLEX64, 'refused'),
        (JETSON, TensorProto.INT64, 'ok'),
        ('tensorrt-8.6', TensorProto.INT64, 'ok'),  # computed in int32
        ('onnxruntime-cpu', TensorProto.INT64, 'ok'),
        ('onnxruntime-cpu', TensorProto.FLOAT16, 'slow'),
        ('onnxruntime-cpu', TensorProto.BFLOAT16, 'refused'),
        ('onnxruntime-cuda', TensorProto.BFLOAT16, 'ok'),
        ('openvino', TensorProto.DOUBLE, 'slow'),
        ('openvino', TensorProto.COMPLEX64, 'refused'),
    ],
)
def test_element_types(runtime: str, dtype: int, expected: str) -> None:
    found, reason = verdict(graph('Add', [(4,), (4,)], dtype), runtime)
    assert found == expected, reason


def test_opset_of_the_file() -> None:
    report = audit(graph('Relu', opset=23), [JETSON, 'tensorrt-10.x', 'tensorrt-8.6'])
    problem = report.problems(JETSON)[0]
    assert (problem.operator, problem.verdict, problem.cure) == (GRAPH, 'refused', '--opset 20')
    assert 'has opset 23' in problem.reason
    assert report.passed('tensorrt-10.16')
    # TensorRT 8.6 is older than what the exporter writes, which the cure must not hide
    assert OPSETS[0] > 17
    assert 'version_converter' in report.problems('tensorrt-8.6')[0].cure


def test_nested_graphs_are_looked_at() -> None:
    inner = helper.make_graph(
        [helper.make_node('Unique', ['in0'], ['u'], name='inner')],
        'body',
        [],
        [helper.make_tensor_value_info('u', TensorProto.FLOAT, None)],
    )
    model = graph('If', [np.array(True)], then_branch=inner, else_branch=inner)
    model.graph.input.append(helper.make_tensor_value_info('in0', TensorProto.FLOAT, [4]))
    report = audit(model, [JETSON])
    assert report.operators == {'Unique': 2, 'If': 1}
    assert {(f.node, f.verdict) for f in report.problems()} == {('it', 'unknown'), ('inner', 'refused')}


def test_functions_are_looked_into() -> None:
    function = helper.make_function('mine', 'Twice', ['x'], ['y'], [helper.make_node('Det', ['x'], ['y'])], [])
    function.opset_import.append(helper.make_opsetid('', 18))
    model = graph('Twice', domain='mine')
    model.functions.append(function)
    assert audit(model, [JETSON]).operators == {'Det': 1}


def test_what_no_source_speaks_of_does_not_pass() -> None:
    report = audit(graph('Mystery', domain='mine'))
    for name in report.runtimes:
        assert report.verdict(name, 'mine::Mystery') == 'unknown'
        assert not report.passed(name)
    assert report.passed('openvino', allow_unknown=True)


def test_what_hangs_on_unknown_types_and_ranks_is_unknown() -> None:
    model = graph('Relu')
    assert verdict(model) == ('ok', '')
    model.graph.input[0].type.tensor_type.ClearField('shape')
    assert verdict(model) == ('unknown', 'whether this concerns it is not known: a tensor has more than 8 axes')
    assert verdict(model, 'onnxruntime-cpu') == ('ok', '')
    model.graph.node.insert(0, helper.make_node('Mystery', ['in0'], ['in9'], domain='mine'))
    model.graph.node[1].input[0] = 'in9'
    report = audit(model, ['onnxruntime-cpu'])
    (problem,) = [f for f in report.problems() if f.operator == 'Relu']
    assert problem.verdict == 'unknown' and problem.reason.startswith('an element type is not known')


def test_a_rank_behind_a_computed_shape_is_unknown() -> None:
    model = graph('GridSample', [(1, 2, 3, 4, 5), (1, 3, 4, 5, 3)], opset=20)
    assert verdict(model)[0] == 'refused'
    model.graph.node[0].input[0] = 'maps'
    model.graph.input.append(helper.make_tensor_value_info('shape', TensorProto.INT64, ['rank']))
    model.graph.node.insert(0, helper.make_node('Reshape', ['in0', 'shape'], ['maps']))
    assert audit(model, [JETSON]).verdict(JETSON, 'GridSample') == 'unknown'


def test_constants_are_followed_and_others_are_unknown() -> None:
    model = graph('TopK', [(1, 9999), (1,)], outputs=2)
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    assert verdict(model)[0] == 'unknown'
    for last in (['k'], ['k', 'l']):
        for k, expected in ((100, 'ok'), (5000, 'refused')):
            held = graph('TopK', [(1, 9999), ints(k).astype('int32')], outputs=2)
            held.graph.node[0].input[1] = last[-1]
            held.graph.node.insert(0, helper.make_node('Cast', ['in1'], ['k'], to=TensorProto.INT64))
            held.graph.node.insert(1, helper.make_node('Identity', ['k'], ['l']))
            assert audit(held, [JETSON]).verdict(JETSON, 'TopK') == expected
    # but an axis must be written as a constant, and not stand behind another node
    behind = graph('ReduceMean', [(1, 9), ints(1)])
    behind.graph.node[0].input[1] = 'axes'
    behind.graph.node.insert(0, helper.make_node('Identity', ['in1'], ['axes']))
    assert audit(behind, [JETSON]).verdict(JETSON, 'ReduceMean') == 'refused'
    # zero points of a classifier with more classes than values of a matrix are looked at
    for value, expected in ((0, 'ok'), (1, 'refused')):
        many = np.ones(21843, 'f'), np.full(21843, value, 'int8')
        assert verdict(graph('QuantizeLinear', [(2, 21843), *many], axis=1))[0] == expected


def test_a_constant_without_a_value_is_refused_in_a_sentence() -> None:
    model = graph('Relu')
    model.graph.node.insert(0, helper.make_node('Constant', [], ['nothing']))
    with pytest.raises(ValueError, match="A Constant must have a value, but 'nothing' has none"):
        audit(model, [JETSON])


def test_free_axes_are_named() -> None:
    free, fixed = graph('Relu', [('batch', 3, 8, 8)]), graph('Relu')
    assert audit(free, ['ncnn']).verdict('ncnn', GRAPH) == 'slow'
    assert audit(fixed, ['ncnn']).verdict('ncnn', GRAPH) == 'ok'
    (remark,) = [f for f in audit(free, [JETSON]).findings if f.operator == GRAPH]
    assert remark.verdict == 'ok' and '--static' in remark.cure


def test_a_problem_has_cost_cure_and_source() -> None:
    (problem,) = audit(graph('DFT', [(1, 8, 2)]), [JETSON]).problems()
    assert (problem.node, problem.operator, problem.runtime) == ('it', 'DFT', JETSON)
    assert problem.cost == 'the engine does not build'
    assert "backend='matmul'" in problem.cure and 'dynamic=False' in problem.cure
    assert problem.source.startswith('onnx/onnx-tensorrt@')


def test_a_graph_of_a_thousand_nodes_is_quick() -> None:
    model = graph('Relu')
    del model.graph.node[:]
    names = ['in0', *(f'v{i}' for i in range(999)), 'out0']
    model.graph.node.extend(helper.make_node('Relu', [a], [b]) for a, b in itertools.pairwise(names))
    known_runtimes()  # the tables are read once
    start = time.process_time()
    audit(model, [JETSON, 'onnxruntime-cpu', 'openvino'])
    assert time.process_time() - start < 2  # 0.1 s on an idle machine


def test_the_model_stays_as_it_is() -> None:
    model = graph('Conv', [(1, 64, 8, 8), np.ones((64, 64, 3, 3), 'f')])
    before = model.SerializeToString()
    assert audit(model, [JETSON]).passed(JETSON)
    assert model.SerializeToString() == before


# Mistakes


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('tensorrt-103', 'Did you mean tensorrt-10.3'),
        ('tensorrt', 'Did you mean tensorrt-'),
        ('onnxruntime', 'Did you mean onnxruntime-c'),
        ('qqq', 'They hold tensorrt-8.6'),
    ],
)
def test_unknown_runtimes_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        audit(graph('Relu'), [name])


def test_no_runtime_and_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match='at least one'):
        audit(graph('Relu'), [])
    with pytest.raises(ValueError, match='runtime must be one of'):
        audit(graph('Relu'), [JETSON]).passed('openvino')


@pytest.mark.parametrize('content', [None, b'', b'no model at all', b'\x08\x0a'])
def test_bad_files_are_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r'There is no file|is not an ONNX file'):
        audit(path)


def test_weights_beside_the_file_need_not_be_there(tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    model = graph('Conv', [(1, 64, 8, 8), np.ones((64, 64, 3, 3), 'f')])
    onnx.save(model, path, save_as_external_data=True, location='weights.bin')
    (tmp_path / 'weights.bin').unlink()
    assert audit(path, [JETSON]).passed(JETSON)


# The tool


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    models = {
        'good': graph('Relu'),
        'bad': graph('DFT', [(1, 8, 2)]),
        'odd': graph('Mystery', domain='mine'),
        'slow': graph('NonZero', [(4,)]),
    }
    for name, model in models.items():
        onnx.save(model, tmp_path / f'{name}.onnx')
    return {name: str(tmp_path / f'{name}.onnx') for name in models}


@pytest.mark.parametrize(
    ('names', 'options', 'code'),
    [
        (['good'], [], 0),
        (['slow'], [], 0),
        (['bad'], [], 1),
        (['good', 'bad'], [], 1),
        (['odd'], [], 1),
        (['odd'], ['--allow-unknown'], 0),
        (['bad'], ['--allow-unknown'], 1),
    ],
)
def test_exit_code(names: list[str], options: list[str], code: int, files: dict, capsys: pytest.CaptureFixture) -> None:
    assert tool.main([*(files[name] for name in names), '--runtime', JETSON, *options]) == code
    printed = capsys.readouterr()
    assert not printed.err
    for name in names:
        verdict = 'fails' if code and name != 'good' else 'passes'
        assert f'{files[name]}: {JETSON} {verdict}' in printed.out


def test_tool_prints_reason_cost_cure_and_source(files: dict, capsys: pytest.CaptureFixture) -> None:
    assert tool.main([files['bad'], '--runtime', JETSON, '--runtime', 'openvino']) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f'{JETSON}: refused DFT')]
    assert re.search(
        'before 11.2; cost: the engine does not build; cure: backend=.*; source: onnx/onnx-tensorrt@', line
    )


def test_tool_shows_every_node_on_demand(files: dict, capsys: pytest.CaptureFixture) -> None:
    assert tool.main([files['good'], '--runtime', JETSON, '--verbose']) == 0
    assert f'{JETSON}: ok Relu (it)' in capsys.readouterr().out
    assert tool.main([files['good'], '--runtime', JETSON]) == 0
    assert '(it)' not in capsys.readouterr().out


def test_tool_asks_all_runtimes_by_default(files: dict, capsys: pytest.CaptureFixture) -> None:
    tool.main([files['good']])
    printed = capsys.readouterr().out
    assert all(f'{name} passes' in printed or f'{name} fails' in printed for name in known_runtimes())


def test_tool_writes_json(files: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target = tmp_path / 'audit.json'
    assert tool.main([files['good'], files['bad'], '--runtime', JETSON, '--json', str(target)]) == 1
    good, bad = json.loads(target.read_text())
    assert (good['runtimes'], good['problems']) == ({JETSON: 'ok'}, [])
    assert bad['problems'][0]['operator'] == 'DFT'
    assert {path.name for path in tmp_path.iterdir() if path.suffix != '.onnx'} == {'audit.json'}


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['nothing.onnx'], 'There is no file nothing.onnx'),
        (['{good}', '--runtime', 'tensort-10.3'], 'Did you mean tensorrt-10.3'),
        (['{good}', '--json', 'nowhere/audit.json'], 'there is no folder nowhere'),
        (['nothing.onnx', '--json', 'nowhere/audit.json'], 'there is no folder nowhere'),  # said before the work
        (['{bad}', '{good}', '--json', '{good}'], 'would overwrite a model that is read'),
    ],
)
def test_tool_says_a_mistake_in_one_sentence(
    arguments: list[str], sentence: str, files: dict, capsys: pytest.CaptureFixture
) -> None:
    assert tool.main([word.format(**files) for word in arguments]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not printed.out


def test_report_orders_verdicts() -> None:
    assert [rank(v) for v in ('ok', 'slow', 'unknown', 'refused')] == [0, 1, 2, 3]
    report = audit(graph('DFT', [(1, 8, 2)]), TENSORRT)
    assert isinstance(report, AuditReport)
    assert [rank(f.verdict) for f in report.problems()] == sorted(
        (rank(f.verdict) for f in report.problems()), reverse=True
    )
