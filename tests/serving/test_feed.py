"""The feed, the numbers, and the live page."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aaren import Classifier
from aaren.data import Scaler
from aaren.models import ClassifierPreprocessing

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import keyed

from aaren.serving import new_token, read_tokens


class Reader:
    """A reader of a feed."""

    def __init__(self, service, query="", token=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self.connection.request("GET", f"/v1/feed{query}", headers=headers)
        self.answer = self.connection.getresponse()
        assert self.answer.getheader("content-type").startswith("text/event-stream")
        assert self.answer.readline().startswith(b":")

    def events(self, count):
        """The next events: their names and data."""
        found = []
        while len(found) < count:
            line = self.answer.readline().decode()
            if not line:
                break
            if line.startswith("event: "):
                found.append((line[7:].strip(), json.loads(self.answer.readline().decode()[6:])))
            elif line.startswith("data: "):
                found.append(("message", json.loads(line[6:])))
        return found

    def close(self):
        """Leave."""
        self.answer.close()
        self.connection.close()


def test_answers_as_they_happen(served, rows, tmp_path):
    """A feed has every answer of its namespace with its prediction, whoever sent the row; or those of one key."""
    secret = {name: new_token(tmp_path / "tokens", name) for name in ("north", "south")}
    service = served(read_tokens(tmp_path / "tokens"))
    whole, one = Reader(service, token=secret["north"]), Reader(service, "?key=b", token=secret["north"])
    service.send(keyed("secret", rows[:3]), token=secret["south"])
    service.send([*keyed("a", rows[:2]), *keyed("b", rows[:1])], token=secret["north"], query="?predictions=false")
    assert [(data["key"], data["number"]) for _, data in whole.events(3)] == [("a", 1), ("a", 2), ("b", 1)]
    ((_, data),) = one.events(1)
    assert data["key"] == "b"
    assert len(data["prediction"]["forecast"]["OT"]["mean"]) == 3
    whole.close()
    one.close()


def test_slow_readers_are_dropped(served, rows):
    """A reader that does not keep up is told so and dropped; the service and other readers go on."""
    service = served(feed_rows=8)
    slow, quick = Reader(service), Reader(service, "?key=z")
    for first in range(0, 400, 100):
        service.send(keyed("a", rows[first : first + 100]), query="?predictions=false")
    last = slow.events(500)[-1]
    assert last[0] == "dropped"
    assert "keeps up" in last[1]["error"]["message"]
    service.send(keyed("z", rows[:1]))
    assert quick.events(1)[0][1]["key"] == "z"
    slow.close()
    quick.close()


def test_feeds_are_counted(served):
    """There are as many feeds as are allowed; one that was closed makes room."""
    service = served(feeds=1)
    reader = Reader(service)
    assert service.ask("GET", "/v1/feed")[0] == 429
    reader.close()
    for _ in range(100):
        if service.ask("GET", "/metrics")[1].find(b"aaren_feeds 0.0") >= 0:
            break
    Reader(service).close()


def test_metrics(served, rows):
    """Prometheus gets rows by status, latencies, batches, the queue, streams and bytes."""
    service = served()
    service.send([*keyed("a", rows[:5], first=1), *keyed("a", rows[:1], first=1), {"key": "b", "row": {}}])
    text = service.ask("GET", "/metrics")[1].decode()
    numbers = dict(re.findall(r"^([a-z_]+(?:\{[^}]*\})?) ([0-9.e+]+)$", text, re.MULTILINE))
    assert float(numbers['aaren_rows_total{status="taken"}']) == 5
    assert float(numbers['aaren_rows_total{status="duplicate"}']) == 1
    assert float(numbers['aaren_rows_total{status="refused"}']) == 1
    assert float(numbers["aaren_streams"]) == 1
    assert float(numbers["aaren_state_bytes"]) > service.service.description["record_bytes"]
    assert float(numbers["aaren_queue_rows"]) == 0
    assert float(numbers["aaren_queue_bytes"]) == 0
    assert float(numbers["aaren_request_seconds_count"]) == 1
    assert float(numbers["aaren_batch_rows_sum"]) == 7


def test_the_model_is_described(served):
    """A client can learn which cells a row has and what comes back."""
    found = served().ask("GET", "/v1/model")[1]
    assert found["columns"] == {"time": ["date"], "inputs": ["OT"], "series": None}
    assert (found["kind"], found["horizon"], found["quantiles"]) == ("forecaster", 3, [0.1, 0.5, 0.9])
    assert len(found["fingerprint"]) == 64


def test_what_the_page_shows(served, rows):
    """The most active streams, and for one of them what was said before each row, what came, and what is said now."""
    service = served()
    service.send([*keyed("a", rows[:6]), *keyed("b", rows[:2])])
    service.ask("GET", "/v1/live?key=a")
    answers = service.send(keyed("a", rows[6:20]))
    live = service.ask("GET", "/v1/live?key=a")[1]
    assert (live["rows"], live["streams"], [one["key"] for one in live["top"]]) == (22, 2, ["a", "b"])
    assert live["latency_ms"]["p50"] <= live["latency_ms"]["p99"]
    assert live["cache_bytes_per_token"] == 2 * 1 * 8 * 4
    stream = live["stream"]
    assert (stream["number"], stream["time"]) == (20, answers[-1]["prediction"]["time"])
    for answer, point in zip(answers[:-1], stream["points"][-13:], strict=True):
        said = answer["prediction"]["forecast"]["OT"]
        assert point["number"] == answer["number"] + 1
        assert point["mid"] == pytest.approx(said["mean"][0], rel=1e-4)
        assert (point["low"], point["high"]) == pytest.approx((said["q0.1"][0], said["q0.9"][0]), rel=1e-4)
        assert point["truth"] == pytest.approx(rows[point["number"] - 1]["OT"], rel=1e-4)
    assert stream["ahead"]["mid"] == pytest.approx(answers[-1]["prediction"]["forecast"]["OT"]["mean"], rel=1e-4)


def test_the_page_draws_all_that_came(served, rows):
    """Every row of a long request is drawn, of each stream the last 240, whether predictions were asked for or not."""
    service = served()
    for first in (0, 100, 200):
        service.send(keyed("long", rows[first : first + 100]), query="?predictions=false")
        service.send(keyed(f"other {first}", rows[:30]))
    assert {one["key"]: one["number"] for one in service.ask("GET", "/v1/live")[1]["top"]}["long"] == 300
    for key, first, last in (("long", 61, 300), ("other 0", 1, 30)):
        points = service.ask("GET", f"/v1/live?key={key.replace(' ', '%20')}")[1]["stream"]["points"]
        assert [point["number"] for point in points] == list(range(first, last + 1))
        assert all("mid" in point for point in points[1:])


def test_the_page_of_a_classifier(served):
    """Of a classifier the page shows the probabilities of the classes, and no column."""
    between = ClassifierPreprocessing(("calm", "storm"), Scaler(("u", "v"), np.zeros(2), np.ones(2)))
    sizes = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 8}
    service = served(of=Classifier(channels=2, classes=2, preprocessing=between, **sizes).eval())
    for values in ((0.5, 1.0), (0.1, None), (2.0, 0.0)):
        answers = service.send([{"key": "gauge", "row": dict(zip("uv", values, strict=True))}])
    live = service.ask("GET", "/v1/live?key=gauge")[1]
    assert (live["kind"], live["target"]) == ("classifier", None)
    said = answers[0]["prediction"]["probabilities"]
    assert live["stream"]["ahead"]["classes"] == pytest.approx(said, abs=1e-4)
    assert [point["number"] for point in live["stream"]["points"]] == [1, 2, 3]


def test_the_page_needs_no_other_host(served):
    """Page, scripts and style are here, name no other host, and are allowed to ask none."""
    service = served()
    status, page, headers = service.ask("GET", "/")
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    files = re.findall(rb'(?:src|href)="([^"]+)"', page)
    assert sorted(files) == [b"chart.js", b"icon.svg", b"live.css", b"live.js"]
    for name in files:
        status, data, _ = service.ask("GET", f"/{name.decode()}")
        assert status == 200
        assert not re.search(rb"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", data.replace(b"http://www.w3.org/2000/svg", b""))


def test_the_page_draws(served, rows, tmp_path):
    """In a browser the page shows the streams; a browser is not on every machine."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    service = served()
    service.send(keyed("boiler 7", rows[:50]))
    service.send(keyed("b<i>old", rows[:5]))
    done = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"),
            f"--user-data-dir={tmp_path}",
            f"http://127.0.0.1:{service.port}/",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert '<span class="name">boiler 7</span>' in done.stdout, done.stderr
    assert '<span class="name">b&lt;i&gt;old</span>' in done.stdout
    assert '<strong id="streams">2</strong>' in done.stdout
