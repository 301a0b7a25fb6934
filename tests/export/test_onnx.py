"""The export to ONNX: it says what PyTorch says, row by row and in chunks, on onnxruntime alone."""

from __future__ import annotations

import copy
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import export_cases as cases
import numpy as np
import pytest
import torch

import aaren
from aaren.errors import DataError, MissingDependencyError, ModelFileError
from aaren.export import Manifest, export, open_export, verify
from aaren.export import _onnx as writer
from aaren.export._answers import answer, in_deviations, largest_difference
from aaren.export._export import _write
from aaren.export._graph import Graph, has_chunk
from aaren.export._graph_names import CHUNK
from aaren.export._manifest import digest_of, read_manifest
from aaren.export._runtimes import RUNTIMES
from aaren.export._tensors import step_tensors
from aaren.export._wide import Double, Pair, constant, split
from aaren.export.runner._open import make_front

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

WRITTEN = [cases.BY_NAME[name] for name in ("forecaster-time", "classifier", "events", "policy")]
OF_EVERY_ENCODER = [
    cases.BY_NAME[name]
    for name in ("forecaster", "forecaster-learned", "forecaster-gru", "forecaster-mingru", "events-time", "policy-gru")
]
Out = Callable[[cases.Case], Path]


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Out:
    """The export of a case, written at its first use; not to be changed."""
    folder, done = tmp_path_factory.mktemp("onnx"), {}

    def directory(case: cases.Case) -> Path:
        if case.name not in done:
            done[case.name] = export(case.model(), folder / case.name, to="onnx").directory
        return done[case.name]

    return directory


def distance(case: cases.Case, ours: Any, theirs: Any) -> float:
    """The largest difference of two answers in training deviations."""
    known = case.model().preprocessing.to_dict()
    scaled = [in_deviations(case.model().kind, known, {k: v[None] for k, v in one.items()}) for one in (ours, theirs)]
    return max(largest_difference(scaled[0][name], scaled[1][name]) for name in scaled[1])


def rows_of(case: cases.Case, count: int) -> list[Any]:
    """Rows of one series; a forecaster's have holes."""
    found = case.rows(count)
    rows = list(found.rows[: found.resets[0]] if found.resets else found.rows)
    return cases.with_holes(rows, 3) if case.name.startswith("forecaster") else rows


@pytest.mark.parametrize("case", WRITTEN, ids=lambda case: case.name)
def test_it_says_what_pytorch_says(case: cases.Case, out: Out) -> None:
    """Every output of real rows, with gaps and missing values, is within 1e-5; PyTorch is not loaded to say it."""
    found = case.rows(300)
    rows, resets = (found.rows, found.resets)
    if case.name.startswith("forecaster"):
        rows, resets = cases.with_holes(list(rows), 3), []
    result = verify(out(case), rows, case.model(), resets=resets)
    assert result.differences.keys() == {spec.name for spec in read_manifest(out(case)).outputs if 0 not in spec.shape}
    assert max(result.differences.values()) <= 1e-5
    assert (result.holds, result.disagreed, result.torch_loaded) == (True, 0, False)


@pytest.mark.parametrize("case", WRITTEN[:3], ids=lambda case: case.name)
def test_a_prefill_is_row_by_row(case: cases.Case, out: Out) -> None:
    """Rows at once lead to the answer and the state of the same rows one by one, for any cut; then both go on."""
    rows = rows_of(case, 3 * CHUNK)
    one, many = open_export(out(case)), open_export(out(case))
    assert many.prefill([]) is None
    place = 0
    for size in (1, 2, 4, len(rows)):
        said = [one.update(row) for row in rows[place : place + size]]
        place += size
        assert distance(case, many.prefill(rows[place - size : place]), said[-1]) <= 1e-5
    kept = [one.state(), many.state()]
    for name, value in kept[0].items():
        assert np.allclose(kept[1][name], value, rtol=1e-5, atol=1e-5, equal_nan=True), name
    assert len(rows) > CHUNK or case is not WRITTEN[0]


def test_a_prefill_that_is_refused_changes_nothing(out: Out) -> None:
    """A row at fault is named as by `update`; the state is as before all rows; skipped rows are left out."""
    case = WRITTEN[0]
    rows = rows_of(case, 30)
    bad = [*rows[:20], [rows[20][0], "x", None, None], *rows[21:]]
    runner = open_export(out(case))
    runner.prefill(rows[:10])
    before = runner.state()
    with pytest.raises(DataError) as wrong:
        runner.prefill(bad[10:])
    assert wrong.value.line == 21
    assert {name: value.tobytes() for name, value in runner.state().items()} == {
        name: value.tobytes() for name, value in before.items()
    }
    leaves_out, one = (open_export(out(case), on_bad_row="skip") for _ in range(2))
    said = [one.update(row) for row in bad][-1]
    assert distance(case, leaves_out.prefill(bad), said) <= 1e-5
    assert leaves_out.rows == one.rows == len(bad)


