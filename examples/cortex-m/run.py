"""A forecaster on a Cortex-M4 in an emulator: `python examples/cortex-m/run.py MODEL ROWS.csv [--rows 300]`.

Exports the model to C, builds it with arm-none-eabi-gcc for a Cortex-M4 with its floating-point unit, runs it under
qemu-system-arm, streams the same rows through PyTorch, and prints one line of JSON: bytes of flash, of the state, of
data and stack, instructions of a row, and the largest difference of a forecast in training deviations. Exit code 1
says that it is above 1e-5, with weights in float32. Debian: apt install gcc-arm-none-eabi
libnewlib-arm-none-eabi qemu-system-arm.

The emulator counts instructions, not cycles. A Cortex-M4 takes about one cycle for most of them, two for a load that
nothing hides and three for a multiply-add in float whose result is needed at once; expect up to twice as many cycles.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import aaren
import aaren.export
from aaren.data import RowReader, parse_row
from aaren.errors import AarenError

HERE = Path(__file__).parent
FLAGS = """
-std=c99 -O3 -ffp-contract=fast -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 -Wall -Wextra -Wpedantic
-ffunction-sections -fdata-sections -nostartfiles --specs=nano.specs -Wl,--gc-sections
"""
MACHINE = "qemu-system-arm -M mps2-an386 -nographic -monitor none -serial none -icount shift=0"
BAR = 1e-5


def rows_header(rows: Sequence[Any], timed: bool) -> str:
    """Rows as constants of C."""
    place = '__attribute__((section(".rows")))'
    values = ",\n".join(
        f"{{{', '.join('NAN' if np.isnan(x) else repr(x) for x in row.values.tolist())}}}" for row in rows
    )
    text = f"#include <math.h>\n#define ROWS {len(rows)}\n"
    text += f"static const double row_values[ROWS][MODEL_INPUTS] {place} = {{\n{values}}};\n"
    if timed:
        times = ", ".join(f"INT64_C({row.time.astype(np.int64)})" for row in rows)
        text += f"#define TIMED\nstatic const int64_t row_times[ROWS] {place} = {{{times}}};\n"
    return text


def measure(model: Any, cells: Sequence[dict[str, Any]], folder: Path, precision: str = "float32") -> dict[str, Any]:
    """Build, run, compare.

    Args:
        model: a forecaster.
        cells: rows as its stream takes them.
        folder: for the sources and the program.
        precision: of the weights.
    """
    schema = model.preprocessing.schema
    rows = [parse_row(schema, row, row=number) for number, row in enumerate(cells, 1)]
    aaren.export.export(model, folder / "out", to="c", precision=precision)
    (folder / "rows.h").write_text(rows_header(rows, bool(schema.time)), encoding="utf-8")
    sources = [HERE / "startup.c", HERE / "main.c", folder / "out" / "model.c"]
    program = folder / "program.elf"
    command = [
        "arm-none-eabi-gcc",
        *FLAGS.split(),
        f"-T{HERE / 'board.ld'}",
        f"-I{folder}",
        f"-I{folder / 'out'}",
        f"-I{HERE}",
    ]
    subprocess.run([*command, *map(str, sources), "-lm", "-o", str(program)], check=True)
    semihosting = ["-chardev", "stdio,id=said", "-semihosting-config", "enable=on,target=native,chardev=said"]
    done = subprocess.run(
        [*MACHINE.split(), *semihosting, "-kernel", str(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise RuntimeError(f"the program ended with exit code {done.returncode}: {done.stdout[-200:]}{done.stderr}")
    *said, state, static, stack, least, mean, most = done.stdout.splitlines()
    bits = np.array([[int(word, 16) for word in line.split()] for line in said], dtype=np.uint32)
    stream = model.stream()
    expected = np.stack([stream.update(row).mean for row in cells])
    difference = np.abs(bits.view(np.float32).reshape(expected.shape) - expected)
    numbers = [int(line.split()[2], 16) for line in (state, static, stack, least, mean, most)]
    return {
        "rows": len(rows),
        "flash_bytes": flash_of(program),
        "state_bytes": numbers[0],
        "data_bytes": numbers[1],
        "stack_bytes": numbers[2],
        "ram_bytes": numbers[1] + numbers[2],
        "instructions": {"least": numbers[3], "mean": numbers[4], "most": numbers[5]},
        "largest_difference": float((difference / model.preprocessing.scaler.deviation[: expected.shape[2]]).max()),
    }


def flash_of(program: Path) -> int:
    """Bytes of code, constants and the first values of data; without the rows."""
    done = subprocess.run(["arm-none-eabi-size", "-A", str(program)], capture_output=True, text=True, check=True)
    sizes = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith(".")}
    return sum(sizes.get(name, 0) for name in (".text", ".ARM.exidx", ".data"))


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="directory of a forecaster")
    parser.add_argument("rows", type=Path, help="CSV with a header")
    parser.add_argument("--precision", choices=["float32", "int8"], default="float32", help="of the weights")
    parser.add_argument("--rows", dest="count", type=int, default=300, help="rows to run (default 300)")
    chosen = parser.parse_args(argv)
    try:
        return _run(parser, chosen)
    except subprocess.CalledProcessError as error:  # the linker has said what does not fit
        print(f"run.py: {error.cmd[0]} ended with exit code {error.returncode}; see above", file=sys.stderr)
    except (AarenError, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
    return 1


def _run(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    """What the arguments ask for."""
    model = aaren.load(chosen.model)
    if model.kind != "forecaster":
        parser.error(f"expected a forecaster, received a model of kind {model.kind!r}")
    with chosen.rows.open(encoding="utf-8") as lines, tempfile.TemporaryDirectory() as folder:
        reader = RowReader(lines, model.preprocessing.schema, str(chosen.rows))
        cells = [row for (_, row), _ in zip(reader, range(chosen.count), strict=False)]
        result = measure(model, cells, Path(folder), chosen.precision)
    print(json.dumps(result))
    return int(chosen.precision == "float32" and result["largest_difference"] > BAR)


if __name__ == "__main__":
    sys.exit(main())
