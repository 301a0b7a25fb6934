"""The native backend: one pass over the tokens in C++ (folder `native/`), on CPUs.

Values are read where they lie, in any layout whose last dimension is dense; outputs are written in the same layout.
Sums are float64 inside, whatever the dtype. Results do not depend on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from aaren.ops._kernel import End, Gradients, Saved
from aaren.ops._state import AttentionState

_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
Address = tuple[int, int, int, int, int]


def _load() -> tuple[ModuleType | None, str | None]:
    """The compiled module, or why it is not there. PyTorch is imported first: both then share one pool of threads."""
    try:
        module = import_module("aaren._native")
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError)
        why = "is not in this installation" if absent else f"does not load ({error})"
        return None, (
            f"the compiled module aaren._native {why}; install a C++ compiler (GCC or Clang), then run "
            "pip install --force-reinstall --no-deps . in the checkout"
        )
    wanted = os.environ.get("AAREN_INSTRUCTION_SET")
    if wanted:
        module.use(wanted)
    return module, None


_native, missing = _load()


def instruction_set() -> str | None:
    """Name of the instruction set whose kernels run here, such as "avx2"; None where the kernels were not built.

    The environment variable `AAREN_INSTRUCTION_SET` names another one than the best that the machine has.
    """
    return None if _native is None else _native.in_use()


def _two(x: Tensor, lead: int) -> Tensor:
    """The same numbers with exactly two leading dimensions of `lead`."""
    if lead == 2:
        return x
    if lead == 1:
        return x[None]
    return x[None, None] if lead == 0 else x.flatten(0, lead - 2)


def _scalars(x: Tensor | None, lead: int) -> Address | None:
    """A tensor (..., tokens) as the kernels read it. The caller keeps `x` alive."""
    if x is None:
        return None
    a, b, t = _two(x, lead).stride()
    return x.data_ptr(), _DTYPES[x.dtype], a, b, t


def _vectors(x: Tensor, lead: int) -> Address:
    """The same for (..., tokens, dim)."""
    a, b, t, _ = _two(x, lead).stride() if x.numel() else (0, 0, 0, 0)
    return x.data_ptr(), _DTYPES[x.dtype], a, b, t


def _readable(x: Tensor, lead: int, *, vectors: bool) -> Tensor:
    """`x`, or a contiguous copy where its layout cannot be described by two strides and a dense last dimension."""
    dense = not vectors or x.shape[-1] < 2 or x.stride(-1) == 1
    if dense and (lead <= 2 or x.is_contiguous()):
        return x
    return x.contiguous()


def _write_like(x: Tensor, lead: int, *, vectors: bool) -> tuple[Tensor, Tensor]:
    """An empty tensor in the layout of `x` to return, and where the kernel writes: the same where it can."""
    result = torch.empty_like(x)
    dense = not vectors or x.shape[-1] < 2 or result.stride(-1) == 1
    if dense and (lead <= 2 or result.is_contiguous()):
        return result, result
    return result, torch.empty_like(x, memory_format=torch.contiguous_format)


def _finished(result: Tensor, written: Tensor) -> Tensor:
    return result if result is written else result.copy_(written)


def _shape(values: Tensor, lead: int) -> tuple[int, int, int, int]:
    a, b, tokens, dim = _two(values, lead).shape
    return a, b, tokens, dim


def _addresses(state: AttentionState) -> tuple[int, int, int]:
    return state.max_score.data_ptr(), state.normalizer.data_ptr(), state.weighted_sum.data_ptr()


def _kept(state: AttentionState) -> AttentionState:
    """The state in float64 and contiguous, without a copy where it is so."""
    w = state.weighted_sum
    if w.dtype is torch.float64 and w.is_contiguous() and state.normalizer.is_contiguous():
        max_score = state.max_score
        if max_score.dtype is state.normalizer.dtype is torch.float64 and max_score.is_contiguous():
            return state
    return AttentionState(*(x.to(torch.float64).contiguous() for x in vars(state).values()))


def _empty_state(batch: torch.Size, dim: int) -> AttentionState:
    return AttentionState(
        torch.empty(batch, dtype=torch.float64),
        torch.empty(batch, dtype=torch.float64),
        torch.empty((*batch, dim), dtype=torch.float64),
    )


def _empty_like(state: AttentionState) -> AttentionState:
    """Memory for a state in the layout of this one."""
    return AttentionState(
        torch.empty_like(state.max_score), torch.empty_like(state.normalizer), torch.empty_like(state.weighted_sum)
    )


def forward(
    scores: Float[Tensor, "*batch tokens"],
    values: Float[Tensor, "*batch tokens dim"],
    log_decay: Float[Tensor, "*batch tokens"] | None,
    state: AttentionState | None,
) -> Saved:
    """Outputs and final state. Canonical inputs: a masked token is a score of -inf, a reset a log-decay of -inf."""
    assert _native is not None
    batch, lead = scores.shape[:-1], scores.dim() - 1
    # laid out like the caller's values, not like a copy that is read in their place
    outputs, written = _write_like(values, lead, vectors=True)
    scores, values = _readable(scores, lead, vectors=False), _readable(values, lead, vectors=True)
    log_decay = None if log_decay is None else _readable(log_decay, lead, vectors=False)
    start = None if state is None else _kept(state)
    gain = torch.empty(scores.shape, dtype=torch.float64)
    end = _empty_state(batch, values.shape[-1])
    _native.forward(
        torch.get_num_threads(),
        _shape(values, lead),
        _scalars(scores, lead),
        _vectors(values, lead),
        _scalars(log_decay, lead),
        None if start is None else _addresses(start),
        _vectors(written, lead),
        gain.data_ptr(),
        _addresses(end),
    )
    return Saved(_finished(outputs, written), gain, end)


def backward(
    grad_outputs: Float[Tensor, "*batch tokens dim"],
    end: End | None,
    scores: Float[Tensor, "*batch tokens"],
    values: Float[Tensor, "*batch tokens dim"],
    log_decay: Float[Tensor, "*batch tokens"] | None,
    start_mean: Float[Tensor, "*batch dim"] | None,
    saved: Saved,
) -> Gradients:
    """The closed-form gradients; the formulas are in `aaren.ops._blocks.backward` and docs/mathematics.md."""
    assert _native is not None
    batch, lead = scores.shape[:-1], scores.dim() - 1
    grad_scores, written_scores = _write_like(scores, lead, vectors=False)
    grad_values, written_values = _write_like(values, lead, vectors=True)
    scores, values = _readable(scores, lead, vectors=False), _readable(values, lead, vectors=True)
    grad_outputs = _readable(grad_outputs.to(values.dtype), lead, vectors=True)
    outputs = _readable(saved.outputs, lead, vectors=True)
    gain = saved.gain.to(torch.float64).contiguous()
    end_acc, end_r = (None, None) if end is None else (end[0].contiguous(), end[1].contiguous())
    start_mean = None if start_mean is None else start_mean.contiguous()
    grad_decay, written_decay = (None, None) if log_decay is None else _write_like(log_decay, lead, vectors=False)
    grad_mean = torch.empty((*batch, values.shape[-1]), dtype=torch.float64)
    grad_lse = torch.empty(batch, dtype=torch.float64)
    _native.backward(
        torch.get_num_threads(),
        _shape(values, lead),
        _vectors(grad_outputs, lead),
        _scalars(scores, lead),
        _vectors(values, lead),
        _vectors(outputs, lead),
        gain.data_ptr(),
        0 if end_acc is None else end_acc.data_ptr(),
        0 if end_r is None else end_r.data_ptr(),
        0 if start_mean is None else start_mean.data_ptr(),
        _scalars(written_scores, lead),
        _vectors(written_values, lead),
        _scalars(written_decay, lead),
        grad_mean.data_ptr(),
        grad_lse.data_ptr(),
    )
    return Gradients(
        _finished(grad_scores, written_scores),
        _finished(grad_values, written_values),
        None if grad_decay is None or written_decay is None else _finished(grad_decay, written_decay),
        grad_mean,
        grad_lse,
    )


def step(
    scores: Float[Tensor, "*batch"],
    values: Float[Tensor, "*batch dim"],
    log_decay: Float[Tensor, "*batch"] | None,
    state: AttentionState,
) -> tuple[Float[Tensor, "*batch dim"], AttentionState]:
    """One token without gradients: the paper's RNN cell for all rows in one call, in the kept dtype."""
    assert _native is not None
    scores, values = scores[..., None], values[..., None, :]
    batch, lead = scores.shape[:-1], scores.dim() - 1
    scores, values = _readable(scores, lead, vectors=False), _readable(values, lead, vectors=True)
    log_decay = None if log_decay is None else _readable(log_decay[..., None], lead, vectors=False)
    start = _kept(state)
    end = _empty_like(start)
    outputs = torch.empty((*batch, values.shape[-1]), dtype=values.dtype)
    if values.numel() or scores.numel():
        _native.step(
            torch.get_num_threads(),
            _shape(values, lead),
            _scalars(scores, lead),
            _vectors(values, lead),
            _scalars(log_decay, lead),
            _addresses(start),
            _vectors(outputs[..., None, :], lead),
            _addresses(end),
        )
    return outputs, end


