"""What lies between the user's data and the tensors of a model: names, units, classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class Description(ABC):
    """Base of what a model keeps in preprocessing.json."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""

    @staticmethod
    @abstractmethod
    def from_dict(data: Mapping[str, Any]) -> Any:
        """What `to_dict` wrote.

        Raises:
            ModelFileError: an entry is missing, unknown or out of range.
        """
