"""`aaren stream`: rows in as they come, a line of JSON out after each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from aaren._interruption import Interruption, lines
from aaren._standard_streams import OutputError, begin_line, write_line
from aaren._words import in_options
from aaren.cli._common import existing, options_of, require_model, require_writable
from aaren.cli._drift_output import DriftOutput
from aaren.cli._feed import followed
from aaren.cli._pass_over import PassOver
from aaren.data import RowReader, text_lines
from aaren.errors import DataError
from aaren.streaming import AnomalyStream, ModelStream

OPTIONS = {
    "max_gap": ("forecaster",),
    "mode": ("policy",),
    "target_return": ("policy",),
    "warmup": ("forecaster",),
    "anomalies": ("forecaster", "events"),
    "risk": ("forecaster", "events"),
}
"""Which kinds of models an option is for."""
_OWN = ("on_bad_row", *OPTIONS)


def stream(
    model: Path,
    /,
    *,
    follow: Path | None = None,
    state: Path | None = None,
    save_every: int | None = None,
    on_bad_row: Literal["error", "skip", "impute"] = "error",
    max_gap: int | None = None,
    series: str | None = None,
    mode: Literal["streamed", "windowed"] | None = None,
    target_return: float | None = None,
    warmup: int | None = None,
    drift: Path | None = None,
    drift_every: int | None = None,
    anomalies: Annotated[bool, Parameter(negative=())] = False,
    risk: float | None = None,
) -> int:
    """What the model says after every row, in constant time and memory per row.

    Reads CSV with a header, a row on each line, from standard input and writes one JSON line for each row to standard
    output.

    With --state the stream goes on after a restart as if it had not stopped. Give it the same file or feed again:
    rows up to the time that the state has seen are passed over. Where times do not tell rows apart (there is no time
    column, or events were trained with --duplicates keep), as many rows as it has seen are passed over with --follow; a
    pipe must go on where it stopped. After a kill in between two snapshots, forecasts since the last one are written
    again, with the same row numbers and the same values; none is lost.

    Parameters
    ----------
    model
        Model directory, as `aaren train` writes it.
    follow
        Read this file instead of standard input, and wait for more rows at its end until Ctrl-C.
    state
        Snapshot file: read at the start if it is there, written every --save-every rows and at the end.
    save_every
        With --state: rows between two snapshots; by default 1000.
    on_bad_row
        For a row with infinity, or that cannot be read: stop with an error; skip it, with a line on standard error
        (of a policy, its reward counts all the same if it can be read); or impute: take an infinite cell as missing
        (of a policy, a missing one too as the training mean; not for event models), and stop at what cannot be read.
    max_gap
        Of a forecaster: rows that may be missing between two rows, by default 10000; they are passed through as missing
        values.
    series
        Use only the rows of this series, where the model was trained with --series-id; of an event model, only the
        events of this sequence, where it was trained on a table with a column of sequences.
    mode
        Of a policy: "streamed" (by default) keeps all of the episode in a state of constant size; "windowed" reads the
        last steps again before each action, as in training.
    target_return
        Of a policy: the return to ask for; by default the one it was trained to ask for, or that of the state.
    warmup
        Of a forecaster: forecasts after fewer rows than this say "warming_up": true; by default the look-back of the
        training.
    drift
        File to write at the end, and every --drift-every rows: how far the recent input is from that of the training,
        as JSON.
    drift_every
        Rows after which the same is shown as a table on standard error, again and again and at the end.
    anomalies
        Of a forecaster or an event model: add to each line how rare the row is, judged by what was forecast before
        it. The state of a stream without anomalies is refused.
    risk
        With --anomalies: the share of ordinary rows that may be flagged; by default 0.0001.
    """
    import aaren

    require_model(model)
    if save_every is not None and save_every < 1:
        raise ValueError(f"--save-every: expected at least 1, received {save_every}")
    if save_every is not None and state is None:
        raise ValueError(f"--save-every: expected only with --state, received {save_every}")
    if risk is not None and not anomalies:
        raise ValueError(f"--risk: expected only with --anomalies, received {risk}")
    if max_gap is not None and max_gap < 0:
        raise ValueError(f"--max-gap: expected at least 0, received {max_gap}")
    if drift_every is not None and drift_every < 1:
        raise ValueError(f"--drift-every: expected at least 1, received {drift_every}")
    for written in (state, drift):
        if written is not None:
            require_writable(written)
    if follow is not None:
        existing(follow, "a CSV file that grows", "send its rows to standard input and leave --follow out")
    loaded = aaren.load(model)
    given = {
        "max_gap": max_gap,
        "mode": mode,
        "target_return": target_return,
        "warmup": warmup,
        "anomalies": True if anomalies else None,
        "risk": risk,
    }
    options = options_of(loaded.kind, given, OPTIONS)
    # rows that are to be skipped come back as errors, so that each can be told with its line
    options["on_bad_row"] = "error" if on_bad_row == "skip" else on_bad_row
    if options.pop("anomalies", False):
        live: ModelStream[Any, Any] = AnomalyStream(loaded, state, **options)
    else:
        live = loaded.stream(state, **options)
    if series is not None and live.schema.series_id is None:
        raise DataError(
            "--series: expected a model that was trained with --series-id, or on events in a table with a column of "
            "sequences; leave the option out"
        )
    told = DriftOutput(live, drift_every, drift)
    runner = _Runner(live, state, save_every or 1000, series, told, skip_bad_rows=on_bad_row == "skip")
    if follow is None:
        return runner.run(lines(sys.stdin.buffer, runner.interruption), "standard input", from_file=False)
    with follow.open("rb") as file:
        return runner.run(followed(file, follow, runner.interruption), str(follow), from_file=True)


class _Runner:
    """The loop over rows, which a signal may stop between two rows but never inside one."""

    def __init__(
        self,
        live: ModelStream[Any, Any],
        state: Path | None,
        save_every: int,
        series: str | None,
        drift: DriftOutput,
        *,
        skip_bad_rows: bool,
    ) -> None:
        self.live, self.state, self.save_every, self.series = live, state, save_every, series
        self.drift, self.skip_bad_rows = drift, skip_bad_rows
        self.interruption = Interruption()
        self.unsaved = self.own = self.foreign = 0

    def run(self, text: Iterator[bytes], source: str, *, from_file: bool) -> int:
        """Take all rows; returns the exit code."""
        reader = RowReader(text_lines(text, source), self.live.schema, source)
        if begin_line():
            print("aaren: standard output ended inside a line; this run begins on a new one", file=sys.stderr)
        passed_over = PassOver(self.live, from_file, self._skip)
        with self.interruption.noted():
            try:
                while self.interruption.signal is None and self._take(reader, source, passed_over):
                    self._save(after=self.save_every)
            except OutputError:
                # the last forecast was not delivered: the snapshot before it stands, so that a restart gives it again
                raise
            except BaseException:
                self._save()
                raise
            passed_over.end()
            self._save()
            self.drift.end()
        return self._end(source)

    def _take(self, reader: RowReader, source: str, passed_over: PassOver) -> bool:
        """Take the next row; False at the end of the input, or if a signal came while it waited."""
        cells = None
        try:
            line, cells = next(reader)
            if self._is_foreign(cells):
                return True
            try:
                if passed_over(cells):
                    return True
                prediction = self.live.update(cells)
            except DataError as error:
                raise DataError(error.message, source=source, line=line, column=error.column) from None
        except (StopIteration, InterruptedError):
            return False
        except DataError as error:
            if not self.skip_bad_rows or error.line in (None, 1):
                raise
            if not passed_over.bad(error):
                self._skip(error, cells)
            return True
        passed_over.taken()
        assert prediction is not None, "the stream's own policy is never to skip"
        write_line(json.dumps(prediction.to_dict()))
        self.unsaved += 1
        self.drift.taken()
        return True

    def _is_foreign(self, cells: dict[str, str]) -> bool:
        """Whether a row is of another series than the one that was asked for."""
        column = self.live.schema.series_id
        if self.series is None or column is None:
            return False
        foreign = cells[column].strip() != self.series
        self.foreign, self.own = self.foreign + foreign, self.own + (not foreign)
        return foreign

    def _skip(self, error: DataError, cells: dict[str, str] | None = None) -> None:
        """Leave a bad row out, and say so, and what is lost with it."""
        lost = self.live.skip(cells)
        self.unsaved += 1
        print(f"aaren: skipped: {in_options(str(error), _OWN)}{lost and '; '}{lost}", file=sys.stderr)

    def _save(self, after: int = 1) -> None:
        """Write the state, if at least so many rows came since the last snapshot."""
        if self.state is not None and self.unsaved >= after:
            self.live.save(self.state)
            self.unsaved = 0

    def _end(self, source: str) -> int:
        """Say what is to be said at the end; returns the exit code."""
        live, signal = self.live, self.interruption.signal
        if live.skipped:
            print(f"aaren: {live.skipped} of {live.rows} rows were skipped", file=sys.stderr)
        if signal is not None:
            saved = "" if self.state is None else f"; the state is in {self.state}"
            print(f"aaren: stopped after row {live.rows}{saved}", file=sys.stderr)
            return 128 + signal
        if self.foreign and not self.own:
            raise DataError(
                f"expected rows of series {self.series!r}, received {self.foreign} rows of others; check --series",
                source=source,
                column=live.schema.series_id,
            )
        return 0