def layers_step(
    layers: list[tuple[Any, ...]],
    x: Float[Tensor, "batch *one d"],
    elapsed: Float[Tensor, " batch *one"] | None,
    added: Float[Tensor, "batch *one d"] | None,
    states: Sequence[AttentionState],
) -> tuple[Float[Tensor, "batch *one d"], tuple[AttentionState, ...]]:
    """One token through encoder layers that follow one another, without gradients, in float32.

    Args:
        layers: for each layer width, heads, hidden width, whether norms come first, whether decay is by time,
            activation (0 relu, 1 gelu), two epsilons, and the addresses of query and decay_rate, then of weight and
            bias of in_proj, out_proj, linear1, linear2, norm1 and norm2, 0 for what is not there; all float32 and
            contiguous.
        x: shape (batch, width) or (batch, 1, width), contiguous.
        elapsed: time since the token before, float32 and contiguous; needed where a layer's decay is by time.
        added: added to the input of every layer, shape of x, float32 and contiguous; or None.
        states: one for each layer, batch shape (batch, heads).
    """
    assert _native is not None
    y, starts = torch.empty_like(x), [_kept(state) for state in states]
    ends = tuple([_empty_like(start) for start in starts])
    _native.layers_step(
        layers,
        x.shape[0],
        x.data_ptr(),
        0 if elapsed is None else elapsed.data_ptr(),
        0 if added is None else added.data_ptr(),
        [_addresses(start) for start in starts],
        [_addresses(end) for end in ends],
        y.data_ptr(),
    )
    return y, ends


