"""Serve the page, the runtime and an exported forecaster on this machine: `python serve.py EXPORT [--port 8000]`.

EXPORT is a directory that `aaren export MODEL EXPORT --to onnx` wrote; a file rows.csv in it becomes the sample of the
page. The standard library is all that this needs. Only the files named here are served, and only to this machine; the
headers forbid the page to ask any other origin for anything.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
RUNTIME = HERE / "node_modules" / "onnxruntime-web" / "dist"
RUNTIME_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm", ".csv": "text/csv"}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    # a page of one origin alone: its clock is read to 5 microseconds instead of 100
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class UsageError(Exception):
    """What was asked for cannot be served; the message says why, and what to do."""


def routes(export: Path) -> dict[str, Path]:
    """The files that are served, by the path of their address.

    Args:
        export: directory of an export for onnx.

    Raises:
        UsageError: it is none of a forecaster, or the runtime is not installed.
    """
    try:
        manifest = json.loads((export / "manifest.json").read_text(encoding="utf-8"))
        kind, runtime = manifest["kind"], manifest["runtime"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{export}: expected a directory that `aaren export MODEL {export} --to onnx` wrote, received another "
            f"({error})"
        ) from None
    if (kind, runtime) != ("forecaster", "onnx"):
        raise UsageError(
            f"{export}: expected a forecaster for onnx, received kind {kind} for {runtime}; export a forecaster with "
            "--to onnx"
        )
    if not all((RUNTIME / name).is_file() for name in RUNTIME_FILES):
        raise UsageError(f"expected onnxruntime-web in {RUNTIME.parent}, found none; run `npm ci` in {HERE}")
    page = {f"/{path.name}": path for path in (HERE / "page").iterdir()}
    served = {"/": page["/index.html"], **page}
    served |= {f"/runtime/{name}": RUNTIME / name for name in RUNTIME_FILES}
    exported = [export / name for name in ("manifest.json", "step.onnx", "rows.csv")]
    return served | {f"/export/{path.name}": path for path in exported if path.is_file()}


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for the files of `routes`.

    Args:
        files: by path.
    """

    def __init__(self, files: Mapping[str, Path], *arguments: object) -> None:
        self.files = files
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Send a file."""
        self._send(body=True)

    def do_HEAD(self) -> None:
        """Send what is said of a file, without the file."""
        self._send(body=False)

    def log_message(self, *arguments: object) -> None:
        """Say nothing of requests."""

    def _send(self, *, body: bool) -> None:
        path = self.files.get(self.path.partition("?")[0])
        if path is None or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        data = path.read_bytes()
        self.send_response(HTTPStatus.OK)
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            with suppress(ConnectionError):  # the browser went elsewhere
                self.wfile.write(data)


def serve(export: Path, port: int) -> ThreadingHTTPServer:
    """A server of the page on 127.0.0.1, not yet running.

    Args:
        export: directory of an export for onnx.
        port: 0 is any that is free.

    Raises:
        UsageError: see `routes`; or the port is taken.
    """
    files = routes(export)
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, files))
    except (OSError, OverflowError) as error:
        raise UsageError(f"port {port}: cannot be used ({error}); choose another with --port") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Read the arguments and serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", type=Path, help="directory that `aaren export MODEL EXPORT --to onnx` wrote")
    parser.add_argument("--port", type=int, default=8000, help="of this machine (default 8000; 0 is any that is free)")
    chosen = parser.parse_args(argv)
    try:
        server = serve(chosen.export, chosen.port)
    except UsageError as error:
        print(f"serve.py: {error}", file=sys.stderr)
        return 1
    with server:
        print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
