"""The front of examples/browser, run by node: it takes and refuses what the front of Python does."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from aaren.data._bytes import text_lines
from aaren.data._rows import RowReader
from aaren.data._series import Schema
from aaren.errors import DataError
from aaren.export.runner._front_forecaster import ForecasterFront

NODE = shutil.which("node") or ""
pytestmark = pytest.mark.skipif(not NODE, reason="node is not installed")
HOUR = 3_600_000_000
CALENDAR = ["second_of_minute", "minute_of_hour", "hour_of_day", "day_of_week", "day_of_year"]


class Table(NamedTuple):
    """Text of a table, and the model whose front takes it."""

    text: str
    time: tuple[str, ...] = ("date",)
    series: str | None = None
    interval: int | None = HOUR
    irregular: bool = False
    decay: str | None = None
    on_bad_row: str = "error"

    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Configuration and preprocessing."""
        schema = {"targets": ["a"], "covariates": ["b"], "time": list(self.time), "series_id": self.series}
        preprocessing = {
            "schema": schema,
            "scaler": {"names": ["a", "b"], "mean": [1.0, 0.0], "deviation": [2.0, 0.5]},
            "calendar": CALENDAR if self.time else [],
            "interval_microseconds": self.interval if self.time else None,
            "irregular": self.irregular,
        }
        return {"decay": self.decay, "calendar": 2 * len(preprocessing["calendar"])}, preprocessing


def in_python(table: Table) -> list[Any]:
    """What becomes of each row: its tokens, or line, column and words of a refusal."""
    front = ForecasterFront(*table.parts(), on_bad_row=table.on_bad_row, max_gap=50)
    reader = RowReader(text_lines(io.BytesIO(table.text.encode()), "the table"), Schema(front.columns))
    found: list[Any] = []
    while True:
        line: int | None = None
        try:
            line, cells = next(reader)
            checked = front.check(cells, line)
            found.append([{name: np.ravel(one).tolist() for name, one in t.items()} for t in front.tokens(checked)])
            front.take(checked)
        except StopIteration:
            return found
        except DataError as error:
            found.append({"line": error.line, "column": error.column, "message": error.message})
            if line is None and error.line in (None, 1):
                return found


