"""What the tests of the operator share: random cases, all results and gradients of one call, and one comparison.

Not a test module. `conftest.py` puts this folder on the path.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from aaren.ops import AttentionState, prefix_attention

FAST = ("native", "blocks", "scan", "recurrence")
ALL = ("definition", *FAST)
LENGTHS = (0, 1, 2, 3, 7, 15, 16, 17, 31, 33, 48, 65)


def law(examples: int = 100) -> settings:
    """How a law is tested: the same examples on every run, as many as said, however slow the machine is."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True, repr=False)
class Case:
    """The inputs of one call."""

    scores: Tensor
    values: Tensor
    state: AttentionState | None = None
    log_decay: Tensor | None = None
    mask: Tensor | None = None
    resets: Tensor | None = None
    origin: str = ""

    def __repr__(self) -> str:
        return self.origin

    def tokens(self, start: int, stop: int) -> Case:
        """The same rows, only the tokens from start to stop."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[..., start:stop]

        values = self.values[..., start:stop, :]
        return Case(cut(self.scores), values, self.state, cut(self.log_decay), cut(self.mask), cut(self.resets))

    def rows(self, index: Tensor) -> Case:
        """The rows `index` of the first batch dimension."""

        def take(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index]

        state = None if self.state is None else self.state.select(index)
        parts = (self.scores, self.values, self.log_decay, self.mask, self.resets)
        scores, values, *rest = (take(x) for x in parts)
        return Case(scores, values, state, *rest, origin=f"{self.origin}.rows({index.tolist()})")

    def to(self, dtype: torch.dtype) -> Case:
        """The same numbers in another dtype; the state keeps its own."""
        decay = None if self.log_decay is None else self.log_decay.to(dtype)
        return replace(self, scores=self.scores.to(dtype), values=self.values.to(dtype), log_decay=decay)

    def as_projected(self) -> Case:
        """The case (batch, heads, tokens) with scores and values in memory as a projection leaves them."""
        scores, values = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (self.scores, self.values))
        return replace(self, scores=scores, values=values)

    def call(self, backend: str) -> tuple[Tensor, AttentionState]:
        """One call of the operator."""
        return prefix_attention(
            self.scores,
            self.values,
            self.state,
            log_decay=self.log_decay,
            mask=self.mask,
            resets=self.resets,
            backend=backend,
        )

    def call_in_chunks(self, backend: str, cuts: Sequence[int]) -> tuple[Tensor, AttentionState]:
        """The same call as one call for each chunk between the cuts."""
        outputs, state = [], self.state
        edges = [0, *cuts, self.scores.shape[-1]]
        for start, stop in itertools.pairwise(edges):
            part, state = replace(self.tokens(start, stop), state=state).call(backend)
            outputs.append(part)
        return torch.cat(outputs, -2), state


def random_case(
    batch: Sequence[int] = (2,),
    tokens: int = 20,
    dim: int = 3,
    *,
    seed: int = 0,
    deviation: float = 1.0,
    decay: bool = False,
    state: bool = False,
    masked: float = 0.0,
    resets: float = 0.0,
    dtype: torch.dtype = torch.float64,
) -> Case:
    """A case from a seed; `masked` and `resets` are the shares of such tokens."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn((*batch, *shape), generator=g, dtype=torch.float64)

    def chance(share: float) -> Tensor | None:
        draws = torch.rand((*batch, tokens), generator=g)
        return draws < share if share else None

    start = AttentionState(deviation * normal(), normal().exp(), normal(dim)) if state else None
    log_decay = -normal(tokens).abs() if decay else None
    mask = chance(masked)
    case = Case(
        deviation * normal(tokens),
        normal(tokens, dim),
        start,
        log_decay,
        None if mask is None else ~mask,
        chance(resets),
    )
    return case.to(dtype)


