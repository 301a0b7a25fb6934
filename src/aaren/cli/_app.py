"""The verbs, put together; and what becomes of errors: one line and an exit code, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, get_args

from cyclopts import App, CoercionError, CycloptsError, MissingArgumentError, Parameter, Token, ValidationError, convert

from aaren._standard_streams import discard_output, is_reader_gone, words_of
from aaren._version import __version__
from aaren._words import in_options
from aaren.cli._data import list_sets, path, verify
from aaren.cli._demo import demo
from aaren.cli._doctor import doctor
from aaren.cli._evaluate import evaluate
from aaren.cli._events import events
from aaren.cli._export import export
from aaren.cli._export import verify as verify_export
from aaren.cli._predict import predict
from aaren.cli._regenerate import regenerate
from aaren.cli._reproduce import reproduce
from aaren.cli._serve import serve
from aaren.cli._stream import stream
from aaren.cli._train import forecaster
from aaren.cli._train_classifier import classifier
from aaren.cli._train_policy import policy
from aaren.errors import AarenError

HELP = """Sequence models that train in parallel like a Transformer, then run one row at a time in constant memory.

A first result:

    aaren demo

Your own table; the model is written to the folder "model":

    aaren train forecaster data.csv --target load --horizon 24

Labelled series (.ts, .arff, .tsv), each of one class:

    aaren train classifier train.ts --test test.ts

Events, such as clicks or failures, with their times and marks:

    aaren train events events.csv

Recorded episodes of a robot or a game, as D4RL and Minari write them:

    aaren train policy episodes.hdf5 --environment HalfCheetah-v4

Errors beside simple ways to do the same; what comes after the last row:

    aaren evaluate model data.csv
    aaren predict model data.csv

An answer after every row, from a pipe, or from a file that grows; with a state it goes on after a restart:

    aaren stream model < rows.csv > forecasts.jsonl
    aaren stream model --follow live.csv --state live.state

Many streams over HTTP, with a live page at http://127.0.0.1:8000/:

    aaren serve model

The model without PyTorch: a folder that runs on numpy alone, checked against the model on real rows:

    aaren export model out --to numpy
    aaren verify out --data data.csv

Tables are CSV (also .gz) or Parquet with a header. Values may be missing
(empty, NA, NaN, null, ?); times, marks and names of series may not.

Exit codes: 0 done, 1 input, machine or the value of an option at fault (one
line says how), 2 an argument unknown or missing, 130 Ctrl-C.
AAREN_DEBUG=1 shows tracebacks. `aaren VERB --help` says more of each verb.
"""


def _converted(kind: Any, tokens: Sequence[Token]) -> Any:
    """What the words of one parameter stand for; nothing is rounded to a whole number."""
    kinds, first = (kind, *get_args(kind)), tokens[0] if tokens else None
    number = "a whole number" if int in kinds else "a number" if float in kinds else None
    if number is None or first is None:
        return convert(kind, tokens)
    try:
        if int in kinds and "." in first.value:
            raise ValueError
        return convert(kind, tokens)
    except (CoercionError, ValueError):
        raise CoercionError(msg=f"expected {number}, received {first.value!r}", token=first) from None


app = App(
    name="aaren",
    help=HELP,
    help_format="plaintext",
    default_parameter=Parameter(converter=_converted),
    version=__version__,
    suppress_keyboard_interrupt=False,  # `run` says a word before it ends
)
train = App(
    name="train",
    help="Train a model and write it to a folder: forecaster, classifier, events or policy.",
    help_format="plaintext",
)
train.command(forecaster, help_format="markdown")
train.command(classifier, help_format="markdown")
train.command(events, help_format="markdown")
train.command(policy, help_format="markdown")
data = App(
    name="data",
    help="The paper's data sets and others: what there is, where it is, whether it is whole.",
    help_format="plaintext",
)
data.command(list_sets, name="list", help_format="markdown")
data.command(path, help_format="markdown")
data.command(regenerate, help_format="markdown")
data.command(verify, help_format="markdown")
TRAINING = [("train", verb) for verb in ("forecaster", "classifier", "events", "policy")]
app.command(demo, help_format="markdown")
app.command(train)
app.command(data)
app.command(verify_export, name="verify", help_format="markdown")
for verb in (evaluate, predict, stream, serve, export, reproduce, doctor):
    app.command(verb, help_format="markdown")  # which joins the lines of a paragraph


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code."""
    try:
        result = app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except (CoercionError, ValidationError) as error:
        return _fail(str(error), 1)
    except CycloptsError as error:
        return _fail(_usage(error), 2, " (aaren --help lists what there is)")
    except (AarenError, ValueError, TypeError, OSError) as error:
        if os.environ.get("AAREN_DEBUG"):
            raise
        if isinstance(error, OSError):
            discard_output()
            return 0 if is_reader_gone(error) else _fail(words_of(error), 1)
        return _fail(in_options(str(error), _options_of(arguments), _options_of(*TRAINING), arguments), 1)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):
            return 0  # the console's own answer to a reader who has left; it has dropped what waited
        raise
    except KeyboardInterrupt:
        return _fail("stopped", 130)
    return result if isinstance(result, int) else 0


def _options_of(*command_lines: Sequence[str]) -> set[str]:
    """The options of the verbs of command lines, as Python names them."""
    found = set()
    for arguments in command_lines:
        verb = app.parse_commands(arguments)[1][-1]
        names = (name for option in verb.assemble_argument_collection() for name in option.names)
        found |= {name[2:].replace("-", "_") for name in names if name.startswith("--")}
    return found


def _usage(error: CycloptsError) -> str:
    """What is wrong with the words of a command line."""
    if isinstance(error, MissingArgumentError) and error.keyword is None and error.argument is not None:
        return f"expected {error.argument.name}, which has no default, received none"
    return str(error)


def _fail(message: str, code: int, hint: str = "") -> int:
    discard_output()
    line = " ".join(message.split())
    print(f"aaren: {line}{hint}", file=sys.stderr)
    return code
