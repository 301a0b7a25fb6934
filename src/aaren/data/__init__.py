"""Tables, streams and public data sets: reading, checking, splitting and scaling them.

This package knows numpy and the standard library; polars and narwhals are imported when a file or a frame is
read. It does not know tensors, models or training.
"""

from aaren.data._calendar import calendar_features, calendar_names
from aaren.data._cases import CaseSet, cases_from_arrays, stratified_split
from aaren.data._read import read_series, sha256_of
from aaren.data._read_cases import read_cases
from aaren.data._registry import DataSet, data_sets, find, find_parts, named_set
from aaren.data._rows import Row, RowReader, parse_row
from aaren.data._scale import Scaler
from aaren.data._series import Sampling, Schema, Series, SeriesSet
from aaren.data._split import Splits, split_in_time, windows
from aaren.data._times import parse_time

__all__ = [
    "CaseSet",
    "DataSet",
    "Row",
    "RowReader",
    "Sampling",
    "Scaler",
    "Schema",
    "Series",
    "SeriesSet",
    "Splits",
    "calendar_features",
    "calendar_names",
    "cases_from_arrays",
    "data_sets",
    "find",
    "find_parts",
    "named_set",
    "parse_row",
    "parse_time",
    "read_cases",
    "read_series",
    "sha256_of",
    "split_in_time",
    "stratified_split",
    "windows",
]
