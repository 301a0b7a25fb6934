"""The page of examples/browser in Chromium: forecasts, states, refusals, and that nothing leaves the machine."""

from __future__ import annotations

import base64
import csv
import importlib.util
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import export_cases as cases
import numpy as np
import pytest
from chromium import Chromium

from aaren.export import export, open_export
from aaren.export._answers import answer, in_deviations, largest_difference

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or ""
EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"
RUNTIME = EXAMPLE / "node_modules" / "onnxruntime-web"
CASE = cases.BY_NAME["forecaster"]
COLUMNS = ["date", "OT", "HUFL", "MUFL"]
pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="chromium is not installed"),
    pytest.mark.skipif(not RUNTIME.is_dir(), reason="run `npm ci` in examples/browser"),
]
STREAM = """(async (text, state) => {
    const names = ["csv", "manifest", "runner", "runtime/ort.wasm.bundle.min"];
    const modules = names.map((name, index) => import(`/${name}.${index < 3 ? "js" : "mjs"}`));
    const [{ RowReader }, { readFile, readManifest }, { Runner }, ort] = await Promise.all(modules);
    const base = new URL("export/", document.baseURI);
    const manifest = await readManifest(base);
    const runner = await Runner.open(ort, manifest, await readFile(base, manifest, "step.onnx"));
    if (state) await runner.read(Uint8Array.from(atob(state), (char) => char.charCodeAt(0)));
    const reader = new RowReader(text, runner.front.columns);
    const found = { mean: [], quantiles: [], bytes: [] };
    for (let row; (row = reader.next()) !== null; ) {
        const said = await runner.update(row.cells, row.line);
        found.mean.push([...said.mean]);
        found.quantiles.push([...said.quantiles]);
        found.bytes.push(runner.stateBytes);
    }
    const saved = await runner.save();
    return { ...found, rows: runner.rows, state: btoa(String.fromCharCode(...saved)) };
})"""
"""Streams a table through the page's own modules and gives every forecast, the bytes of the state, and a file of it."""


