"""Requests made from the service's own description: none of them may break it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).parent))  # for `serving_cases`, which is not a test module

from serving_cases import untrained


@pytest.fixture(scope="module")
def service():
    """One service for all requests."""
    from serving_cases import Running

    from aaren.serving import Limits, Service, open_streams

    model = untrained()
    running = Running(lambda: Service(model, lambda: open_streams(model, 1000), limits=Limits(feeds=1)))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def description(service):
    """The description, which names every path but those of the page."""
    found = service.ask("GET", "/openapi.json")[1]
    assert set(found["paths"]) == {
        *("/v1/rows", "/v1/feed", "/v1/stream", "/v1/stream/reset", "/v1/stream/fork", "/v1/stream/state"),
        *("/v1/model", "/v1/live", "/v1/drift", "/health", "/ready", "/metrics"),
    }
    return found


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")  # of Schemathesis's own making
def test_made_requests(service, description):
    """Valid and invalid requests of every kind get an answer of the described status, and never one of 500."""
    schema = schemathesis.openapi.from_dict(description)
    paths = [one.ok() for one in schema.get_all_operations()]
    assert len(paths) == 14
    statuses = set()
    for operation in paths:
        if operation.path == "/v1/feed":
            continue  # it has no end
        statuses |= _try(service, operation, schemathesis.GenerationMode.POSITIVE)
        if operation.query or operation.body:  # else there is nothing to make invalid
            statuses |= _try(service, operation, schemathesis.GenerationMode.NEGATIVE)
    assert {200, 404, 422} <= statuses


def _try(service, operation, mode):
    statuses = set()
    cases = operation.as_strategy(generation_mode=mode)

    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def attempt(case):
        answer = case.call(base_url=f"http://127.0.0.1:{service.port}")
        assert answer.status_code < 500, (operation.label, answer.status_code, answer.text[:500])
        statuses.add(answer.status_code)
        if answer.status_code >= 400 and answer.headers["content-type"] == "application/json":
            assert set(json.loads(answer.content)) == {"error"}

    attempt()
    return statuses
