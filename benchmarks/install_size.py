"""Bytes that must be installed to stream a model: `python benchmarks/install_size.py [--json FILE]`.

With PyTorch (what this library needs), and with numpy alone (what an export for numpy needs). Counted are the files of
the installed distributions and of all that they require, as their own records list them; Python itself is in neither.
What a machine downloads is less, and PyTorch for GPUs is several times larger. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ENVIRONMENTS = {"PyTorch": ("torch", "numpy", "safetensors", "jaxtyping"), "numpy": ("numpy",)}


def required(names: tuple[str, ...]) -> dict[str, Distribution]:
    """The distributions of these names and all that they require and that is installed, by name."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # required on other systems only
        lines = [line for line in found[name].requires or [] if "extra ==" not in line]
        waiting += [re.split(r"[^\w.-]", line)[0] for line in lines]
    return found


def size(one: Distribution) -> int:
    """Bytes of the installed files; compiled Python files, which are made at the first import, are not counted."""
    paths = {Path(str(file.locate())) for file in one.files or [] if file.suffix != ".pyc"}
    return sum(path.stat().st_size for path in paths if path.is_file())


def main(arguments: list[str] | None = None) -> int:
    """Count, print a table, and the record as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the record to this file too")
    options = parser.parse_args(arguments)
    record: dict[str, Any] = {}
    for name, roots in ENVIRONMENTS.items():
        found = required(roots)
        sizes = {f"{one} {found[one].version}": size(found[one]) for one in sorted(found)}
        record[name] = {"bytes": sum(sizes.values()), "packages": sizes}
        print(f"{name}: {record[name]['bytes'] / 1e6:.1f} MB in {len(sizes)} packages")
        for package, count in sorted(sizes.items(), key=lambda item: -item[1])[:5]:
            print(f"    {package}: {count / 1e6:.1f} MB")
    record["ratio"] = record["PyTorch"]["bytes"] / record["numpy"]["bytes"]
    line = json.dumps(record)
    if options.json is not None:
        options.json.write_text(line + "\n", encoding="utf-8")
    print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
