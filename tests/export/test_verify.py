"""`verify`: real rows through an export and its model, and a verdict."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import export_cases as cases
import numpy as np
import pytest
from test_export import signed

from aaren.data import find, find_parts, sha256_of
from aaren.errors import DataError, ModelFileError
from aaren.export import _verify as frame
from aaren.export import export, in_deviations, read_manifest, real_rows, verify
from aaren.export._answers import largest_difference
from aaren.export._measure import _peak_memory
from aaren.export._metrics import metric_of
from aaren.export.runner._safetensors import read_safetensors, to_safetensors

Exported = Callable[[cases.Case], Path]


@pytest.mark.parametrize("case", cases.KINDS, ids=lambda case: case.name)
def test_two_thousand_real_rows(case: cases.Case, exported: Exported) -> None:
    """Every kind holds over 2,000 real rows, in a process that loads no PyTorch; what it costs is told."""
    found = case.rows(2000)
    result = verify(exported(case), found.rows, resets=found.resets, labels=found.labels)
    assert result.holds, result
    assert (result.rows, result.refused, result.disagreed) == (2000, 0, 0)
    assert max(result.differences.values()) <= 1e-5
    assert not result.torch_loaded
    assert 1e6 < result.peak_memory < 2e8
    assert result.latency["export"]["p99"] >= result.latency["export"]["median"] > 0
    assert result.state_bytes == sum(spec.nbytes for spec in export_state(exported(case)))
    assert result.file_bytes > (exported(case) / "model.safetensors").stat().st_size
    assert result.metric is None
    json.dumps(result.to_dict())


def export_state(directory: Path) -> Any:
    """The state tensors of an export."""
    from aaren.export import read_manifest

    return read_manifest(directory).state


def test_rows_that_are_refused_are_refused_by_both(exported: Exported) -> None:
    """Bad rows count as such, and must be refused in the same words; a row as an object other than text is told."""
    case = cases.BY_NAME["forecaster"]
    rows = [*case.rows(6).rows, "text", ["x", 1, 2, 3], {"date": 1}, None, [np.datetime64("2016-07-02")]]
    result = verify(exported(case), rows)
    assert (result.rows, result.refused, result.disagreed, result.holds) == (11, 5, 0, True)
    result = verify(exported(case), ["text"])
    assert (result.refused, result.differences, result.holds) == (1, {}, False)
    with pytest.raises(DataError, match="expected rows to stream, received none"):
        verify(exported(case), [])


def test_an_export_that_differs_does_not_hold(exported: Exported, tmp_path: Path) -> None:
    """One weight that is another one is found, however well the files are signed."""
    case = cases.BY_NAME["forecaster"]
    model = case.model()
    out = shutil.copytree(exported(case), tmp_path / "out")
    arrays = read_safetensors(out / "model.safetensors")[0]
    arrays["head.bias"][0] += 1e-3
    (out / "model.safetensors").write_bytes(to_safetensors(arrays, {}))
    signed(out)
    rows = case.rows(30).rows
    result = verify(out, rows, model)
    assert not result.holds
    assert result.differences["mean"] > 1e-5
    with pytest.raises(ModelFileError, match="this export does not hold it: give its directory"):
        verify(out, rows)


def test_the_model_must_be_the_one(exported: Exported, tmp_path: Path) -> None:
    """Another model is refused by its fingerprint; the right one may be an object or a directory."""
    case = cases.BY_NAME["forecaster"]
    rows = case.rows(20).rows
    with pytest.raises(ModelFileError, match="it is an export of another model"):
        verify(exported(case), rows, cases.BY_NAME["forecaster-gru"].model())
    case.model().save(tmp_path / "model")
    assert verify(exported(case), rows, tmp_path / "model").holds


def test_an_export_that_does_not_run(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process of the export says at its end is told."""
    from aaren.export import _verify

    case = cases.BY_NAME["forecaster"]
    rows = case.rows(3).rows
    monkeypatch.setattr(_verify.sys, "executable", "false")
    with pytest.raises(ModelFileError, match="the export does not run: exit code 1"):
        verify(exported(case), rows)


