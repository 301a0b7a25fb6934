"""The native kernels: the definition in every instruction set, the same bits in large results, and no leak."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from operator_cases import Case, assert_close, assert_same_bits, random_case, results, threads
from torch import Tensor

from aaren import _native
from aaren.ops import AttentionState, prefix_attention

EVERYTHING = {"decay": True, "state": True, "masked": 0.2, "resets": 0.05}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
PLACES = ("scores", "values", "log_decay")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [0, 1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 48, 57, 63, 64, 100])
def test_every_instruction_set_agrees(dim: int, dtype: torch.dtype, instructions: str, poisoned_memory: None) -> None:
    """Every cut of dim into vectors, in every dtype, is the definition's within the rounding of the dtype."""
    case = random_case((2, 3), 37, dim, seed=dim, **EVERYTHING).to(dtype)
    bars = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-12, 1e-11)}
    eps = torch.finfo(dtype).eps
    outputs, gradients = bars.get(dtype, (eps, 8 * eps))
    expected = results(case.to(torch.float64), "definition")
    for layout in (case, case.as_projected()):
        assert_close(results(layout, "native"), expected, outputs=outputs, gradients=gradients)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [1, 5, 16, 33])
def test_a_step_of_every_instruction_set_agrees(dim: int, dtype: torch.dtype, instructions: str) -> None:
    """Token by token, the path of streams, gives the definition's outputs and state."""
    case = random_case((3,), 25, dim, **EVERYTHING).to(dtype)
    expected, final = case.to(torch.float64).call("definition")
    with torch.no_grad():
        outputs, state = case.call_in_chunks("auto", range(1, 25))
    bar = 1e-12 if dtype == torch.float64 else torch.finfo(dtype).eps
    scale = expected.abs().max().item()
    torch.testing.assert_close(outputs.double(), expected, rtol=0, atol=bar * scale)
    torch.testing.assert_close(state.lse(), final.lse(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state.output(), final.output(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scores", DTYPES, ids=str)
@pytest.mark.parametrize("values", DTYPES, ids=str)
def test_dtypes_may_be_mixed(scores: torch.dtype, values: torch.dtype, instructions: str) -> None:
    """Scores, values and log-decays of different dtypes: every result has the dtype and the rounding of its own."""
    case = random_case((2,), 40, 5, **EVERYTHING)
    case = replace(
        case, scores=case.scores.to(scores), values=case.values.to(values), log_decay=case.log_decay.to(scores)
    )
    found = results(case, "native")
    dtypes = {"outputs": values, "grad scores": scores, "grad values": values, "grad log_decay": scores}
    assert {name: found[name].dtype for name in dtypes} == dtypes
    eps = max(torch.finfo(values).eps, torch.finfo(scores).eps)
    assert_close(found, results(case.to(torch.float64), "definition"), outputs=8 * eps, gradients=16 * eps)


def test_instruction_set_by_name() -> None:
    """The last supported set is the baseline; an unknown name is refused with the known ones and changes nothing."""
    before = _native.in_use()
    assert _native.supported()[-1] == "baseline"
    assert before in _native.supported()
    with pytest.raises(ValueError, match=r"expected one of .*baseline; received 'mmx'"):
        _native.use("mmx")
    assert _native.in_use() == before


def test_instruction_set_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """AAREN_INSTRUCTION_SET names the instruction set of a process, to compare or to rule one out."""
    monkeypatch.setenv("AAREN_INSTRUCTION_SET", "baseline")
    code = "from aaren.ops import instruction_set; print(instruction_set())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "baseline\n"


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(
    ("dtype", "dim"),
    [(torch.float32, 64), (torch.float32, 40), (torch.float32, 36), (torch.float64, 36), (torch.bfloat16, 96)],
    ids=str,
)
def test_large_results_have_the_bits_of_small_ones(
    dtype: torch.dtype, dim: int, offset: int, instructions: str, poisoned_memory: None
) -> None:
    """Above 8 MiB results may be written past the caches; rows called one by one, below, have the same bits."""
    rows, size = 6, torch.finfo(dtype).bits // 8
    tokens = -(-(8 << 20) // (rows * dim * size))
    case = random_case((rows,), tokens, dim, decay=True, dtype=dtype)
    memory = torch.empty(case.values.numel() + 1, dtype=dtype)
    values = memory[offset : offset + case.values.numel()].view_as(case.values).copy_(case.values)
    grad_outputs = torch.randn(rows, tokens, dim, generator=torch.Generator().manual_seed(1)).to(dtype)

    def run(rows: slice) -> list[Tensor]:
        leaves = [x[rows].detach().requires_grad_() for x in (case.scores, values, case.log_decay)]
        outputs, state = prefix_attention(*leaves[:2], log_decay=leaves[2], backend="native")
        assert outputs.numel() * size < 8 << 20 or rows == slice(None)
        return [outputs, *vars(state).values(), *torch.autograd.grad(outputs, leaves, grad_outputs[rows])]

    with threads(2):
        large = run(slice(None))
    small = [torch.cat(parts) for parts in zip(*(run(slice(k, k + 1)) for k in range(rows)), strict=True)]
    for a, b in zip(large, small, strict=True):
        assert torch.equal(a, b)


def clean_and_dirty(place: str, bad: float, tokens: slice, layout: Callable[[Case], Case]) -> tuple[Case, Case]:
    """A case with resets, said as decays of -inf, and the same with `bad` in row (1, 1) at some tokens."""
    clean = layout(random_case((3, 2), 60, 33, decay=True, state=True, dtype=torch.float32))
    resets = torch.zeros(3, 2, 60, dtype=torch.bool)
    resets[..., [20, 41]] = True
    clean = replace(clean, log_decay=clean.log_decay.masked_fill(resets, -torch.inf))
    wrong = getattr(clean, place).clone()
    wrong[1, 1, tokens] = bad
    return clean, replace(clean, **{place: wrong})


def gradients(case: Case, grad_outputs: Tensor) -> list[Tensor]:
    """Gradients to scores, values and log-decays from given ones to the outputs."""
    leaves = [getattr(case, name).detach().requires_grad_() for name in PLACES]
    outputs, _ = replace(case, **dict(zip(PLACES, leaves, strict=True))).call("native")
    return list(torch.autograd.grad(outputs, leaves, grad_outputs))


@pytest.mark.parametrize("layout", [lambda case: case, Case.as_projected], ids=["dense", "projected"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("count", [1, 8])
def test_a_bad_number_stays_in_its_sequence(
    count: int, bad: float, place: str, layout: Callable[[Case], Case], instructions: str
) -> None:
    """NaN or infinity between two resets changes no bit of other rows, nor of what is before or behind the resets."""
    clean, dirty = clean_and_dirty(place, bad, slice(25, 31), layout)
    elsewhere = torch.ones(3, 2, 60, dtype=torch.bool)
    elsewhere[1, 1, 20:41] = False
    grad_outputs = torch.randn(3, 2, 60, 33, generator=torch.Generator().manual_seed(1))
    with threads(count):
        found = [(*case.call("native"), gradients(case, grad_outputs)) for case in (clean, dirty)]
    (outputs, state, grads), (bad_outputs, bad_state, bad_grads) = found
    assert torch.equal(bad_outputs[elsewhere], outputs[elsewhere])
    assert_same_bits(vars(bad_state), vars(state))
    for name, grad, bad_grad in zip(PLACES, grads, bad_grads, strict=True):
        assert torch.equal(bad_grad[elsewhere], grad[elsewhere]), name


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("count", [1, 8])
def test_a_bad_gradient_does_not_cross_a_reset(count: int, bad: float, instructions: str) -> None:
    """NaN or infinity in the incoming gradients changes no bit before the reset, nor in other rows."""
    clean, _ = clean_and_dirty("values", 0.0, slice(0, 0), Case.as_projected)
    grad_outputs = torch.randn(3, 2, 60, 33, generator=torch.Generator().manual_seed(1))
    wrong = grad_outputs.clone()
    wrong[1, 1, 43] = bad
    elsewhere = torch.ones(3, 2, 60, dtype=torch.bool)
    elsewhere[1, 1, 41:44] = False
    with threads(count):
        for a, b in zip(gradients(clean, grad_outputs), gradients(clean, wrong), strict=True):
            assert torch.equal(a[elsewhere], b[elsewhere])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", ["max_score", "normalizer", "weighted_sum"])
@pytest.mark.parametrize("backend", ["native", "auto"], ids=["call", "step"])
def test_a_reset_forgets_a_bad_state(backend: str, part: str, bad: float, instructions: str) -> None:
    """A reset starts anew behind whatever state: the token is the output, and all that the state holds."""
    case = random_case((3,), 1, 37, state=True, resets=1.0)
    ruined = replace(case.state, **{part: torch.full_like(getattr(case.state, part), bad)})
    with torch.no_grad():
        outputs, state = replace(case, state=ruined).call(backend)
    assert torch.equal(outputs, case.values)
    assert_same_bits(vars(state), vars(AttentionState.leaf(case.scores[..., 0], case.values[..., 0, :])))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("dim", [5, 33, 64])
def test_nothing_behind_a_mask_is_read(place: str, dim: int, instructions: str) -> None:
    """NaN behind a mask changes no bit, in any cut of dim, in chunks of one block and in single steps."""
    case = random_case((2, 3), 37, dim, **EVERYTHING, dtype=torch.float32)
    hidden = ~case.mask if place != "values" else ~case.mask[..., None]
    dirty = replace(case, **{place: getattr(case, place).masked_fill(hidden, torch.nan)})
    assert_same_bits(results(dirty, "native"), results(case, "native"))
    with torch.no_grad():
        (a, state), (b, other) = (x.call_in_chunks("auto", range(1, 37)) for x in (case, dirty))
    assert torch.equal(a, b)
    assert_same_bits(vars(state), vars(other))


def test_the_state_is_never_changed_in_place(instructions: str) -> None:
    """Inputs and state are the same after a call and a step as before, and no result shares memory with them."""
    case = random_case((3,), 9, 5, **EVERYTHING)
    tensors = [case.scores, case.values, case.log_decay, *vars(case.state).values()]
    before = [x.clone() for x in tensors]
    outputs, state = case.call("native")
    with torch.no_grad():
        step_outputs, stepped = case.tokens(0, 1).call("auto")
    made = [outputs, step_outputs, *vars(state).values(), *vars(stepped).values()]
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
    assert not {x.untyped_storage().data_ptr() for x in made} & {x.untyped_storage().data_ptr() for x in tensors}
    assert isinstance(stepped, AttentionState)
