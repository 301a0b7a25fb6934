"""Rows of real data, as a user feeds them to a stream: from a file, or from a data set that has a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aaren.data import data_sets, find_parts, read_episodes, read_events, read_series
from aaren.errors import DataError
from aaren.evaluation import cases_for, cut_in_training
from aaren.models import Model
from aaren.streaming import time_texts


class RealRows(NamedTuple):
    """Rows of one sequence after another.

    Args:
        rows: cells by column, or in order.
        resets: numbers of the rows, from 0, with which a new series, sequence or episode begins; not that of the first.
        labels: of a classifier, the class of each series as a number, -1 where it is not known or the series was cut;
            of a policy, the recorded action after each row.
        source: where they come from.
    """

    rows: Sequence[Any]
    resets: Sequence[int]
    labels: Sequence[Any] | None
    source: str


def real_rows(model: Model[Any, Any], source: str | Path | None, limit: int) -> RealRows:
    """The first rows of a file or a data set, of the kind that a model takes.

    Args:
        model: with preprocessing.
        source: a file; the name of a data set, of which the test part is taken if it has one; or None for the data
            set that the model was trained on, if it has a name, in the same way.
        limit: rows at most.

    Raises:
        DataError: there is no such file or set, or it is not of the kind.
    """
    path, name = _file(model, source)
    rows: list[Any] = []
    resets: list[int] = []
    labels: list[Any] = []
    for one, label in _SEQUENCES[model.kind](model, path):
        if len(rows) >= limit:
            break
        if rows:
            resets.append(len(rows))
        if model.kind == "policy":
            labels += label[: limit - len(rows)]
        else:
            labels.append(label if len(rows) + len(one) <= limit else -1)
        rows += one[: limit - len(rows)]
    return RealRows(rows, resets, labels if model.kind in ("classifier", "policy") else None, name)


def _file(model: Model[Any, Any], source: str | Path | None) -> tuple[Path, str]:
    """A path, and its name for people."""
    if source is None:
        source = _trained_on(model)
    elif Path(source).exists():
        return Path(source), Path(source).name
    elif Path(source).suffix or Path(source).name != str(source):
        raise DataError("no such file", source=str(source))
    parts = find_parts(str(source))
    part = next((part for part in ("test", "validation") if part in parts), next(iter(parts)))
    return parts[part], str(source)


def _trained_on(model: Model[Any, Any]) -> str:
    """The name of the data set that a model was trained on."""
    data = model.metadata.get("data")
    digest = data.get("sha256") if isinstance(data, dict) else None
    for known in data_sets():
        digests = {one[1] for candidates in known.files.values() for one in candidates}
        if isinstance(digest, str) and digest in digests:
            return known.name
    raise DataError("expected data to stream, received none; give a file, or the name of a data set (--data)")


def _series(model: Any, path: Path) -> Iterator[tuple[list[Any], int]]:
    schema = model.preprocessing.schema
    table = read_series(
        path,
        targets=list(schema.targets),
        covariates=list(schema.covariates),
        time=(schema.time[0] if len(schema.time) == 1 else schema.time) or None,
        series_id=schema.series_id,
    )
    for one in table.series:
        times: Sequence[Any] = [()] * len(one.values)
        if one.times is not None:
            parts = one.times.astype("datetime64[s]").tolist()
            times = [(text,) for text in time_texts(one.times)]
            if len(schema.time) > 1:
                times = [time.timetuple()[: len(schema.time)] for time in parts]
        yield [[*time, *_cells(values)] for time, values in zip(times, one.values, strict=True)], -1


def _cases(model: Any, path: Path) -> Iterator[tuple[list[Any], int]]:
    windows = cut_in_training(model.metadata, len(model.preprocessing.channels)).length
    cases, _ = cases_for(model, path, unlabelled=windows is None)
    for case, label in zip(cases.cases, cases.labels.tolist(), strict=True):
        yield [_cells(values) for values in case], label


def _events(model: Any, path: Path) -> Iterator[tuple[list[Any], int]]:
    known = model.preprocessing
    given: dict[str, Any] = {}
    if path.name.lower().removesuffix(".gz").endswith((".csv", ".parquet")):
        mark = (known.columns.mark or "auto") if known.marks else None
        given = {"time": known.columns.time, "mark": mark, "sequence": known.columns.sequence or "auto"}
    events = read_events(path, marks=known.marks or None, duplicates=known.duplicates, short=known.short, **given)
    known.require_set(events)
    for one in events.sequences:
        times: Sequence[Any] = one.times.tolist()
        if known.dated:
            times = [str(np.datetime64(round(time * 1e6), "us")) for time in times]
        marks = [()] * len(times) if one.marks is None else [(known.marks[mark],) for mark in one.marks.tolist()]
        yield [[time, *mark] for time, mark in zip(times, marks, strict=True)], -1


def _episodes(model: Any, path: Path) -> Iterator[tuple[list[Any], list[Any]]]:
    for episode in read_episodes(path).episodes:
        rewards = [None, *episode.rewards[:-1].tolist()]
        seen = episode.observations[: model.config.max_episode_steps].astype(np.float64).tolist()
        done = episode.actions[: len(seen)].astype(np.float64).tolist()
        yield [[*observation, reward] for observation, reward in zip(seen, rewards, strict=False)], done


_SEQUENCES: Mapping[str, Callable[[Any, Path], Iterator[tuple[list[Any], Any]]]] = {
    "classifier": _cases,
    "events": _events,
    "forecaster": _series,
    "policy": _episodes,
}


def _cells(values: Any) -> list[Any]:
    """Cells of a row, None where a value is missing."""
    return [None if value != value else value for value in values.tolist()]
