"""What the streams of all models share: rows that are taken whole or not at all, and a state that can be saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from torch import Tensor
from torch.utils import _pytree as pytree

from aaren.data import Schema
from aaren.errors import DataError, ModelFileError
from aaren.models import Model, check_tensors
from aaren.streaming._drift import DriftMonitor
from aaren.streaming._drift_reference import drift_reference
from aaren.streaming._drift_report import DriftReport
from aaren.streaming._snapshot import read_snapshot, write_snapshot

Policy = Literal["error", "skip", "impute"]
MOST_ROWS = 1 << 62
"""No stream counts so many: the counts of one that says so would run over."""
AnyModel = TypeVar("AnyModel", bound=Model[Any, Any])
Result = TypeVar("Result")


class ModelStream(ABC, Generic[AnyModel, Result]):
    """Base of the streams. A subclass says how a row is checked and applied, and what of its own a snapshot holds.

    Args:
        model: the trained model.
        on_bad_row: "error", "skip" or "impute".

    Raises:
        ValueError: the model has no preprocessing, or an argument is not one of its choices.
    """

    model: AnyModel
    record_fields: ClassVar[Mapping[str, str]] = {}
    """What of its own header differs between streams of one model and options, but for their names; dtype by name."""
    scores_anomalies: ClassVar[bool] = False
    """Whether its snapshots hold what is usual of the stream too."""
    row_options: ClassVar[Sequence[str]] = ("on_bad_row",)
    """Options that decide what becomes of a row; with others the same rows lead to another state."""

    def __init__(self, model: AnyModel, on_bad_row: Policy) -> None:
        if model.preprocessing is None:
            raise ValueError("model: expected preprocessing (columns and units), received None; train or load a model")
        if on_bad_row not in ("error", "skip", "impute"):
            raise ValueError(f"on_bad_row: expected 'error', 'skip' or 'impute', received {on_bad_row!r}")
        self.model, self.on_bad_row = model.eval(), on_bad_row
        self._state: Any = model.init_state(1)
        self._rows = self._skipped = self._last_taken = 0
        self._monitor = DriftMonitor(drift_reference(model))

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """The columns of a row."""

    @abstractmethod
    def _check(self, row: Any, number: int) -> Any:
        """What `_apply` needs of a row; raises DataError and changes nothing."""

    @abstractmethod
    def _apply(self, checked: Any, number: int) -> Result:
        """Take a checked row: the new state, and what the model says; DataError, changing nothing, if it cannot."""

    @abstractmethod
    def _own_header(self) -> dict[str, Any]:
        """What a snapshot holds besides state and counts; plain data."""

    @abstractmethod
    def _restore_own(self, header: Mapping[str, Any]) -> None:
        """Take back what `_own_header` gave; KeyError, TypeError, ValueError or OverflowError if it cannot be."""

    @staticmethod
    def _require_finite(said: Tensor, number: int) -> None:
        """Refuse a finite row that is too large for the model: what it says, and would keep, is not a number.

        Raises:
            DataError: with the number of the row.
        """
        if not bool(said.isfinite().all()):
            raise DataError(
                "expected a row that the model can take, received one after which nothing is a number; its numbers are "
                "far beyond those of the training data: mark them as missing",
                source="stream",
                line=number,
            )

    @property
    def time(self) -> Any:
        """Time of the last row that was taken, if rows have one by which a restart can tell them; it has an order."""
        return None

    def time_of(self, row: Mapping[str, Any]) -> Any:
        """The time of a row, whatever its other cells hold; None where rows have none. The row is not taken."""
        return None

    def missing_before(self, row: Any) -> int:
        """Rows that the model would pass through as missing before this one; 0 of a row that would be refused."""
        return 0

    @property
    def rows(self) -> int:
        """Rows that came so far, those that were skipped included."""
        return self._rows

    @property
    def skipped(self) -> int:
        """Rows that `on_bad_row="skip"` left out."""
        return self._skipped

    @property
    def last_taken(self) -> int:
        """Number of the last row that was taken, 0 before the first; rows after it, up to `rows`, were skipped.

        For a policy, `observe` and `reset` count as taking the rows before them.
        """
        return self._last_taken

    @property
    def state(self) -> Any:
        """What the model keeps of the past; a value that later rows do not change."""
        return self._state

    def drift(self) -> DriftReport:
        """How far the recent rows have moved from the training data; kept in the snapshot, costs constant memory."""
        return self._monitor.report(self._rows - self._skipped)

    def nbytes(self) -> int:
        """Bytes of the state."""
        return sum(x.numel() * x.element_size() for x in self._tensors().values())

    def update(self, row: Any) -> Result | None:
        """Take one row; what the model says after it, or None if the row was left out (`on_bad_row="skip"`).

        Raises:
            DataError: the row was refused; row number and column are in the message, the state is as before.
        """
        if self.model.training:  # who trains on must not make a stream drop out
            self.model.eval()
        number = self._rows + 1
        try:
            result = self._apply(self._check(row, number), number)
        except DataError:
            if self.on_bad_row != "skip":
                raise
            self.skip(row)
            return None
        self._rows = self._last_taken = number
        return result

    def skip(self, row: Any = None) -> str:
        """Count a row that was left out; the state stays as it is, but see `PolicyStream.skip`.

        Args:
            row: as `update` was given it; None if there was nothing to be read.

        Returns:
            What is lost with the row besides it, in words for the user; empty if nothing is.
        """
        self._rows, self._skipped = self._rows + 1, self._skipped + 1
        return ""

    def save(self, path: str | Path) -> None:
        """Write a snapshot: safetensors with a JSON header, atomically; `model.stream(path)` goes on from it.

        Raises:
            ModelFileError: the file cannot be written.
        """
        write_snapshot(Path(path), self._tensors(), {"fingerprint": self.model.fingerprint(), **self.header()})

    def header(self) -> dict[str, Any]:
        """What there is of a stream besides its state; plain data."""
        counts = {"rows": self._rows, "skipped": self._skipped, "last_taken": self._last_taken}
        return {**counts, "drift": self._monitor.to_dict(), **self._own_header()}

    def go_on(self, header: Mapping[str, Any], state: Any) -> None:
        """Become the stream that had this `header()` and `state`; for those that keep streams in their own way.

        Raises:
            KeyError, TypeError, ValueError or OverflowError: the header is another stream's, or damaged.
        """
        rows, skipped, last_taken = (int(header[name]) for name in ("rows", "skipped", "last_taken"))
        if not (0 <= skipped <= rows < MOST_ROWS and 0 <= last_taken <= rows):
            raise ValueError(
                f"expected 0 <= skipped <= rows and 0 <= last_taken <= rows < 2**62, received skipped={skipped}, "
                f"last_taken={last_taken} and rows={rows}"
            )
        if "drift" in header:  # snapshots of before there was a monitor go on with a new one
            self._monitor.restore(header["drift"])
        self._restore_own(header)
        self._rows, self._skipped, self._last_taken, self._state = rows, skipped, last_taken, state

    def _restore(self, state_file: str | Path | None) -> None:
        """Go on from a snapshot, if there is one."""
        if state_file is not None and Path(state_file).exists():
            self.read(state_file)

    def read(self, state_file: str | Path) -> None:
        """Go on from a snapshot.

        Raises:
            ModelFileError: it is not there, is damaged, of another model, or of a stream with anomalies where this one
                has none, or the other way.
        """
        path = Path(state_file)
        tensors, header = read_snapshot(path, self.model.fingerprint())
        if ("anomaly" in header) != self.scores_anomalies:
            kinds = ("a stream without anomalies", "an AnomalyStream")
            raise ModelFileError(
                f"{path}: expected the state of {kinds[self.scores_anomalies]}, received that of "
                f"{kinds['anomaly' in header]}; open it as what it is (AnomalyStream, `aaren stream --anomalies`), or "
                "start a new state"
            )
        template, structure = pytree.tree_flatten(self._state)
        expected = {}
        for index, leaf in enumerate(template):
            name = f"state.{index}"
            shape = tuple(leaf.shape)
            if name in tensors and tensors[name].dim() == len(shape):
                # a cache grows with the tokens: where the empty one has size 0, any size is right
                shape = tuple(b if a == 0 else a for a, b in zip(shape, tensors[name].shape, strict=True))
            expected[name] = (shape, leaf.dtype)
        check_tensors(path, tensors, expected)
        leaves = [tensors[f"state.{index}"].to(self.model.device) for index in range(len(template))]
        try:
            self.go_on(header, pytree.tree_unflatten(leaves, structure))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(f"{path}: not a state snapshot, or damaged: {error}") from None

    def _tensors(self) -> dict[str, Tensor]:
        leaves, _ = pytree.tree_flatten(self._state)
        return {f"state.{index}": leaf for index, leaf in enumerate(leaves)}
