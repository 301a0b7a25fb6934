"""What each kind of model adds to its encoder: values and conditions of the templates, and which templates it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from aaren.export._c_arrays import constant, doubles, matrix, numpy, rows
from aaren.export._c_encoder import Parts
from aaren.export._c_template import c_text, comment, json_text, render, template
from aaren.models import Classifier, EventModel, Forecaster, Policy

_PHASES = {
    "second_of_minute": "    wave(seconds % 60, 60, calendar + {at});",
    "minute_of_hour": "    wave(seconds / 60 % 60, 60, calendar + {at});",
    "hour_of_day": "    wave(seconds / 3600 % 24, 24, calendar + {at});",
    "day_of_week": "    wave(days % 7, 7, calendar + {at});",
}


def _names(columns: Any) -> dict[str, str]:
    """The columns of a row, for `main.c`."""
    return {
        "column_count": str(len(columns)),
        "column_names": ", ".join(c_text(name) for name in columns),
        "column_words": comment(", ".join(columns)),
    }


def _scaling(scaler: Any) -> dict[str, str]:
    return {
        "scaled": str(len(scaler.names)),
        "input_mean": doubles(scaler.mean),
        "input_deviation": doubles(scaler.deviation),
    }


def forecaster(model: Forecaster) -> Parts:
    """Of a forecaster."""
    config, known = model.config, model.preprocessing
    assert known is not None, "the caller has refused it"
    schema, interval = known.schema, known.interval
    flags = {"forecaster", "scaling", "integers"}
    for flag, holds in {
        "quantiles": config.quantiles,
        "calendar": config.calendar,
        "highway": config.highway,
        "time": schema.time,
        "int64s": schema.time,
        "parts": len(schema.time) > 1,
        "interval": schema.time and interval is not None,
        "gaps": schema.time and interval is not None and not known.irregular,
    }.items():
        flags |= {flag} if holds else set()
    phases = []
    for index, name in enumerate(known.calendar):
        text = _PHASES.get(name) or template("day_of_year.c").rstrip("\n").replace("@at@", "{at}")
        phases.append(text.replace("{at}", str(2 * index)))
    head, levels = model.head, [f"{level:g}" for level in config.quantiles]
    values = {
        "inputs": str(config.inputs),
        "targets": str(config.targets),
        "horizon": str(config.horizon),
        "levels": str(len(levels)),
        "level_values": ", ".join(levels),
        "level_json": ", ".join(json_text(f"q{level}") for level in levels),
        "outputs": str(1 + len(levels)),
        "features": str(model.embed.in_features),
        "calendar_features": str(config.calendar),
        "calendar_names": ", ".join(known.calendar),
        "phases": "\n".join(phases),
        "rows": str(config.highway),
        "half_life": f"{model.norm.half_life:g}",
        "fading": repr(math.exp(-math.log(2) / model.norm.half_life)),
        "interval": str(0 if interval is None else int(interval.astype(np.int64))),
        "input_names": comment(", ".join(schema.inputs)),
        "target_json": ", ".join(json_text(name) for name in schema.targets),
        "time_columns": str(len(schema.time)),
        "embed_table": matrix("embed", model.embed.weight, model.embed.bias),
        "head_table": matrix("head", head.weight, head.bias),
        "highway_weight": "" if model.highway is None else rows(numpy(model.highway.weight)),
        **_scaling(known.scaler),
        **_names((*schema.time, *schema.inputs)),
    }
    highway = 4 * config.highway * config.targets
    return Parts(values, flags, 8 + 24 * config.inputs + 16 * bool(schema.time) + highway)


def classifier(model: Classifier) -> Parts:
    """Of a classifier."""
    config, known = model.config, model.preprocessing
    assert known is not None, "the caller has refused it"
    values = {
        "inputs": str(config.channels),
        "classes": str(config.classes),
        "input_names": comment(", ".join(known.channels)),
        "class_names": comment(", ".join(known.classes)),
        "class_json": ", ".join(json_text(name) for name in known.classes),
        "temperature": _temperature(known.temperatures),
        "embed_table": matrix("embed", model.embed.weight, model.embed.bias),
        "head_table": matrix("head", model.head.weight, model.head.bias),
        **_scaling(known.scaler),
        **_names(known.channels),
    }
    return Parts(values, {"classifier", "scaling", "integers", "softmax"}, 8 + 8 * config.d_model)


def _temperature(temperatures: tuple[tuple[int, float], ...]) -> str:
    """An expression of the temperature after so many rows."""
    (_, first), *later = temperatures
    return "".join(f"state->position >= {row} ? {value!r} : " for row, value in reversed(later)) + repr(first)


def events(model: EventModel) -> Parts:
    """Of an event model."""
    config, known = model.config, model.preprocessing
    assert known is not None, "the caller has refused it"
    flags = {"events", "positions", "int64s"}
    for flag, holds in {
        "marks": config.marks,
        "softmax": config.marks,
        "dated": known.dated,
        "time": known.dated,
        "intervals": config.intervals,
    }.items():
        flags |= {flag} if holds else set()
    columns = [known.columns.time, *([known.columns.mark or "mark"] if config.marks else [])]
    head, embed = model.mark_head, model.interval_embedding
    values = {
        "marks": str(config.marks),
        "mark_count": str(max(1, config.marks)),
        "components": str(config.components),
        "unit": repr(float(known.unit)),
        "log_mean": repr(float(known.log_mean)),
        "log_deviation": repr(float(known.log_deviation)),
        "longest": repr(float(known.longest)),
        "floor": repr(float(known.floor)),
        "comparison": ">=" if known.duplicates == "keep" else ">",
        "mark_parameter": "int mark, " if config.marks else "",
        "mark_argument": "mark" if config.marks else "0",
        "mark_words": " with its mark, a number from 0" if config.marks else "",
        "dated_words": ", in seconds since 1970" if known.dated else ", in the user's unit",
        "mark_names": ", ".join(c_text(name) for name in known.marks),
        "mark_json": ", ".join(json_text(name) for name in known.marks),
        "mark_table": constant("mark_weight", numpy(model.mark_embedding.weight)),
        "interval_table": "\n".join(
            ([] if embed is None else [matrix("embed", embed.weight, embed.bias)])
            + [matrix("interval", model.interval_head.weight, model.interval_head.bias)]
        ),
        "head_table": "" if head is None else matrix("head", head.weight, head.bias),
        **_names(columns),
    }
    return Parts(values, flags, 32 + 4 * config.d_model)


def policy(model: Policy) -> Parts:
    """Of a policy."""
    config, known = model.config, model.preprocessing
    assert known is not None, "the caller has refused it"
    embeddings = {
        "return": model.embed_return,
        "observation": model.embed_observation,
        "action": model.embed_action,
        "head": model.head,
    }
    values = {
        "observations": str(config.observations),
        "actions": str(config.actions),
        "steps": str(config.max_episode_steps),
        "target_return": repr(float(known.target_return)),
        "return_scale": repr(float(known.return_scale)),
        "lowest": doubles(known.action_low),
        "highest": doubles(known.action_high),
        **{f"{name}_table": matrix(name, module.weight, module.bias) for name, module in embeddings.items()},
        "timestep_table": constant("timestep_weight", numpy(model.embed_timestep.weight)),
        "norm_weight": rows(numpy(model.norm.weight)[None])[1:-1],
        "norm_bias": rows(numpy(model.norm.bias)[None])[1:-1],
        **_scaling(known.scaler),
        **_names((*known.scaler.names, "reward")),
    }
    return Parts(values, {"policy", "scaling", "integers", "int64s"}, 24 + 4 * config.actions)


KINDS: dict[str, Callable[[Any], Parts]] = {
    Forecaster.kind: forecaster,
    Classifier.kind: classifier,
    EventModel.kind: events,
    Policy.kind: policy,
}


def source(kind: str, parts: Parts) -> str:
    """The whole of NAME.c."""
    flags = parts.flags
    order = {
        "source.c": True,
        "time.c": "time" in flags,
        "parse_time.c": "time" in flags,
        "calendar.c": "calendar" in flags,
        "scaling.c": "scaling" in flags,
        "product.c": True,
        "product_int8.c": "int8" in flags,
        "attention.c": True,
        "encoder.c": True,
        "positions.c": "positions" in flags,
        "softmax.c": "softmax" in flags,
        "record.c": True,
        f"{kind}.c": True,
        "record_end.c": True,
    }
    return "".join(render(template(file), parts.values, flags) for file, wanted in order.items() if wanted)


def program(kind: str, parts: Parts) -> str:
    """The whole of main.c."""
    flags, needed = set(parts.flags), ["main_values.c"] if kind != EventModel.kind else []
    if "dated" not in flags:
        flags.add("numbers")  # cells are numbers
    if kind != EventModel.kind or "marks" in flags:
        flags.add("printed")
    body = "".join(render(template(file), parts.values, flags) for file in [*needed, f"main_{kind}.c"])
    return render(template("main.c"), {**parts.values, "main_body": body.rstrip("\n")}, flags)