@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("case", cases.KINDS[:3], ids=lambda case: case.name)
def test_narrow_weights_lose_little(case: cases.Case, precision: str, tmp_path: Path) -> None:
    """float16 and int8 make smaller files; what they lose is measured by the metric of the kind, and judged by it."""
    model = case.model()
    out = export(model, tmp_path / "out", precision=precision).directory
    exact = export(model, tmp_path / "exact").directory
    assert (out / "model.safetensors").stat().st_size < 0.75 * (exact / "model.safetensors").stat().st_size
    found = case.rows(400)
    result = verify(out, found.rows, model, resets=found.resets, labels=found.labels)
    names = {"forecaster": "mean squared error", "classifier": "accuracy", "events": "negative log-likelihood"}
    assert result.metric is not None
    assert result.metric.name == names[case.name]
    better = 1 if case.name == "classifier" else -1
    lost = 100 * better * (result.metric.model - result.metric.export) / max(abs(result.metric.model), 1e-12)
    assert result.metric.loss_percent == pytest.approx(lost)
    assert result.holds == (lost <= 1)
    assert max(result.differences.values()) > 1e-5
    if precision == "float16":
        assert result.holds


def test_numbers_that_are_missing_do_not_hold(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric over the numbers that are there is no excuse for those that are not, as of every second event."""
    case, told = cases.BY_NAME["events"], frame._in_its_process
    rows = case.rows(60)

    def half(*given: Any) -> Any:
        measured = told(*given)
        measured.outputs["log_likelihood"][1::2] = np.nan
        return measured

    real = read_manifest(exported(case))
    monkeypatch.setattr(frame, "read_manifest", lambda _: dataclasses.replace(real, precision="int8"))
    assert verify(exported(case), rows.rows, case.model(), resets=rows.resets).holds
    monkeypatch.setattr(frame, "_in_its_process", half)
    monkeypatch.setattr(frame, "LOSS_BAR", np.inf)
    assert not verify(exported(case), rows.rows, case.model(), resets=rows.resets).holds


def test_metrics_are_what_they_are_called() -> None:
    """The error is that of an evaluation, counted by hand; without labels or rows there is none."""
    case = cases.BY_NAME["forecaster"]
    model = case.model()
    rows = case.rows(12).rows
    deviation = model.preprocessing.scaler.deviation[:2]
    truth = np.array([[row[1], row[2]] for row in rows], dtype=float)
    said = np.random.default_rng(0).normal(size=(12, 4, 2))
    outputs = [{"mean": said}, {"mean": said + 1}]
    found = metric_of(model, rows, [7], None, outputs)
    errors = [
        ((said[k, h] - truth[k + 1 + h]) / deviation) ** 2
        for start, stop in ((0, 7), (7, 12))
        for k in range(start, stop)
        for h in range(4)
        if k + 1 + h < stop
    ]
    assert found.export == pytest.approx(np.mean(errors))
    with pytest.raises(DataError, match="expected rows on which the mean squared error is known"):
        metric_of(model, rows[:1], [], None, [{"mean": said[:1]}, {"mean": said[:1]}])
    vowels = cases.BY_NAME["classifier"].model()
    chances = np.eye(9)[[0, 1, 2]]
    both = [{"probabilities": chances}, {"probabilities": chances[[0, 0, 0]]}]
    found = metric_of(vowels, [None] * 3, [1, 2], [0, 1, -1], both)
    assert (found.export, found.model, found.loss_percent) == (1.0, 0.5, -100.0)
    with pytest.raises(DataError, match="expected labels"):
        metric_of(vowels, [None] * 3, [1, 2], None, both)


def test_actions_of_a_policy(tmp_path: Path) -> None:
    """A policy with narrow weights is judged by how far its actions are from the recorded ones, counted by hand."""
    case = cases.BY_NAME["policy"]
    model = cases.drawn(cases.policy, max_episode_steps=15, context=8, **cases.SIZES)
    out = export(model, tmp_path / "out", precision="float16").directory
    found = case.rows(15)
    with pytest.raises(DataError, match="expected the recorded actions"):
        verify(out, found.rows, model, resets=found.resets)
    result = verify(out, found.rows, model, resets=found.resets, labels=found.labels)
    assert result.metric is not None
    assert result.metric.name == "mean squared error of actions"
    stream = model.stream()
    said = [stream.update(row).action for row in found.rows]
    known = model.preprocessing
    halves = (np.array(known.action_high) - known.action_low) / 2
    assert result.metric.model == pytest.approx(np.mean(np.square((np.array(said) - found.labels) / halves)))


def test_real_rows(tmp_path: Path) -> None:
    """Rows come from a file, a named set, or the set of the training; several series are told apart, labels kept."""
    model = cases.BY_NAME["forecaster"].model()
    named = real_rows(model, "ETTh1", 5)
    assert (len(named.rows), named.resets, named.labels, named.source) == (5, [], None, "ETTh1")
    assert named.rows[0][0] == "2016-07-01T00:00:00"
    assert real_rows(model, find("ETTh1"), 5).rows == named.rows
    with pytest.raises(DataError, match=r"expected data to stream, received none; give a file"):
        real_rows(model, None, 5)
    model.metadata["data"] = {"sha256": sha256_of(find("ETTh1"))}
    assert real_rows(model, None, 5).rows == named.rows
    for source, words in (("nowhere.csv", "no such file"), ("a/b", "no such file"), ("ETTh9", "did you mean ETTh")):
        with pytest.raises(DataError, match=words):
            real_rows(model, source, 5)
    vowels = cases.BY_NAME["classifier"].model()
    cut = real_rows(vowels, find_parts("JapaneseVowels")["test"], 60)
    assert len(cut.rows) == 60
    assert cut.labels is not None
    assert len(cut.labels) == len(cut.resets) + 1
    assert (cut.labels[0] >= 0, cut.labels[-1]) == (True, -1)


def test_differences_have_their_units() -> None:
    """A deviation of each column, of the logarithm of intervals, halves of action bounds; equal infinities agree."""
    known = {"scaler": {"deviation": [2.0, 4.0, 8.0]}}
    outputs = {"mean": np.full((1, 3, 2), 8.0), "quantiles": np.full((1, 3, 2, 1), 8.0)}
    scaled = in_deviations("forecaster", known, outputs)
    assert scaled["mean"][0, 0].tolist() == [4.0, 2.0]
    assert scaled["quantiles"][0, 0, :, 0].tolist() == [4.0, 2.0]
    scaled = in_deviations("events", {"log_deviation": 0.5}, {"mean": np.array([np.e]), "log_likelihood": np.ones(1)})
    assert (scaled["mean"][0], scaled["log_likelihood"][0]) == (2.0, 1.0)
    bounds = {"action_low": [-2.0], "action_high": [2.0], "return_scale": 10.0}
    scaled = in_deviations("policy", bounds, {"action": np.ones((1, 1), np.float32), "return_to_go": np.array([5.0])})
    assert (scaled["action"][0, 0], scaled["return_to_go"][0]) == (0.5, 0.5)
    nan, inf = np.nan, np.inf
    assert largest_difference(np.array([nan, inf, 1.0]), np.array([nan, inf, 1.5])) == 0.5
    assert largest_difference(np.array([nan]), np.array([1.0])) == inf
    assert largest_difference(np.array([inf]), np.array([1.0])) == inf
    assert largest_difference(np.zeros((2, 0)), np.zeros((2, 0))) == 0
    assert _peak_memory() > 1e7
