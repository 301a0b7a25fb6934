"""The paper's comparison, reproducible: recipes, runs with records, statistics, and the page made from them."""

from aaren.studies._compare import Cell, Row, by_data_set, overall, ranks, read_rows
from aaren.studies._metrics import METRICS, Metric
from aaren.studies._page import write_tables
from aaren.studies._recipe import ENCODERS, SETTINGS, Plan, Recipe, chosen, recipes
from aaren.studies._records import Record, is_done, read_records, records_file
from aaren.studies._reproduce import plans, reproduce

__all__ = [
    "ENCODERS",
    "METRICS",
    "SETTINGS",
    "Cell",
    "Metric",
    "Plan",
    "Recipe",
    "Record",
    "Row",
    "by_data_set",
    "chosen",
    "is_done",
    "overall",
    "plans",
    "ranks",
    "read_records",
    "read_rows",
    "recipes",
    "records_file",
    "reproduce",
    "write_tables",
]
