from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aaren.data
from aaren.data import data_sets, find, find_parts, read_series, sha256_of
from aaren.data._optional import optional
from aaren.errors import DataError, MissingDependencyError


@pytest.fixture
def empty_places(tmp_path, monkeypatch) -> Path:
    """Point the data folder and the cache at empty folders; return their parent."""
    monkeypatch.setenv("AAREN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_every_set_is_found(real_data):
    """Every file that the list gives a digest for is found among the real files with just these bytes."""
    checked = 0
    for data_set in data_sets():
        if not all(candidates[0][1] for candidates in data_set.files.values()):
            continue
        for part, path in find_parts(data_set.name).items():
            relative, digest = data_set.files[part][0]
            assert path == real_data / relative
            assert sha256_of(path) == digest
            checked += 1
    assert checked >= 60


def test_the_list_covers_the_paper():
    """Each of the 38 rows has its original set, 8 forecasting, 10 classification, 8 events, 12 offline RL."""
    rows = {data_set.row: data_set.setting for data_set in data_sets() if data_set.status in ("original", "generated")}
    settings = list(rows.values())
    assert len(rows) == 38
    counts = {setting: settings.count(setting) for setting in set(settings)}
    assert counts == {"forecasting": 8, "classification": 10, "events": 8, "rl": 12}


def test_every_entry_is_complete():
    """Status and setting are known words, licence and origin are given, and what stands for a row names a real one."""
    originals = {one.row for one in data_sets() if one.status in ("original", "generated")}
    for one in data_sets():
        assert one.setting in ("forecasting", "classification", "events", "rl", "streaming")
        assert one.status in ("original", "partial", "substitute", "regenerated", "generated", "extra")
        assert one.licence
        assert one.origin
        assert (one.row is None) == (one.status == "extra")
        assert one.row is None or one.row in originals
        assert one.files or one.status == "generated"


def test_sets_of_several_files(real_data):
    """A set with parts is found part by part, and a question for its one file says so."""
    parts = find_parts("JapaneseVowels")
    assert [path.name for path in parts.values()] == ["JapaneseVowels_TRAIN.ts.gz", "JapaneseVowels_TEST.ts.gz"]
    with pytest.raises(DataError, match=r"has train, test; use find_parts"):
        find("JapaneseVowels")
    assert find_parts("Sin") == {}
    with pytest.raises(DataError, match="no file, it is generated"):
        find("Sin")


def test_bytes_that_nobody_knows(empty_places):
    """Where no digest is known, a file of that name is taken as it is."""
    place = empty_places / "data" / "traffic"
    place.mkdir(parents=True)
    (place / "traffic.csv").write_text("date,OT\n")
    assert find("Traffic") == place / "traffic.csv"


def test_the_bundled_set_needs_no_folder(empty_places):
    """ETTh1 comes with the package and reads."""
    path = find("ETTh1")
    assert path.parent.name == "sets"
    assert len(read_series(path, targets="OT").series[0].values) == 17420
    assert [data_set.name for data_set in data_sets() if data_set.bundled] == ["ETTh1"]


def test_the_cache_comes_before_the_package(empty_places):
    """A set in the user's cache is used, and the data folder comes before the cache."""
    bundled = find("ETTh1")
    cached = empty_places / "cache" / "aaren" / "data" / "ETTh1.csv.gz"
    chosen = empty_places / "data" / "ETTh1.csv"
    for place in (cached, chosen):
        place.parent.mkdir(parents=True)
    shutil.copy(bundled, cached)
    assert find("ETTh1") == cached
    chosen.write_bytes(gzip.decompress(bundled.read_bytes()))
    assert find("ETTh1") == chosen


def test_the_cache_of_the_home_folder(tmp_path, monkeypatch):
    """Without variables, the cache is in the home folder."""
    monkeypatch.delenv("AAREN_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match=str(tmp_path / ".cache" / "aaren" / "data")):
        find("Weather")


def test_a_set_that_is_nowhere(empty_places):
    """The message says where it was looked for, where users get the set, and its licence."""
    with pytest.raises(DataError) as caught:
        find("ETTm2")
    text = str(caught.value)
    for part in (
        str(empty_places / "data"),
        str(empty_places / "cache"),
        "ETTm2.csv",
        "ETDataset",
        "CC BY-ND",
    ):
        assert part in text


@pytest.mark.parametrize("damage", ["truncated", "oversize"])
def test_changed_bytes_are_refused(empty_places, damage):
    """A truncated or oversize file is refused with both digests and a remedy, and stays as it is."""
    whole = find("ETTh1").read_bytes()
    path = empty_places / "data" / "ETTh1.csv.gz"
    path.parent.mkdir()
    path.write_bytes(whole[:-1] if damage == "truncated" else whole + b"\0")
    with pytest.raises(DataError, match=r"SHA-256 3c56c865.*received [0-9a-f]{64}; .*fetch it from"):
        find("ETTh1")
    assert [file.name for file in empty_places.rglob("*") if file.is_file()] == ["ETTh1.csv.gz"]


def test_a_file_that_cannot_be_read(empty_places, monkeypatch):
    """A file without permission is this library's error."""

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("aaren.data._registry.sha256_of", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        find("ETTh1")


@pytest.mark.parametrize("name", ["../ETTh1", "..", "a/b", "/etc/passwd", "a\\b", "ETTh1\0"])
def test_paths_are_no_names(name):
    """A name that is a path is refused before any file is looked at."""
    with pytest.raises(DataError, match="which is a path"):
        find(name)


def test_unknown_names():
    """An unknown name gets the command that lists the sets and the likely one."""
    with pytest.raises(DataError, match=r"`aaren data list`.*received 'etth1'; did you mean ETTh1"):
        find("etth1")
    with pytest.raises(DataError, match=r"received 'qqqqqq'$"):
        find("qqqqqq")


def test_missing_packages_are_named(monkeypatch):
    """Without polars, the message names the extra to install."""
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingDependencyError, match=r"reading CSV files needs the package 'polars'.*aaren\[data\]"):
        read_series(find("ETTh1"), targets="OT")
    assert optional("json", "x").loads("1") == 1


def test_the_import_is_light():
    """Importing the floor imports neither polars, narwhals, pandas nor torch."""
    code = (
        "import sys, aaren.data; "
        "print([name for name in ('polars', 'narwhals', 'pandas', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_there():
    """Everything in `__all__` exists, and the list is sorted, constants first."""
    assert all(hasattr(aaren.data, name) for name in aaren.data.__all__)
    assert aaren.data.__all__ == sorted(aaren.data.__all__, key=lambda name: (not name.isupper(), name))