def _serve() -> Any:
    """The module of serve.py."""
    spec = importlib.util.spec_from_file_location("browser_serve", EXAMPLE / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SERVE = _serve()


class Table(NamedTuple):
    """Rows of ETTh1 with holes, and what PyTorch says after each."""

    rows: Sequence[Any]
    answers: dict[str, Any]

    def text(self, first: int = 0, last: int | None = None) -> str:
        """As CSV."""
        lines = [",".join("" if cell is None else str(cell) for cell in row) for row in self.rows[first:last]]
        return "\n".join([",".join(COLUMNS), *lines]) + "\n"

    def difference(self, mean: Any, quantiles: Any, first: int = 0) -> float:
        """The largest from PyTorch, in standard deviations of the training data."""
        received = {"mean": np.array(mean), "quantiles": np.array(quantiles)}
        known = CASE.model().preprocessing.to_dict()
        worst = 0.0
        for name, one in in_deviations("forecaster", known, self.answers).items():
            expected = one[first : first + len(received[name])]
            again = in_deviations("forecaster", known, {name: received[name].reshape(self.shape(name))})[name]
            worst = max(worst, largest_difference(again, expected))
        return worst

    def shape(self, name: str) -> tuple[int, ...]:
        """Of all answers of that name; as many rows as there are."""
        return (-1, *self.answers[name].shape[1:])


@pytest.fixture(scope="module")
def table() -> Table:
    """200 rows, some of them missing, some cells too."""
    stream, rows = CASE.model().stream(), cases.with_holes(list(CASE.rows(230).rows), 3)[:200]
    said = [answer(stream, row) for row in rows]
    return Table(rows, {name: np.stack([one[name] for one in said]) for name in said[0]})


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, table: Table) -> Path:
    """The export, with its sample."""
    pytest.importorskip("onnxscript", reason="the export to ONNX needs onnxscript")
    directory = export(CASE.model(), tmp_path_factory.mktemp("browser") / "out", to="onnx").directory
    (directory / "rows.csv").write_text(table.text(0, 40), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def address(out: Path) -> Iterator[str]:
    """Of a server of the page."""
    with SERVE.serve(out, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One for all tests."""
    with Chromium(BROWSER, tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def page(browser: Chromium, address: str) -> Iterator[Chromium]:
    """The page, opened anew, its model ready; no error of a script may happen in it."""
    browser.events.clear()
    browser.send("Page.navigate", url=address)
    browser.wait_for("document.getElementById('file')?.disabled === false")
    browser.evaluate("document.getElementById('speed').value = 'Infinity'")
    yield browser
    assert [event for event in browser.events if event["method"] == "Runtime.exceptionThrown"] == []


def text_of(page: Chromium, name: str) -> str:
    """What an element of the page says."""
    return page.evaluate(f"document.getElementById('{name}').textContent")


def stream(page: Chromium, text: str, state: str | None = None) -> Any:
    """See `STREAM`."""
    return page.evaluate(f"{STREAM}({json.dumps(text)}, {json.dumps(state)})")


def test_forecasts_are_pytorch_s(page: Chromium, table: Table, out: Path) -> None:
    """200 rows of ETTh1 with gaps: forecasts within 1e-5 of a deviation of PyTorch's; the state never grows."""
    found = stream(page, table.text())
    assert found["rows"] == 200
    assert table.difference(found["mean"], found["quantiles"]) < 1e-5
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(found["bytes"]) == {manifest["state_bytes"]}


def test_a_state_goes_on_in_python_and_comes_back(page: Chromium, table: Table, out: Path, tmp_path: Path) -> None:
    """A state saved in the browser goes on in Python, bytes that Python saved go on in the browser."""
    path = tmp_path / "live.state"
    path.write_bytes(base64.b64decode(stream(page, table.text(0, 120))["state"]))
    with open_export(export(CASE.model(), tmp_path / "numpy", to="numpy").directory) as runner:
        runner.read(path)
        said = [runner.update(row) for row in table.rows[120:160]]
        assert table.difference([one["mean"] for one in said], [one["quantiles"] for one in said], 120) < 1e-5
        runner.save(path)
    found = stream(page, table.text(160), base64.b64encode(path.read_bytes()).decode())
    assert found["rows"] == 200
    assert table.difference(found["mean"], found["quantiles"], 160) < 1e-5


def test_dropped_table_and_what_is_on_the_screen(page: Chromium, table: Table) -> None:
    """A dropped table is played to its end; rows, bytes and the last forecast are on the screen."""
    page.evaluate(
        f"""(() => {{
            const data = new DataTransfer();
            data.items.add(new File([{json.dumps(table.text())}], "two.csv"));
            const event = new DragEvent("drop", {{ dataTransfer: data, bubbles: true }});
            document.getElementById("drop").dispatchEvent(event);
        }})()"""
    )
    page.wait_for("document.getElementById('note').textContent.includes('last row of two.csv')")
    assert text_of(page, "rows") == "200"
    bytes_now = text_of(page, "bytes")
    assert bytes_now == f"{open_bytes(page):,} bytes"
    last = table.answers["mean"][-1, :, 0]
    assert f"{table.rows[-1][0][:16].replace('T', ' ')}: OT" in text_of(page, "said")
    assert f"Next {last[0]:.4g} (" in text_of(page, "said")
    assert f"in 4 rows {last[3]:.4g} (" in text_of(page, "said")
    drawn = page.evaluate(
        """(() => {
            const { width, height } = document.getElementById("chart");
            const pixels = document.getElementById("chart").getContext("2d").getImageData(0, 0, width, height).data;
            return pixels.filter((byte, index) => index % 4 === 3 && byte).length / (width * height);
        })()"""
    )
    assert drawn > 0.01  # of the pixels


def open_bytes(page: Chromium) -> int:
    """Bytes of the state by the export's own manifest."""
    return page.evaluate("fetch('/export/manifest.json').then((a) => a.json()).then((m) => m.state_bytes)")


def test_sample_pause_and_state_files(page: Chromium, table: Table, tmp_path: Path) -> None:
    """The sample plays and pauses; a saved state is opened and later rows go on from it; a foreign one is refused."""
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.wait_for("!document.getElementById('sample').hidden")
    page.evaluate("document.getElementById('speed').value = '20'; document.getElementById('sample').click()")
    page.wait_for("Number(document.getElementById('rows').textContent) >= 3")
    page.evaluate("document.getElementById('play').click()")
    page.wait_for("document.getElementById('play').textContent === 'Play'")
    assert 3 <= int(text_of(page, "rows")) < 40
    page.evaluate("document.getElementById('speed').value = 'Infinity'; document.getElementById('play').click()")
    page.wait_for("document.getElementById('note').textContent.includes('last row')")
    page.evaluate("document.getElementById('save').click()")
    saved = tmp_path / "after-40-rows.state"
    while not saved.exists():
        page.evaluate("new Promise((done) => setTimeout(done, 20))")

    page.send("Page.reload")
    page.wait_for(
        "document.getElementById('file')?.disabled === false && document.getElementById('rows').textContent === '0'"
    )
    later = tmp_path / "later.csv"
    later.write_text(table.text(40, 60), encoding="utf-8")
    page.choose_file("#state", saved)
    page.wait_for("document.getElementById('note').textContent.includes('The state after 40 rows is back')")
    page.evaluate("document.getElementById('speed').value = 'Infinity'")
    page.choose_file("#file", later)
    page.wait_for("document.getElementById('note').textContent.includes('last row of later.csv')")
    assert text_of(page, "rows") == "60"
    assert f"Next {table.answers['mean'][59, 0, 0]:.4g} (" in text_of(page, "said")

    other = export(cases.BY_NAME["forecaster-learned"].model(), tmp_path / "other", to="numpy").directory
    with open_export(other) as runner:
        runner.save(tmp_path / "foreign.state")
    data = saved.read_bytes()
    cut, turned = tmp_path / "cut.state", tmp_path / "turned.state"
    cut.write_bytes(data[:-8])
    turned.write_bytes(data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])
    foreign = (tmp_path / "foreign.state", "the state is of another model")
    for path, words in (foreign, (cut, "damaged, or not a file"), (turned, "damaged: the content does not match")):
        page.choose_file("#state", path)
        page.wait_for(f"document.getElementById('error').textContent.includes('{path.name}: {words}')")
    assert text_of(page, "rows") == "60"


def test_tables_that_do_not_fit(page: Chromium, table: Table, tmp_path: Path) -> None:
    """A missing column and times out of order are named with their line; such rows can be left out."""
    path = tmp_path / "bad.csv"
    rows = [*table.rows[:3], table.rows[1], table.rows[3]]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    page.choose_file("#file", path)
    page.wait_for(
        "document.getElementById('error').textContent.includes('bad.csv, line 5, column date: expected a time')"
    )
    assert text_of(page, "rows") == "3"
    page.evaluate("document.getElementById('fault').value = 'skip'")
    page.choose_file("#file", path)
    page.wait_for("document.getElementById('rows').textContent === '5'")
    assert "1 left out" in text_of(page, "rows-more")
    path.write_text("date,ot\n2016-07-01,1\n", encoding="utf-8")
    page.choose_file("#file", path)
    page.wait_for("document.getElementById('error').textContent.includes('bad.csv, column OT: no such column')")


def test_nothing_leaves_the_machine(page: Chromium, table: Table, address: str) -> None:
    """Every request is to the page's own server, and the browser refuses others."""
    stream(page, table.text(0, 3))
    asked = [e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"]
    assert any(url.endswith(".wasm") for url in asked)
    assert [url for url in asked if not url.startswith(address)] == []
    blocked = page.evaluate(
        "new Promise((done) => { document.addEventListener('securitypolicyviolation', (e) => done(e.blockedURI));"
        " fetch('http://example.invalid/').catch(() => {}); })"
    )
    assert blocked.startswith("http://example.invalid")


def test_what_is_served(address: str) -> None:
    """The files of the page, the runtime and the export, with their types, and nothing else of the machine."""
    types = {"": "text/html", "app.js": "text/javascript", "style.css": "text/css", "export/rows.csv": "text/csv"}
    types["runtime/ort-wasm-simd-threaded.wasm"] = "application/wasm"
    for name, kind in types.items():
        with urlopen(Request(address + name, method="HEAD")) as answered:
            assert answered.headers["Content-Type"] == kind
    for name in ("serve.py", "../serve.py", "export/../../serve.py", "%2e%2e/serve.py", "node_modules", "etc/passwd"):
        with pytest.raises(HTTPError, match="404") as caught:
            urlopen(address + name)
        caught.value.close()


def test_exports_that_cannot_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory that is no export, or one of another runtime, is refused in one line."""
    assert SERVE.main([str(tmp_path)]) == 1
    assert "expected a directory that `aaren export MODEL" in capsys.readouterr().err
    export(CASE.model(), tmp_path / "numpy", to="numpy")
    assert SERVE.main([str(tmp_path / "numpy")]) == 1
    assert "expected a forecaster for onnx, received kind forecaster for numpy" in capsys.readouterr().err