def in_javascript(tables: Sequence[Table]) -> list[list[Any]]:
    """The same, by the page's own modules."""
    cases = []
    for table in tables:
        config, preprocessing = table.parts()
        options = {"onBadRow": table.on_bad_row, "maxGap": 50}
        cases.append({"manifest": {"config": config, "preprocessing": preprocessing}, "options": options})
        cases[-1]["text"] = table.text
    script = Path(__file__).parent / "browser_front.mjs"
    done = subprocess.run([NODE, str(script)], input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def comparable(row: Any) -> Any:
    """Tokens with None for NaN; of a refusal what was expected and received, without the remedy and zeros of times."""
    if isinstance(row, dict):
        words = row["message"].split(";")[0].replace(".000000", "").replace("max_gap = ", "").split(" (")[0]
        return row["line"], row["column"], words
    return [{name: [None if x is None or x != x else x for x in one] for name, one in t.items()} for t in row]


def require_equal(tables: Sequence[Table]) -> list[Any]:
    """Both fronts say the same of every row of every table, calendar features to the bit."""
    found = [[comparable(row) for row in in_python(table)] for table in tables]
    for table, ours, theirs in zip(tables, found, in_javascript(tables), strict=True):
        assert ours == [comparable(row) for row in theirs], table
    return found


def rows(*lines: str, **fields: Any) -> Table:
    return Table("date,a,b\n" + "\n".join(lines) + "\n", **fields)


HOSTILE = [
    rows("2016-07-01 00:00:00,1,2", "2016-07-01 01:00:00,3,4", "2016-07-01 05:00:00,,NA"),  # a gap, missing cells
    rows("2016-07-01 00:00:00,1,2", "2016-07-01 00:00:00,3,4", "2016-06-30,3,4", "2016-07-01 01:00:00,5,6"),
    rows("2016-07-01 00:00:00,1,2", "2016-07-01 00:30:00,3,4", "2017-07-01,3,4", "2016-07-03 03:00:00,5,6"),
    rows("2016-07-01,one,2", "2016-07-01,1_000,2", "2016-07-01,0x1,2", "2016-07-01,1,2 3", "2016-07-01,'it\"s,2"),
    rows("2016-07-01,inf,2", "2016-07-01,1e400,2", "2016-07-01,1,-Infinity", "2016-07-01,1e300,2", "2016-07-01, 1 ,2"),
    rows("2016-07-01,inf,2", "2016-07-01 01:00,1e300,2", on_bad_row="impute"),
    rows("NA,1,2", ",1,2", "2016,1,2", "01/02/2016,1,2", "2016-13-01,1,2", "2016-02-30,1,2", "2016-07-01 24:00,1,2"),
    rows("1900-02-29,1,2", "2000-02-29,1,2", "0000-01-01,1,2", "20016-01-01,1,2", "2016-7-1T1:00,1,2"),
    rows("2016-07-01T00:00:00.250Z,1,2", "2016-07-01T02:00:00.250+01:00,1,2", "2016-07-01 02:00:00,5 -0430,1,2"),
    rows("1990/1/1 0:00,1,2", "1990-01-01T01:00Z,1,2", "1990-01-01 02:00:00.000000999,1,2", "1990-02,1,2"),
    rows("2016-07-01 00:00+25:00,1,2", "2016-07-01 00:00+23:60,1,2", "2016-07-01 00:00+2359,1,2", "0001-01-01,1,2"),
    rows("2016-07-01,1", "2016-07-01,1,2,3", "", "   ", "2016-07-01,1,2"),
    rows('"2016-07-01",1,2', '2016-07-01 01:00,"1"x,2', '2016-07-01 02:00,"1""",2', '2016-07-01 03:00,"1\n",2', '"'),
    rows('2016-07-01,1",2', '2016-07-01,1,"2', "2016-07-01,1,2", "2016-07-01 01:00,1,2"),
    rows(
        "2016-07-01,\uff11,2",
        "2016-07-01,1,2\u00a0",
        "\uff12\uff10\uff11\uff16-07-01,1,2",
        "2016-07-01,1,é\u200b\U0001f600\x00",
    ),
    Table(""),
    Table("\n \n"),
    Table("date,a,b"),
    Table("date,a\n2016-07-01,1\n"),
    Table("date,A,b\n2016-07-01,1,2\n"),
    Table("date,a,b,a\n2016-07-01,1,2,3\n"),
    Table("date;a;b\n2016-07-01;1;2\n"),
    Table('"date,a,b\n2016-07-01,1,2\n'),
    Table("\ufeffdate, a ,b,__proto__\r\n2016-07-01,1,2,3\r\n2016-07-01 01:00,1,2,3\r\r\n2016-07-01 02:00,1,2,3"),
    Table("a,b\n1,2\n,?\nx,1\n", time=()),
    Table(
        "year,month,day,hour,a,b\n2016,7,1,0,1,2\n2016,7,1,2.0,1,2\n2016,7,1,2.5,1,2\n2016,2,30,1,1,2\n,7,1,3,1,2\n"
        "2016,seven,1,3,1,2\n2016,1e5,1,3,1,2\n",
        time=("year", "month", "day", "hour"),
    ),
    Table("year,month,a,b\n2016,7,1,2\n", time=("year", "month")),
    Table(
        "s,date,a,b\nx,2016-07-01,1,2\ny,2016-07-01,1,2\n ,2016-07-01 01:00,1,2\n x ,2016-07-01 01:00,1,2\n", series="s"
    ),
    rows("2016-07-01,1,2", "2016-07-01 00:00:07.5,1,2", "2016-07-03,1,2", irregular=True, decay="time"),
    rows("2016-07-01,1,2", "2016-07-01 04:00,1,2", decay="time"),
    *(
        rows("2016-07-01,1,2", "2016-07-01 00:00:00.000007,1,2", interval=span)
        for span in (172_800_000_000, 7_200_000_000, 600_000_000, 1_000_000, 90_000_000, 1_500_000, 2_500)
    ),
]


def test_hostile_tables() -> None:
    """Tables with every fault are taken and refused row by row as in Python, with the same line, column and words."""
    found = require_equal(HOSTILE)
    refused = [row for table in found for row in table if isinstance(row, tuple)]
    assert len(refused) > 50  # or the tables are not hostile
    assert sum(isinstance(row, list) for table in found for row in table) > 30


def test_tables_at_random() -> None:
    """So are 400 tables of random pieces."""
    pieces = ["2016-07-01", "2016-07-01 01:00", "T", "Z", "+01:00", "1", "2.5", "-3e4", ".", "inf", "NA", "é", " ", ";"]
    pieces += [",", ",", ",", "\n", "\n", "\r\n", "\r", '"', '""', "\t", "'", "\\"]
    generator = random.Random(0)
    tables = []
    for _ in range(400):
        good = "2016-07-01 0{}:00,1,2\n"
        text = "".join(generator.choices(pieces, k=generator.randrange(30)))
        tables.append(Table("date,a,b\n" + good.format(0) + text + "\n" + good.format(2) + good.format(1)))
    found = require_equal(tables)
    assert sum(isinstance(row, tuple) for table in found for row in table) > 400


def test_calendar_and_times_of_all_years() -> None:
    """Times of the years 1 to 9999 are read alike, and their calendar features are the same bits."""
    generator = np.random.default_rng(0)
    seconds = np.sort(generator.integers(-62135596800, 253402300800, size=3000))
    seconds = np.unique(np.concatenate([seconds, 951782400 + 3600 * np.arange(24 * 400)]))
    times = np.datetime_as_string(seconds.astype("datetime64[s]"))
    found = require_equal([rows(*(f"{time},1,2" for time in times), irregular=True)])
    assert all(isinstance(row, list) for row in found[0])
