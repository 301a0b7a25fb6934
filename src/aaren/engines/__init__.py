"""The streams of a model inside a stream engine, which keeps their state, moves it and recovers it."""

from aaren.engines._spark import spark_streams

__all__ = ["spark_streams"]
