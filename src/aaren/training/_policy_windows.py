"""Episodes made ready for a policy: scaled arrays behind one another, and windows of K steps in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from aaren.data import Episode, returns_to_go
from aaren.models import PolicyPreprocessing


class EpisodeWindows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Windows of up to K steps, gathered a batch at a time; a window that meets the end of its episode is padded.

    The padding is behind the steps that are there: a causal encoder needs no mask for it, the loss has one.

    Args:
        episodes: of one part.
        preprocessing: scales, fitted on the training part.
        context: K; None for whole episodes.
        every_step: a window from each step on, so that episodes count by their length; otherwise windows that touch
            and do not overlap, in which each step is once.
    """

    def __init__(
        self,
        episodes: Sequence[Episode],
        preprocessing: PolicyPreprocessing,
        context: int | None,
        *,
        every_step: bool,
    ) -> None:
        lengths = np.array([episode.steps for episode in episodes])
        self.context = int(lengths.max()) if context is None else context
        firsts = np.concatenate([[0], lengths.cumsum()[:-1]])
        if every_step and context is None:
            self.starts = np.repeat(firsts, lengths)  # a whole episode for each of its steps
        else:
            stride = 1 if every_step else self.context
            within = [np.arange(0, length, stride) for length in lengths]
            self.starts = np.concatenate([first + start for first, start in zip(firsts, within, strict=True)])
        self.stops = (firsts + lengths)[np.searchsorted(firsts, self.starts, side="right") - 1]
        self.timesteps = np.concatenate([np.arange(length) for length in lengths])
        to_go = np.concatenate([returns_to_go(episode.rewards) for episode in episodes])
        self.returns_to_go = (to_go / preprocessing.return_scale).astype(np.float32)
        self.observations = np.concatenate([preprocessing.scaled_observations(one.observations) for one in episodes])
        self.actions = np.concatenate([preprocessing.scaled_actions(one.actions) for one in episodes])

    def __len__(self) -> int:
        return len(self.starts)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch: returns_to_go, timesteps, mask (batch, K), observations and actions (batch, K, numbers)."""
        chosen = np.asarray(indices)
        rows = self.starts[chosen][:, None] + np.arange(self.context)
        mask = rows < self.stops[chosen][:, None]
        rows = np.where(mask, rows, 0)
        present: Bool[Tensor, "batch steps"] = torch.from_numpy(mask)
        arrays = {
            "returns_to_go": self.returns_to_go,
            "observations": self.observations,
            "actions": self.actions,
            "timesteps": self.timesteps,
        }
        batch = {name: torch.from_numpy(array[rows]) for name, array in arrays.items()}
        for name, tensor in batch.items():
            batch[name] = tensor.masked_fill(~(present if tensor.dim() == 2 else present[..., None]), 0)
        return {**batch, "mask": present}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One window, without the batch dimension."""
        return {name: tensor[0] for name, tensor in self.__getitems__([index]).items()}
