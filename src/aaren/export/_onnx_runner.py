"""The runner of an export to ONNX: onnxruntime on one thread, without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aaren.data._optional import optional
from aaren.errors import DataError, ModelFileError
from aaren.export._graph_names import AFTER, BEFORE, CHUNK
from aaren.export._manifest import Manifest, TensorSpec
from aaren.export._runner import Arrays
from aaren.export.runner._open import make_front
from aaren.export.runner._step_runner import StepRunner

_DTYPES = {"double": "float64", "float": "float32", "int64": "int64"}


class OnnxRunner(StepRunner):
    """The model in onnxruntime.

    Args:
        manifest: of the export.
        directory: with step.onnx, and chunk.onnx if the model has one.
        options: of the front.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        ModelFileError: a file is no graph of the manifest's tensors.
    """

    def __init__(self, manifest: Manifest, directory: Path, **options: Any) -> None:
        super().__init__(manifest, make_front(manifest, **options))
        self._inputs, self._outputs, self._kept = (
            tuple(spec for spec in specs if 0 not in spec.shape)
            for specs in (manifest.inputs, manifest.outputs, manifest.state)
        )
        # tensors of size 0 are in no graph
        self._empty = {spec.name: spec.first() for spec in manifest.state if 0 in spec.shape}
        self._nothing = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in manifest.outputs if 0 in spec.shape}
        self._names = [*(spec.name for spec in self._outputs), *(AFTER + spec.name for spec in self._kept)]
        self._one = self._open(directory / "step.onnx")
        self._many = self._open(directory / "chunk.onnx") if "chunk.onnx" in manifest.files else None

    def step(self, token: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        """One token; see `StepRunner.step`."""
        return self._run(self._one, token, state)

    def prefill(self, rows: Sequence[Any]) -> Arrays | None:
        """Take many rows, in chunks; see `Runner.prefill`."""
        if self._many is not None:
            before = self.state()
            try:
                return self._in_chunks(rows)
            except BaseException as error:
                self.set_state(before)
                if not isinstance(error, DataError):
                    raise
        return super().prefill(rows)  # row by row, one at fault is named, or left out

    def _in_chunks(self, rows: Sequence[Any]) -> Arrays | None:
        """The rows' tokens, and those of the rows that are missing, in chunks; DataError if one is at fault."""
        said: Arrays | None = None
        tokens: list[Arrays] = []
        for place, row in enumerate(rows, 1):
            checked = self.front.check(row, self._rows + 1)
            tokens += self.front.tokens(checked)
            self.front.take(checked)
            self._rows += 1
            while len(tokens) >= CHUNK or (tokens and place == len(rows)):
                chunk, tokens = tokens[:CHUNK], tokens[CHUNK:]
                given = {name: np.stack([token[name] for token in chunk]) for name in chunk[0]}
                said, self._state = self._run(self._many, given, self._state)
                self.front.require_finite(said, self._rows)
        return said

    def _run(self, session: Any, token: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        feeds = {spec.name: token[spec.name] for spec in self._inputs}
        feeds.update({BEFORE + spec.name: state[spec.name] for spec in self._kept})
        found = session.run(self._names, feeds)
        outputs = {spec.name: one for spec, one in zip(self._outputs, found, strict=False)}
        after = {spec.name: one for spec, one in zip(self._kept, found[len(self._outputs) :], strict=True)}
        return {**outputs, **self._nothing}, {**after, **self._empty}

    def _open(self, path: Path) -> Any:
        """A session on one thread, whose tensors are those of the manifest."""
        runtime = optional("onnxruntime", "an export to ONNX", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # int8 weights become float32 here and not at every step
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has errors of its own, which are no classes of Python's
            raise ModelFileError(f"{path}: onnxruntime cannot load it: {str(error).splitlines()[0]}") from None
        lead = 0 if path.name == "step.onnx" else 1
        _require(path, session.get_inputs(), {**_shapes(self._inputs, lead), **_shapes(self._kept, 0, BEFORE)})
        _require(path, session.get_outputs(), {**_shapes(self._outputs, 0), **_shapes(self._kept, 0, AFTER)})
        return session


def _shapes(specs: Sequence[TensorSpec], lead: int, before: str = "") -> dict[str, tuple[str, tuple[Any, ...]]]:
    """Dtype and shape by name; `lead` dimensions of any size first."""
    return {before + spec.name: (spec.dtype, (None,) * lead + spec.shape) for spec in specs}


def _require(path: Path, received: Sequence[Any], expected: Mapping[str, tuple[str, tuple[Any, ...]]]) -> None:
    """Refuse a graph of other tensors."""
    found = {
        one.name: (
            _DTYPES.get(one.type.removeprefix("tensor(").removesuffix(")")),
            tuple(size if isinstance(size, int) else None for size in one.shape),
        )
        for one in received
    }
    if found != dict(expected):
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise ModelFileError(f"{path}: expected the tensors of its manifest, received others: {', '.join(wrong[:5])}")
