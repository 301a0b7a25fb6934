"""The library's errors in the words of the command line: `--series-id` where Python has `series_id=`."""

from __future__ import annotations

import re
from collections.abc import Collection

_ARGUMENT = re.compile(r"^([a-z_]+):")
_VALUE = r" ?(None|\d+)| ?'([\w-]+)'(?: or '([\w-]+)')?"
_KEYWORD = re.compile(rf"(?<=\s)([a-z_]+) ?=(?:{_VALUE})?(?=[\s,;)]|\.\s|\.?$)|(?<![\w=])'[^']*'")


def in_options(message: str, own: Collection[str], training: Collection[str] = (), given: Collection[str] = ()) -> str:
    """Write a message of the library for a command line.

    Args:
        message: as an exception has it, with arguments as `name:` at its begin and `name=`, `name=value` inside.
        own: names of the options of the verb, in Python's form.
        training: the same of all `aaren train` verbs, which made the model that the verb is given.
        given: the words of the command line, which are left as they are; so is what stands in quotes.

    Example:
        >>> in_options("short: expected ..., read with time=None", ["short"], ["short", "time"])
        '--short: expected ..., read with --time none in training'
    """

    def option(name: str) -> str:
        return f"--{name.replace('_', '-')}"

    def keyword(found: re.Match[str]) -> str:
        name, plain, quoted, other = found.groups()
        if (name not in own and name not in training) or any(found[0] in word for word in given):
            return found[0]
        value = (plain or quoted or "").lower() + (f" or {other}" if other else "")
        return " ".join(
            filter(None, (option(name), value, "" if name in own or "train with" in message else "in training"))
        )

    def argument(found: re.Match[str]) -> str:
        return f"{option(found[1])}:" if found[1] in own and found[1] not in given else found[0]

    return _KEYWORD.sub(keyword, _ARGUMENT.sub(argument, message))
