"""The paper's comparison, reproducible: recipes, runs with records, statistics, and the page made from them."""

from aaren.studies._recipe import ENCODERS, SETTINGS, Plan, Recipe, chosen, recipes
from aaren.studies._records import Record, is_done, read_records, records_file
from aaren.studies._reproduce import plans, reproduce

__all__ = [
    "ENCODERS",
    "SETTINGS",
    "Plan",
    "Recipe",
    "Record",
    "chosen",
    "is_done",
    "plans",
    "read_records",
    "recipes",
    "records_file",
    "reproduce",
]
