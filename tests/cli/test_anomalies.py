"""`aaren stream --anomalies`: how rare each row is, beside its forecast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("without_shape_checks")  # many rows
Command = Callable[..., Any]


def test_anomalies(aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path) -> None:
    """Each line is that of the plain stream and says score, threshold and flag; with a state it goes on exactly."""
    lines = etth1_lines[:261]
    lines[255] = lines[255].replace(b",", b",9999", 1)  # a spike
    text, state = b"".join(lines), tmp_path / "state"
    plain, whole = aaren("stream", trained, stdin=text), aaren("stream", trained, "--anomalies", stdin=text)
    assert (whole.code, whole.err) == (0, "")
    said = whole.lines()
    assert [{key: value for key, value in line.items() if key != "anomaly"} for line in said] == plain.lines()
    found = [line["anomaly"] for line in said]
    assert {one["threshold"] for one in found} == {4.0}
    assert all(one["score"] is None for one in found[:201])
    assert all(one["score"] >= 0 for one in found[201:])
    assert [one["is_anomaly"] for one in found[201:255]] == [False] * 53 + [True]
    first, second = (b"".join(lines[:1] + part) for part in (lines[1:230], lines[230:]))
    options = ("--anomalies", "--risk", "0.01", "--state", state)
    parts = [aaren("stream", trained, *options, stdin=part) for part in (first, second)]
    again = [line["anomaly"] for part in parts for line in part.lines()]
    assert [one["score"] for one in again] == [one["score"] for one in found]
    assert {one["threshold"] for one in again} == {2.0}
    assert again[254]["is_anomaly"]


def test_what_is_refused(aaren: Command, trained: Path, etth1_lines: list[bytes], tmp_path: Path) -> None:
    """A risk out of range, and the state of a stream without anomalies."""
    text, state = b"".join(etth1_lines[:4]), tmp_path / "state"
    assert "risk: expected" in aaren("stream", trained, "--anomalies", "--risk", "0.5", stdin=text).refusal()
    assert aaren("stream", trained, "--state", state, stdin=text).code == 0
    refusal = aaren("stream", trained, "--anomalies", "--state", state, stdin=text).refusal()
    assert "expected the state of an AnomalyStream, received that of a stream without anomalies" in refusal