class NativeForecaster:
    """One token of many streams of a forecaster in one call, from the user's units to the user's units.

    Args:
        arrays: what the addresses in `given` are of and nobody else keeps.
        **given: whole numbers `inputs`, `targets`, `calendar`, `horizon`, `levels`, `highway_rows`; `by_time`, whether
            the logarithm of the time since the token before is a feature; `decay` and `epsilon` of the running norm;
            addresses, 0 for what is not there, of float32 weights and biases `embed`, `head` and `last`, the layer norm
            behind the layers, with its epsilon, and of `highway`; of float64 `scaler`, mean and deviation; `layers` as
            `layers_step` has them; and `record_bytes` with the places in a record, in bytes, of the `position`, the
            `highway_place`, and of maximum, normaliser and weighted sum of `norm_place` and `layer_places`.
    """

    def __init__(self, *arrays: NDArray[np.float64], **given: Any) -> None:
        assert _native is not None
        self._arrays, self._native = arrays, _native.Forecaster(given)

    def step(
        self,
        values: Float64[np.ndarray, "batch inputs"],
        calendar: Float32[np.ndarray, "batch features"],
        elapsed: Float32[np.ndarray, " batch"],
        positions: Float32[np.ndarray, "batch d"] | None,
        records: UInt8[np.ndarray, "batch record_bytes"],
        means: Float64[np.ndarray, "batch horizon targets"],
        quantiles: Float64[np.ndarray, "batch horizon targets levels"],
        sound: Bool[np.ndarray, " batch"],
    ) -> None:
        """Write the forecasts, whether each is sound, and the new states into the records; all arrays contiguous.

        Args:
            values: in the user's units, NaN where one is missing.
            calendar: features of the calendar.
            elapsed: time since the token before, in intervals.
            positions: added to the tokens.
            records: the states before, which become those after.
            means: are written, in the user's units.
            quantiles: are written, ascending.
            sound: are written: whether all means of a row were finite numbers of float32.
        """
        self._native.step(len(values), values, calendar, elapsed, positions, records, means, quantiles, sound)


def unchanged(modules: list[Any], weights: list[Any], values: list[Any], dropouts: list[Any], absent: object) -> bool:
    """Whether nothing has changed of what `aaren.nn._fused_step` found out about some layers.

    Args:
        modules: tuples of a dictionary, a name, the module that must be found there, and its attributes, which must
            hold neither hooks nor a `forward` of its own.
        weights: tuples of a dictionary, a name, the parameter that must be found there, contiguous, its address, its
            shape and its dtype.
        values: tuples of a dictionary, a name and the very object that must be found there, or `absent`.
        dropouts: attributes of dropouts, which must be out of training or of probability 0.
        absent: what stands for an entry that must not be there.
    """
    assert _native is not None
    return bool(_native.unchanged(modules, weights, values, dropouts, absent))
