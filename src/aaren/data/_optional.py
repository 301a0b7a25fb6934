"""Imports of the optional packages, made at the moment of use so that `import aaren.data` stays light.

Annotations elsewhere call what comes from them `Any`: a run-time type checker could not resolve a name that
is not imported.
"""

from __future__ import annotations

import importlib
from typing import Any

from aaren.errors import MissingDependencyError


def optional(package: str, purpose: str) -> Any:
    """Import an optional package of the extra `data`.

    Args:
        package: name of the package, for example `"polars"`.
        purpose: what the caller wants it for, as the start of a sentence.

    Returns:
        The module.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingDependencyError(package, "data", purpose) from None
