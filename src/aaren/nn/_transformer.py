"""The baseline: causal self-attention with fused kernels and a preallocated key-value cache as its state."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from aaren.nn._aaren import require_heads, require_tokens


@dataclass(frozen=True)
class KVCache:
    """Keys and values of all past tokens, in memory that is allocated ahead.

    A cache is a value like every state here: `append` returns a new one. Both share the memory; the new tokens are
    written behind the old ones, where the old cache does not look. Only an `append` to a cache that was already
    continued elsewhere (a fork), or to one that is full, copies.

    Args:
        keys: shape (batch, heads, capacity, head_dim).
        values: the same shape.
        present: shape (batch, capacity), False for a masked token.
        length: number of tokens in use, of `capacity` allocated.
    """

    keys: Float[Tensor, "batch heads capacity head_dim"]
    values: Float[Tensor, "batch heads capacity head_dim"]
    present: Bool[Tensor, "batch capacity"]
    length: int
    _written: list[int] = field(default_factory=lambda: [0], compare=False, repr=False)

    @staticmethod
    def empty(
        batch: int, heads: int, head_dim: int, capacity: int, *, device: torch.device | str, dtype: torch.dtype
    ) -> KVCache:
        """A cache of no tokens with room for `capacity` of them."""
        shape = (batch, heads, capacity, head_dim)
        return KVCache(
            torch.zeros(shape, device=device, dtype=dtype),
            torch.zeros(shape, device=device, dtype=dtype),
            torch.zeros(batch, capacity, device=device, dtype=torch.bool),
            0,
        )

    def append(
        self,
        keys: Float[Tensor, "batch heads tokens head_dim"],
        values: Float[Tensor, "batch heads tokens head_dim"],
        present: Bool[Tensor, "batch tokens"],
    ) -> KVCache:
        """The cache with more tokens; O(tokens) unless it is full or was already continued elsewhere."""
        stop = self.length + keys.shape[2]
        if stop == self.length:
            return self
        if torch.is_grad_enabled() and any(x.requires_grad for x in (keys, values, self.keys, self.values)):
            old_keys, old_values, old_present = self.used()
            return KVCache(
                torch.cat([old_keys, keys], 2),
                torch.cat([old_values, values], 2),
                torch.cat([old_present, present], 1),
                stop,
                [stop],
            )
        base = self
        if stop > self.keys.shape[2] or self._written[0] != self.length:
            base = self._copy(max(2 * stop, 64))
        base.keys[:, :, self.length : stop] = keys
        base.values[:, :, self.length : stop] = values
        base.present[:, self.length : stop] = present
        base._written[0] = stop
        return KVCache(base.keys, base.values, base.present, stop, base._written)

    def used(self) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and presence of the tokens in use, without the room behind them."""
        n = self.length
        return self.keys[:, :, :n], self.values[:, :, :n], self.present[:, :n]

    def nbytes(self) -> int:
        """Bytes of the tokens in use."""
        return sum(x.numel() * x.element_size() for x in self.used())

    def _copy(self, capacity: int) -> KVCache:
        batch, heads, _, head_dim = self.keys.shape
        new = KVCache.empty(batch, heads, head_dim, capacity, device=self.keys.device, dtype=self.keys.dtype)
        for target, source in zip((new.keys, new.values), self.used()[:2], strict=True):
            target[:, :, : self.length] = source
        new.present[:, : self.length] = self.used()[2]
        return KVCache(new.keys, new.values, new.present, self.length, [self.length])


def _flatten(cache: KVCache) -> tuple[list[Tensor], None]:
    return list(cache.used()), None


def _unflatten(tensors: list[Tensor], context: None) -> KVCache:
    keys, values, present = tensors
    length = keys.shape[2]
    return KVCache(keys, values, present, length, [length])


pytree.register_pytree_node(KVCache, _flatten, _unflatten, serialized_type_name="aaren.KVCache")  # type: ignore[arg-type]


class CausalSelfAttention(nn.Module):
    """Multi-head causal self-attention, parameters as in `torch.nn.MultiheadAttention`, by fused attention.

    Args:
        embed_dim: width of inputs and outputs.
        num_heads: number of heads; must divide `embed_dim`.
        bias: whether the projections have biases.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        require_heads(embed_dim, num_heads)
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim, device=device, dtype=dtype))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * embed_dim, device=device, dtype=dtype)) if bias else None
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as `torch.nn.MultiheadAttention` does."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        self.out_proj.reset_parameters()
        if self.in_proj_bias is not None:
            nn.init.zeros_(self.in_proj_bias)
            nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        x: Float[Tensor, "batch tokens d"],
        state: KVCache | None = None,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        *,
        resets: Bool[Tensor, "batch tokens"] | None = None,
        elapsed: Float[Tensor, "batch tokens"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens d"], KVCache]:
        """Attend causally over all tokens so far; arguments as in `Aaren.forward`.

        Raises:
            ValueError: `resets` were given, which a cache of one sequence cannot represent.

        `elapsed` is ignored: this attention has no decay.
        """
        require_tokens(x, self.embed_dim, mask=mask, elapsed=elapsed)
        if resets is not None:
            raise ValueError("resets: expected None for the Transformer baseline; give each sequence its own row")
        batch, tokens, _ = x.shape
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0)
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        queries, keys, values = projected.view(batch, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        present = torch.ones(batch, tokens, dtype=torch.bool, device=x.device) if mask is None else mask
        if state is None:
            cache = KVCache(keys, values, present.clone(), tokens, [tokens])
        else:
            self._require_cache(state, batch)
            cache = state.append(keys, values, present)
        all_keys, all_values, all_present = cache.used()
        if state is None and mask is None:
            attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        elif tokens == 1 and bool(all_present.all()):
            attended = F.scaled_dot_product_attention(queries, all_keys, all_values)
        else:
            attended = _masked_attention(queries, all_keys, all_values, all_present)
        return self.out_proj(attended.transpose(1, 2).reshape(batch, tokens, self.embed_dim)), cache

    def _require_cache(self, state: KVCache, batch: int) -> None:
        """Refuse the cache of another model or batch size."""
        rows, heads, _, head_dim = state.keys.shape
        if (rows, heads, head_dim) != (batch, self.num_heads, self.head_dim):
            raise ValueError(
                f"state: expected (batch, heads, head_dim) = {(batch, self.num_heads, self.head_dim)}, received "
                f"{(rows, heads, head_dim)}; is it of another model or batch? start with init_state({batch})"
            )

    def init_state(self, batch_size: int, capacity: int = 0) -> KVCache:
        """An empty cache; `capacity` tokens of memory are allocated ahead."""
        weight = self.in_proj_weight
        return KVCache.empty(
            batch_size, self.num_heads, self.head_dim, capacity, device=weight.device, dtype=weight.dtype
        )


def _masked_attention(queries: Tensor, keys: Tensor, values: Tensor, present: Tensor) -> Tensor:
    """Causal attention over the tokens that are present; 0 where there is none."""
    tokens, total = queries.shape[2], keys.shape[2]
    past = torch.ones(tokens, total, dtype=torch.bool, device=keys.device).tril_(total - tokens)
    allowed = past & present[:, None, None, :]
    some = allowed.any(-1, keepdim=True)
    # a query with nothing to see would give NaN, forward and backward: let it see all, then set it to 0
    attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed | ~some)
    return attended.masked_fill(~some, 0)
