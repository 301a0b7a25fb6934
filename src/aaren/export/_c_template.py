"""Templates of C source: values between at-signs, and lines that stand only under a condition.

A line `//? flag` (or `//? !flag`) begins lines that are kept if the flag is set (or not), `//:` those for the other
case, and `//.` ends them; they may be nested. What is left is C as a person would write it for that model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from importlib import resources

_VALUE = re.compile(r"@([A-Za-z_0-9]+)@")


def template(file: str) -> str:
    """The text of a template of this package."""
    return (resources.files("aaren.export") / "c" / file).read_text(encoding="utf-8")


def render(text: str, values: Mapping[str, str], flags: Collection[str]) -> str:
    """Fill a template.

    Args:
        text: the template.
        values: by name.
        flags: conditions that hold.
    """
    lines, kept = [], [True]
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["//?"]:
            holds = (words[1].removeprefix("!") in flags) != words[1].startswith("!")
            kept.append(holds)
        elif words[:1] == ["//:"]:
            kept[-1] = not kept[-1]
        elif words[:1] == ["//."]:
            kept.pop()
        elif all(kept):
            lines.append(line)
    assert len(kept) == 1, "every condition of a template ends"
    return _VALUE.sub(lambda match: values[match.group(1)], "\n".join(lines)) + "\n"


def c_text(text: str) -> str:
    """A string literal of C: ASCII, other bytes of UTF-8 as octal escapes."""
    escaped = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode())
    return f'"{"".join(escaped)}"'


def json_text(text: str) -> str:
    """A string literal of C that holds a string of JSON."""
    return c_text(json.dumps(text))


def comment(text: str) -> str:
    """Text of a user that cannot end a comment, on one line."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable.replace("*/", "* /").replace("/*", "/ *")
