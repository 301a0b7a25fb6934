"""What all models are: a configuration, an encoder, what lies between them and the user's data, and a directory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from aaren.models._card import model_card
from aaren.models._description import Description
from aaren.models._directory import fingerprint, write_directory
from aaren.models._encoder_config import EncoderConfig

Config = TypeVar("Config", bound=EncoderConfig)
Preprocess = TypeVar("Preprocess", bound=Description)


class Model(nn.Module, Generic[Config, Preprocess]):
    """Base of all models.

    Args:
        config: the configuration, or leave it out and give its fields by name.
        preprocessing: the user's names and units; needed to stream and save.
        metadata: data, metrics and versions for the model card; plain data.
    """

    kind: ClassVar[str]
    config_type: ClassVar[type[EncoderConfig]]
    preprocessing_type: ClassVar[type[Description]]
    config: Config
    preprocessing: Preprocess | None
    metadata: dict[str, Any]

    def __init__(
        self,
        config: Config | None,
        preprocessing: Preprocess | None,
        metadata: Mapping[str, Any] | None,
        fields: Mapping[str, Any],
    ) -> None:
        super().__init__()
        if (config is None) == (not fields):
            raise TypeError(
                f"{type(self).__name__}: expected either a {self.config_type.__name__} or its fields by name"
            )
        self.config = self.config_type(**fields) if config is None else config  # type: ignore[assignment]
        self.preprocessing, self.metadata = preprocessing, dict(metadata or {})

    @abstractmethod
    def init_state(self, batch_size: int = 1) -> Any:
        """The state of a sequence that has not begun."""

    @abstractmethod
    def describe(self) -> str:
        """What the model does, in one sentence for the model card."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def fingerprint(self) -> str:
        """A sha256 over kind, configuration, preprocessing and weights; a state snapshot carries it."""
        return fingerprint(self.kind, self.config.to_dict(), self._preprocessing_dict(), self.state_dict())

    def save(self, directory: str | Path) -> None:
        """Write config.json, model.safetensors, preprocessing.json and MODEL_CARD.md into a directory.

        Args:
            directory: made if it is not there; a model that is there is replaced, other files are kept.

        Raises:
            ModelFileError: the directory cannot be written.
        """
        write_directory(
            Path(directory),
            self.kind,
            self.config.to_dict(),
            self._preprocessing_dict(),
            self.state_dict(),
            self.metadata,
            model_card(self),
        )

    def stream(self, state_file: str | Path | None = None, **options: Any) -> Any:
        """A live stream of this model, that goes on from a snapshot if there is one; see `aaren.streaming`."""
        from aaren.streaming import open_stream  # upwards, only here: users expect the verb on the model

        return open_stream(self, state_file, **options)

    def pool(self, capacity: int = 100_000, **options: Any) -> Any:
        """Many live streams of this model by key; see `aaren.StreamPool`."""
        from aaren.streaming import StreamPool  # upwards, only here: users expect the verb on the model

        return StreamPool(self, capacity, **options)

    def _preprocessing_dict(self) -> dict[str, Any]:
        return {} if self.preprocessing is None else self.preprocessing.to_dict()
