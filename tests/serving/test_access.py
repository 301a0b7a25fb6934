"""Tokens and namespaces."""

from __future__ import annotations

import hashlib
import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import JSON, keyed

from aaren.errors import DataError
from aaren.serving import new_token, read_tokens, require_tokens
from aaren.streaming import DurableStreams


@pytest.fixture
def tokens(tmp_path):
    """A file of two tokens, and the tokens."""
    path = tmp_path / "tokens"
    return path, {name: new_token(path, name) for name in ("north", "south")}


def test_the_file_holds_no_token(tokens):
    """A new token is printed once; the file has its digest, and only its owner may read it."""
    path, secret = tokens
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(len(token) >= 43 and token not in text for token in secret.values())
    assert f"north {hashlib.sha256(secret['north'].encode()).hexdigest()}" in text.splitlines()
    known = read_tokens(path)
    assert [known.name_of(secret[name]) for name in ("north", "south")] == ["north", "south"]
    assert known.name_of("north") is None
    assert known.name_of("") is None


def test_bad_files_of_tokens(tmp_path):
    """A line of another form is refused with its number, a file without a token too; a comment is none."""
    path = tmp_path / "tokens"
    path.write_text("# names and digests\n\nnorth 12\n")
    with pytest.raises(DataError, match="line 3"):
        read_tokens(path)
    path.write_text("# nobody\n")
    with pytest.raises(DataError, match="new-token"):
        read_tokens(path)
    for name in ("", "a b", "a/b", "x" * 65):
        with pytest.raises(ValueError, match="new-token"):
            new_token(path, name)
    path.write_text("# no end")
    new_token(path, "north")
    assert len(read_tokens(path)) == 1


def test_other_hosts_need_tokens():
    """Nobody serves a network without tokens."""
    require_tokens("127.0.0.1", tokens=False)
    require_tokens("0.0.0.0", tokens=True)
    for host in ("0.0.0.0", "::", "192.168.1.2"):
        with pytest.raises(ValueError, match="--new-token"):
            require_tokens(host, tokens=False)


def test_wrong_tokens(served, tokens):
    """Without a token that is known, nothing but the page, health and the description of the paths is shown."""
    service = served(read_tokens(tokens[0]))
    for path in ("/v1/model", "/v1/live", "/v1/feed", "/v1/stream?key=a", "/v1/stream/state?key=a", "/metrics"):
        for token in (None, "", "wrong", tokens[1]["north"][:-1], tokens[1]["north"] + "x", "ü"):
            status, data, headers = service.ask("GET", path, token=token)
            assert (status, headers["www-authenticate"]) == (401, "Bearer")
            assert "Authorization" in data["error"]["message"]
    assert service.ask("POST", "/v1/rows", b'{"rows": []}', content_type=JSON)[0] == 401
    assert service.ask("GET", "/v1/model", authorization=f"Basic {tokens[1]['north']}")[0] == 401
    for path in ("/", "/live.js", "/health", "/ready", "/openapi.json"):
        assert service.ask("GET", path)[0] == 200


def test_namespaces_do_not_see_each_other(served, tokens, rows):
    """The same key is another stream for another token; no path, list, count, feed or message shows it."""
    service = served(read_tokens(tokens[0]))
    north, south = tokens[1]["north"], tokens[1]["south"]
    service.send(keyed("secret", rows[:3]), token=north)
    for path in ("/v1/stream?key=secret", "/v1/stream/state?key=secret", "/v1/stream?key=north/secret"):
        assert service.ask("GET", path, token=south)[0] == 404
    for method, path in (
        ("DELETE", "/v1/stream?key=secret"),
        ("POST", "/v1/stream/reset?key=secret"),
        ("POST", "/v1/stream/fork?key=secret&new_key=b"),
        ("POST", "/v1/stream/fork?key=north/secret&new_key=b"),
        ("POST", "/v1/stream/fork?key=../north/secret&new_key=b"),
    ):
        assert service.ask(method, path, token=south)[0] == 404
    live = service.ask("GET", "/v1/live?key=secret", token=south)[1]
    assert (live["streams"], live["rows"], live["top"], live["stream"]["points"]) == (0, 0, [], [])
    assert service.ask("GET", "/v1/drift", token=south)[1]["streams"] == 0
    assert service.ask("GET", "/v1/drift", token=north)[1]["worst"][0]["key"] == "secret"
    assert service.send(keyed("secret", rows[:1]), token=south)[0]["number"] == 1
    assert service.ask("GET", "/v1/stream?key=secret", token=north)[1] == {"key": "secret", "rows": 3}
    (refused,) = service.send(keyed("secret", rows[9:10], first=9), token=south)
    assert "south" not in str(refused)
    assert "north" not in service.ask("GET", "/metrics", token=south)[2]
    assert service.ask("GET", "/v1/live", token=north)[1]["streams"] == 1


def test_streams_made_in_python(served, model, rows, tokens, tmp_path):
    """A service without tokens has the streams that Python left in the store, by their own keys; and the other way."""
    with DurableStreams(model, tmp_path / "store") as streams:
        streams.update(["pump 7", "pump 7", "north/pump"], [rows[0], rows[1], rows[0]]).raise_first()
    service = served(store=tmp_path / "store")
    assert service.ask("GET", "/v1/stream?key=pump%207")[1] == {"key": "pump 7", "rows": 2}
    assert service.ask("GET", "/v1/live")[1]["streams"] == 2
    assert service.send(keyed("pump 7", rows[2:3]))[0]["number"] == 3
    service.stop()
    with DurableStreams(model, tmp_path / "store") as streams:
        assert streams.rows("pump 7") == 3
    service = served(read_tokens(tokens[0]), store=tmp_path / "store")
    assert service.ask("GET", "/v1/stream?key=pump", token=tokens[1]["north"])[1] == {"key": "pump", "rows": 1}
    assert service.ask("GET", "/v1/live", token=tokens[1]["north"])[1]["streams"] == 1
    assert service.ask("GET", "/v1/stream?key=pump%207", token=tokens[1]["north"])[0] == 404
    assert service.service.unseen == 1