def test_a_prefill_after_which_nothing_is_a_number(tmp_path: Path) -> None:
    """The row at which the model's own numbers overflow is named, and the state is as before all rows."""
    case = WRITTEN[0]
    model = copy.deepcopy(case.model())
    inputs = len(model.preprocessing.schema.inputs)
    with torch.no_grad():
        model.embed.weight[:, :inputs] = 3e38
    runner = open_export(export(model, tmp_path / "out", to="onnx").directory)
    rows, mean = rows_of(case, 3), model.preprocessing.scaler.mean.tolist()
    with pytest.raises(DataError, match="far beyond those of the training data") as wrong:
        runner.prefill([[rows[0][0], *mean], rows[1], rows[2]])
    assert wrong.value.line == 2
    assert runner.rows == 0


def test_a_policy_and_a_gru_have_no_chunk(out: Out) -> None:
    """A policy's actions are its own, so its rows come one by one, in a prefill too."""
    case = WRITTEN[3]
    assert sorted(read_manifest(out(case)).files) == ["step.onnx"]
    assert not has_chunk(cases.BY_NAME["forecaster-gru"].model())
    rows = rows_of(case, 12)
    one, many = open_export(out(case)), open_export(out(case))
    assert distance(case, many.prefill(rows), [one.update(row) for row in rows][-1]) == 0


@pytest.mark.parametrize("pairs", [False, True], ids=["float64", "pairs"])
@pytest.mark.parametrize("case", [*cases.KINDS, *OF_EVERY_ENCODER[1:]], ids=lambda case: case.name)
def test_the_graph_of_every_encoder(case: cases.Case, pairs: bool) -> None:
    """In PyTorch the graphs of a step and of a chunk agree with numpy, in float64 and in pairs of float32."""
    model, rows = case.model(), rows_of(case, 40)
    graphs = [Graph(model, chunk=chunk, pairs=pairs) for chunk in (False, True)[: 1 + has_chunk(model)]]
    manifest = _manifest(model)
    front = make_front(manifest)
    tokens: list[Any] = []
    for number, row in enumerate(rows, 1):
        checked = front.check(row, number)
        tokens += front.tokens(checked)
        front.take(checked)
    stream = model.stream()
    said = [answer(stream, row) for row in rows][-1]
    start = make_front(manifest).first({spec.name: spec.first() for spec in manifest.state})
    state = start
    for token in tokens:
        found, state = _through(graphs[0], token, state)
    assert distance(case, found, {name: said[name] for name in found}) <= 1e-5
    for chunk in graphs[1:]:
        state = start
        for part in (tokens[:1], tokens[1:9], tokens[9:]):
            found, state = _through(chunk, {name: np.stack([one[name] for one in part]) for name in part[0]}, state)
        assert distance(case, found, {name: said[name] for name in found}) <= 1e-5


def test_pairs_keep_their_digits() -> None:
    """Sums in pairs of float32 lose nothing over many rows and far from zero, where float32 alone would."""
    generator = np.random.default_rng(0)
    a, b = 1e6 * generator.normal(size=1000), generator.normal(size=1000)
    pairs = [Pair(*(torch.from_numpy(part) for part in split(x))) for x in (a, b)]
    doubles = [Double(torch.from_numpy(x)) for x in (a, b)]

    def number(pair: Any) -> Any:
        return pair.high.double().numpy() + pair.low.double().numpy()

    for operate in (
        lambda x, y: x + y,
        lambda x, y: x - y,
        lambda x, y: x * y,
        lambda x, y: x / y,
        lambda x, y: x.maximum(y),
    ):
        ours, exact = number(operate(*pairs)), operate(*doubles).x.numpy()
        assert np.abs(ours - exact).max() <= 1e-12 * np.abs(exact).max()
    exponent = [x * x * -1e-3 for x in (pairs[1], doubles[1])]
    assert np.abs(number(exponent[0].exp()) - exponent[1].exp().x.numpy()).max() < 1e-8
    turned, angle = pairs[0].turns().double().numpy(), number(pairs[0])
    assert np.abs(np.sin(turned) - np.sin(angle)).max() < 1e-6
    total, step = constant(np.zeros(1), pairs=True), torch.full((1,), 0.1)
    for _ in range(20_000):
        total = total + step
    assert abs(float(number(total)[0]) - 20_000 * float(step)) < 1e-7


