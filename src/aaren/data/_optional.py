"""Imports of the optional packages, made at the moment of use so that `import aaren.data` stays light.

Annotations elsewhere call what comes from them `Any`: a run-time type checker could not resolve a name that
is not imported.
"""

from __future__ import annotations

import importlib
from typing import Any

from aaren.errors import MissingDependencyError


def optional(package: str, purpose: str, extra: str = "data") -> Any:
    """Import an optional package.

    Args:
        package: name of the package, for example `"polars"`.
        purpose: what the caller wants it for, as the start of a sentence.
        extra: the extra of this library that installs it.

    Returns:
        The module.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise MissingDependencyError(package, extra, purpose) from None
