"""`aaren.export.export`: a trained model as a directory that another runtime runs; and such a directory, opened."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aaren._version import __version__
from aaren.errors import ModelFileError
from aaren.export._manifest import FILE, FORMAT, Manifest, digest_of, read_manifest
from aaren.export._runner import Runner
from aaren.export._runtimes import RUNTIMES, Runtime


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        directory: where.
        manifest: what `manifest.json` holds.
        files: names of the files in the directory, the manifest's included.
    """

    directory: Path
    manifest: Manifest
    files: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all files."""
        return sum((self.directory / name).stat().st_size for name in self.files)


def export(model: Any, directory: str | Path, to: str = "numpy", precision: str = "float32") -> Exported:
    """Write a model for another runtime.

    Args:
        model: a trained model of any kind, or the directory of one.
        directory: a new or empty one, or an export, which is replaced if it holds nothing else. It appears whole or not
            at all.
        to: name of the runtime; see `RUNTIMES`.
        precision: of the weights: "float32", "float16" or "int8", as the runtime can.

    Returns:
        What was written.

    Raises:
        ValueError: there is no such runtime or precision, or the model cannot stream in constant memory.
        ModelFileError: the model is damaged, or the directory is something else or cannot be written.
        MissingDependencyError: the runtime needs a package that is not installed.

    Example:
        aaren.export.export("model/", "out/", to="numpy")
    """
    from aaren.models import load
    from aaren.streaming import RecordLayout

    runtime = _runtime(to)
    if precision not in runtime.precisions:
        raise ValueError(f"precision: expected one of {', '.join(runtime.precisions)} for {to}, received {precision!r}")
    directory = Path(directory)
    target = directory.resolve()  # where a link leads
    _require_free(directory, target)
    if isinstance(model, str | Path):
        model = load(model)
    RecordLayout(model.stream())  # refuses a model whose state grows, or that has no preprocessing
    if {weight.dtype for weight in model.state_dict().values()} != {_float32()}:
        raise ValueError("model: expected weights in float32, received others; call model.float()")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = target.with_name(f".{target.name}.exporting-{secrets.token_hex(4)}")
        staging.mkdir()
        try:
            manifest = _write(runtime, model, staging, precision)
            _require_free(directory, target)  # again, since writing takes a while
            _replace(target, staging)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise ModelFileError(f"{directory}: cannot be written: {error.strerror or error}") from None
    return Exported(directory, manifest, (*manifest.files, FILE))


def open_export(directory: str | Path, **options: Any) -> Runner:
    """A live stream of an exported model.

    Args:
        directory: that `export` wrote; every file is checked against the manifest.
        **options: of the stream of that kind, such as `on_bad_row`.

    Raises:
        ModelFileError: the directory is damaged, or was written for a runtime that this version does not know.
        MissingDependencyError: the runtime needs a package that is not installed.
    """
    manifest = read_manifest(directory)
    if manifest.runtime not in RUNTIMES:
        raise ModelFileError(
            f"{Path(directory) / FILE}: expected a runtime from {', '.join(RUNTIMES)}, received {manifest.runtime!r}"
        )
    return RUNTIMES[manifest.runtime].open(Path(directory), manifest, **options)


def _float32() -> Any:
    import torch

    return torch.float32


def _runtime(name: str) -> Runtime:
    if name not in RUNTIMES:
        raise ValueError(f"to: expected one of {', '.join(RUNTIMES)}, received {name!r}")
    return RUNTIMES[name]


def _require_free(directory: Path, target: Path) -> None:
    """Refuse a directory that holds something else than an export; `target` is where it is, without links."""
    if directory.exists() and not directory.is_dir():
        raise ModelFileError(f"{directory}: expected a directory to export into, received a file; choose another name")
    if Path.cwd().is_relative_to(target):
        raise ModelFileError(
            f"{directory}: expected another directory than the one you are in, which cannot be replaced; name one in it"
        )
    others = _others(target) if directory.is_dir() else []
    if others:
        raise ModelFileError(
            f"{directory}: expected a new or empty directory, or an export to replace, received a directory with other "
            f"files ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''}); choose another name, or move them"
        )


def _others(directory: Path) -> list[str]:
    """Files of a directory that no export has written: neither in its manifest nor made of what is in it."""
    names: set[str] = set()
    with contextlib.suppress(OSError, ValueError, RecursionError):
        data = json.loads((directory / FILE).read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.get("format") == FORMAT and isinstance(data.get("files"), dict):
            names = {FILE, *data["files"]}
    names |= {PurePosixPath(name).stem for name in names if name.endswith(".h")}  # the program that `make` builds
    return sorted(
        name
        for path in directory.rglob("*")
        if not path.is_dir() or path.is_symlink()
        if (name := path.relative_to(directory).as_posix()) not in names
        if not names or path.parent.name != "__pycache__" or path.suffix != ".pyc"
    )


def _write(runtime: Runtime, model: Any, staging: Path, precision: str) -> Manifest:
    """The runtime's files and the manifest."""
    written = runtime.write(model, staging, precision)
    manifest = Manifest(
        aaren=__version__,
        runtime=runtime.name,
        precision=precision,
        kind=model.kind,
        fingerprint=model.fingerprint(),
        config=model.config.to_dict(),
        preprocessing=model.preprocessing.to_dict(),
        inputs=written.inputs,
        outputs=written.outputs,
        state=written.state,
        files={path.relative_to(staging).as_posix(): digest_of(path) for path in written.files},
    )
    manifest.write(staging)
    return manifest


def _replace(directory: Path, staging: Path) -> None:
    """Let the directory be what was staged; a kill in between leaves none, or a whole one."""
    if not directory.exists():
        staging.replace(directory)
        return
    old = staging.with_name(staging.name.replace(".exporting-", ".replaced-"))
    directory.replace(old)
    try:
        staging.replace(directory)
    except OSError:
        with contextlib.suppress(OSError):  # another export has taken the name
            old.replace(directory)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