@st.composite
def cases(draw: st.DrawFn, **fixed: object) -> Case:
    """Cases of all shapes and options; what is in `fixed` is not drawn."""
    options = {
        "batch": st.sampled_from([(), (1,), (3,), (2, 2), (0,), (2, 1, 1, 2)]),
        "tokens": st.sampled_from(LENGTHS),
        "dim": st.sampled_from([1, 2, 5]),
        "seed": st.integers(0, 2**20),
        "deviation": st.sampled_from([0.1, 1.0, 3.0, 60.0, 200.0]),
        "decay": st.booleans(),
        "state": st.booleans(),
        "masked": st.sampled_from([0.0, 0.3, 1.0]),
        "resets": st.sampled_from([0.0, 0.2]),
    }
    drawn = {name: draw(strategy) for name, strategy in options.items() if name not in fixed}
    options = drawn | fixed
    origin = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return replace(random_case(**options), origin=f"random_case({origin})")


def results(case: Case, backend: str, cuts: Sequence[int] = (), seed: int = 7) -> dict[str, Tensor]:
    """Outputs, final state, and the gradients to every input of a random function of the outputs and the state.

    The function sees the state in the three ways in which it is used: `output`, `lse` and `merge`.
    """
    state = case.state
    leaves = {"scores": case.scores, "values": case.values, "log_decay": case.log_decay}
    leaves |= {} if state is None else vars(state)
    leaves = {name: x.detach().clone().requires_grad_() for name, x in leaves.items() if x is not None}
    with_leaves = replace(
        case,
        scores=leaves["scores"],
        values=leaves["values"],
        log_decay=leaves.get("log_decay"),
        state=state and AttentionState(*(leaves[name] for name in vars(state))),
    )
    outputs, final = with_leaves.call_in_chunks(backend, cuts) if cuts else with_leaves.call(backend)

    g = torch.Generator().manual_seed(seed)

    def weighted(x: Tensor) -> Tensor:
        weights = torch.randn(x.shape, generator=g, dtype=torch.float64)
        return (x.double() * weights).sum()

    batch, dim = case.scores.shape[:-1], case.values.shape[-1]
    other = random_case(batch, 1, dim, seed=seed)
    merged = final.merge(AttentionState.leaf(other.scores[..., 0], other.values[..., 0, :]))
    lse = final.lse()
    target = weighted(outputs) + weighted(final.output()) + weighted(torch.where(lse > -torch.inf, lse, 0))
    target = target + weighted(merged.output()) + weighted(merged.lse())
    gradients = torch.autograd.grad(target, list(leaves.values()), materialize_grads=True)
    found = {"outputs": outputs.detach(), "state.output": final.output().detach(), "state.lse": lse.detach()}
    return found | {f"grad {name}": grad for name, grad in zip(leaves, gradients, strict=True)}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for what PyTorch and the kernels do in here."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def assert_same_bits(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Every tensor equal in every element, and none with a NaN."""
    assert actual.keys() == expected.keys()
    for name, want in expected.items():
        assert torch.equal(actual[name], want), name


def assert_close(
    actual: dict[str, Tensor], expected: dict[str, Tensor], *, outputs: float, gradients: float | None = None
) -> None:
    """Every tensor within its tolerance; a gradient's counts relative to the largest gradient of its tensor.

    Infinities must be at the same places, and NaN is an error wherever it is.
    """
    assert actual.keys() == expected.keys()
    for name, want in expected.items():
        got, want = actual[name].double(), want.double()
        assert got.shape == want.shape, name
        assert not got.isnan().any(), f"NaN in {name}"
        assert torch.equal(got.isinf(), want.isinf()), f"infinity in {name}"
        if not want.numel():
            continue
        finite = want.isfinite()
        scale = max(1.0, want[finite].abs().max().item() if finite.any() else 1.0)
        tolerance = scale * (gradients if name.startswith("grad") and gradients is not None else outputs)
        error = torch.where(finite, got - want, 0).abs().max().item()
        assert error <= tolerance, f"{name}: error {error:.3g}, allowed {tolerance:.3g}"
