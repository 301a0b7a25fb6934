"""Bearer tokens: a file of names and digests; a token's name is the namespace of its streams."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from aaren.errors import DataError

LOCAL = "local"
"""The namespace of a service without tokens."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Tokens:
    """The names by the SHA-256 digests of their tokens.

    Args:
        digests: pairs of name and hexadecimal digest; a name may have several tokens.
    """

    def __init__(self, digests: tuple[tuple[str, str], ...]) -> None:
        self._digests = tuple((name, digest.encode()) for name, digest in digests)

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def names(self) -> frozenset[str]:
        """The names that have a token."""
        return frozenset(name for name, _ in self._digests)

    def name_of(self, token: str) -> str | None:
        """The name that a token stands for, or None. All digests are compared, each in constant time."""
        given = _digest(token).encode()
        found = None
        for name, digest in self._digests:
            if hmac.compare_digest(given, digest):
                found = name
        return found


def read_tokens(path: Path) -> Tokens:
    """Read a file with a line `name digest` for every token; empty lines and lines that begin with # are passed over.

    Raises:
        DataError: a line is not of that form, with its number; or there is no token.
        OSError: the file cannot be read.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = line.split()
        if len(parts) != 2 or not _NAME.fullmatch(parts[0]) or not _DIGEST.fullmatch(parts[1]):
            raise DataError(
                "expected a name of letters, digits, _ and -, and the SHA-256 of its token in 64 hexadecimal digits; "
                "`aaren serve --new-token NAME` adds such a line",
                source=str(path),
                line=number,
            )
        found.append((parts[0], parts[1]))
    if not found:
        raise DataError(
            "expected at least one token, received none; `aaren serve --new-token NAME` adds one", source=str(path)
        )
    return Tokens(tuple(found))


def new_token(path: Path, name: str) -> str:
    """Append the digest of a new token to a file, which only its owner may read, and return the token.

    Raises:
        ValueError: the name is not one.
        OSError: the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"--new-token: expected 1 to 64 letters, digits, _ or -, received {name!r}")
    token = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        before = file.read()
        file.write(f"{'' if before.endswith(chr(10)) or not before else chr(10)}{name} {_digest(token)}\n")
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