def test_the_file(out: Out) -> None:
    """It is of the stated operators alone, passes the checker, holds no path or module, and is the same every time."""
    directory = out(WRITTEN[1])
    again = writer.onnx_graph(WRITTEN[1].model(), chunk=False).SerializeToString(deterministic=True)
    data = (directory / "step.onnx").read_bytes()
    assert data == again
    for name in ("step.onnx", "chunk.onnx"):
        proto = onnx.load(directory / name)
        onnx.checker.check_model(proto, full_check=True)
        assert [(one.domain, one.version) for one in proto.opset_import] == [("", writer.OPSET)]
        assert {node.domain for node in proto.graph.node} == {""}
        assert proto.producer_name == "aaren"
    for word in (b"/tmp", b"site-packages", str(Path(aaren.__file__).parent).encode(), b".py"):
        assert word not in data
    names = [one.name for one in onnx.load(directory / "step.onnx").graph.input]
    assert names[:3] == ["values", "state.position", "state.total"]
    assert [one.name for one in onnx.load(directory / "step.onnx").graph.output][:2] == [
        "probabilities",
        "next.position",
    ]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_narrow_weights(precision: str, out: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrices in float16 or int8 make a smaller file that says nearly the same; what is lost is measured."""
    case = WRITTEN[1]
    exact = onnx.load(out(case) / "step.onnx")
    original = list(onnx.load(out(case) / "step.onnx").graph.initializer)
    monkeypatch.setattr(writer, "onnx_graph", lambda model, chunk: exact)
    monkeypatch.setattr(writer, "has_chunk", lambda model: False)
    (tmp_path / "out").mkdir()
    _write(RUNTIMES["onnx"], case.model(), tmp_path / "out", precision)
    narrow = {
        one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(tmp_path / "out/step.onnx").graph.initializer
    }
    for weight in original:
        if weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) == 2:
            assert narrow[f"{weight.name}.{precision}"].dtype == precision
            assert weight.name not in narrow
    assert sum(array.nbytes for array in narrow.values()) < 0.75 * (out(case) / "step.onnx").stat().st_size
    found = case.rows(200)
    result = verify(tmp_path / "out", found.rows, case.model(), resets=found.resets, labels=found.labels)
    assert result.metric is not None
    assert 1e-6 < result.differences["probabilities"] < 0.1


def test_pytorch_is_not_needed(out: Out) -> None:
    """An export opens, streams, fills up and keeps its state in a process that imports no PyTorch and no onnx."""
    case = WRITTEN[0]
    code = """
import sys, json
from aaren.export import open_export
rows = json.loads(sys.argv[2])
runner = open_export(sys.argv[1])
said = runner.prefill(rows[:-1])
said = runner.update(rows[-1])
assert said["mean"].shape == (4, 2), said["mean"].shape
assert not {"torch", "onnx", "onnxscript"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(out(case)), json.dumps(case.rows(10).rows)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_of_other_tensors_is_refused(out: Out, tmp_path: Path) -> None:
    """A graph that is damaged, or of another model, is named, however well it is signed."""
    copy = shutil.copytree(out(WRITTEN[1]), tmp_path / "out")
    for data, words in (
        ((out(WRITTEN[3]) / "step.onnx").read_bytes(), "expected the tensors of its manifest, received others"),
        (b"no graph", "onnxruntime cannot load it"),
    ):
        (copy / "step.onnx").write_bytes(data)
        plain = json.loads((copy / "manifest.json").read_text())
        plain["files"]["step.onnx"] = digest_of(copy / "step.onnx")
        (copy / "manifest.json").write_text(json.dumps(plain))
        with pytest.raises(ModelFileError, match=words):
            open_export(copy)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_package_that_is_missing(package: str, out: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is named, with the extra that has it; nothing is written."""
    real = importlib.import_module

    def without(name: str, *more: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *more)

    where = out(WRITTEN[1])
    monkeypatch.setattr(importlib, "import_module", without)
    use = partial(open_export, where)
    if package != "onnxruntime":
        use = partial(export, WRITTEN[1].model(), tmp_path / "out", to="onnx")
    with pytest.raises(MissingDependencyError, match=r"pip install 'aaren\[onnx\]'"):
        use()
    assert list(tmp_path.iterdir()) == []


def _manifest(model: Any) -> Any:
    """What a manifest tells of a model, without files."""
    known = (model.config.to_dict(), model.preprocessing.to_dict())
    return Manifest("0", "onnx", "float32", model.kind, model.fingerprint(), *known, *step_tensors(model), {})


def _through(graph: Graph, token: Any, state: Any) -> tuple[Any, Any]:
    """A token, or a chunk of them, through a graph in PyTorch."""
    given = []
    for spec, value in [*((s, token[s.name]) for s in graph.inputs), *((s, state[s.name]) for s in graph.state)]:
        parts = split(value) if graph.pairs and spec.dtype == "float64" else (np.asarray(value, spec.dtype),)
        given += [torch.from_numpy(np.asarray(part)) for part in parts]
    assert len(given) == len(graph.input_names)
    with torch.no_grad():
        said = [one.numpy() for one in graph(*given)]
    named = dict(zip(graph.output_names, said, strict=True))
    found = {
        name: value + named[f"{name}.low"].astype(np.float64) if f"{name}.low" in named else value
        for name, value in named.items()
        if not name.endswith(".low")
    }
    after = {name.removeprefix("next."): value for name, value in found.items() if name.startswith("next.")}
    return {name: value for name, value in found.items() if not name.startswith("next.")}, after
