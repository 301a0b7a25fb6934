"""Tables, streams, events and public data sets: reading, checking, splitting and scaling them.

This package knows numpy and the standard library; polars and narwhals are imported when a file or a frame is
read. It does not know tensors, models or training.
"""

from aaren.data._bytes import text_lines
from aaren.data._calendar import calendar_features, calendar_names
from aaren.data._cases import CaseSet, WindowCut, cases_from_arrays, stratified_split
from aaren.data._cells import mark_text
from aaren.data._checked_event import FARTHEST, CheckedEvent, EventRules, PastEvents
from aaren.data._checked_observation import (
    checked_observation,
    checked_reward,
    is_sound_reward,
    largest_return,
    require_room,
    unknown_reward,
)
from aaren.data._checked_order import checked_series, missing_before
from aaren.data._checked_row import checked_row, nonfinite_of
from aaren.data._environments import environment_sizes, make_environment, named_environment, require_robot
from aaren.data._episodes import (
    Episode,
    EpisodeSet,
    observation_names,
    observation_scaler,
    returns_to_go,
)
from aaren.data._events import Duplicates, EventColumns, EventSequence, EventSet, Short, event_error, split_sequences
from aaren.data._made_events import sine_events, uber_sequences
from aaren.data._read import read_series, sha256_of
from aaren.data._read_cases import read_cases
from aaren.data._read_episodes import read_episodes
from aaren.data._read_events import read_events
from aaren.data._read_recording import read_recording
from aaren.data._recording import Recording, split_windows
from aaren.data._regenerate import regenerate
from aaren.data._registry import DataSet, data_sets, find, find_parts, named_set
from aaren.data._row_columns import ABSENT, Columns, RowBlock, columns_of, parse_numbers, parse_rows, parse_times
from aaren.data._rows import Row, RowReader, parse_row, readable_number
from aaren.data._scale import LARGEST_SCALED, Scaler
from aaren.data._scores import REFERENCE_RETURNS, TARGET_RETURNS, environment_name, normalized_score
from aaren.data._series import Sampling, Schema, Series, SeriesSet, span_text
from aaren.data._split import Splits, split_in_time, windows
from aaren.data._times import moment, parse_time, seconds_since_1970

__all__ = [
    "ABSENT",
    "FARTHEST",
    "LARGEST_SCALED",
    "REFERENCE_RETURNS",
    "TARGET_RETURNS",
    "CaseSet",
    "CheckedEvent",
    "Columns",
    "DataSet",
    "Duplicates",
    "Episode",
    "EpisodeSet",
    "EventColumns",
    "EventRules",
    "EventSequence",
    "EventSet",
    "PastEvents",
    "Recording",
    "Row",
    "RowBlock",
    "RowReader",
    "Sampling",
    "Scaler",
    "Schema",
    "Series",
    "SeriesSet",
    "Short",
    "Splits",
    "WindowCut",
    "calendar_features",
    "calendar_names",
    "cases_from_arrays",
    "checked_observation",
    "checked_reward",
    "checked_row",
    "checked_series",
    "columns_of",
    "data_sets",
    "environment_name",
    "environment_sizes",
    "event_error",
    "find",
    "find_parts",
    "is_sound_reward",
    "largest_return",
    "make_environment",
    "mark_text",
    "missing_before",
    "moment",
    "named_environment",
    "named_set",
    "nonfinite_of",
    "normalized_score",
    "observation_names",
    "observation_scaler",
    "parse_numbers",
    "parse_row",
    "parse_rows",
    "parse_time",
    "parse_times",
    "read_cases",
    "read_episodes",
    "read_events",
    "read_recording",
    "read_series",
    "readable_number",
    "regenerate",
    "require_robot",
    "require_room",
    "returns_to_go",
    "seconds_since_1970",
    "sha256_of",
    "sine_events",
    "span_text",
    "split_in_time",
    "split_sequences",
    "split_windows",
    "stratified_split",
    "text_lines",
    "uber_sequences",
    "unknown_reward",
    "windows",
]
