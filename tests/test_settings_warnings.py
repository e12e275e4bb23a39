"""Log lines at the start of a process about settings that are probably a mistake."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from hub.settings import Settings
from hub.wiring.settings_warnings import warn_of_node, warn_of_worker

UPSTREAM: dict[str, Any] = {"base_url": "http://127.0.0.1:1", "default_model": "m"}
SHORT = "k3y-5"
LONG = "x7Qp2LmN9rTz4KdW"


def settings(**tables: Any) -> Settings:
    return Settings(**tables)


def test_short_api_key_is_named_but_not_shown() -> None:
    """A key of fewer than 16 characters can be guessed; a hash says nothing of its length."""
    keys = [
        {"name": "shop", "key": SHORT, "scopes": ["publish"]},
        {"name": "good", "key": LONG, "scopes": ["publish"]},
        {"name": "hash", "sha256": "0" * 64, "scopes": ["publish"]},
    ]
    with capture_logs() as logs:
        warn_of_node(settings(auth={"api_keys": keys}))
    assert [(line["event"], line["setting"], line["name"]) for line in logs] == [
        ("node.short_api_key", "auth.api_keys[0]", "shop")
    ]
    assert SHORT not in str(logs)


@pytest.mark.parametrize(
    ("tables", "warned"),
    [
        ({}, False),
        ({"upstreams": {"a": UPSTREAM}}, False),
        ({"upstreams": {"a": UPSTREAM, "b": UPSTREAM}}, True),
        ({"upstreams": {"a": UPSTREAM, "b": UPSTREAM}, "default_upstream": "b"}, False),
    ],
)
def test_default_upstream_that_depends_on_the_order(tables: dict[str, Any], warned: bool) -> None:
    """With several upstreams and no default, the first one is the default."""
    with capture_logs() as logs:
        warn_of_node(settings(**tables))
    assert ["node.default_upstream"] * warned == [line["event"] for line in logs]


def test_worker_without_upstreams() -> None:
    """It would fail every request that it takes; the line names the upstreams of other queues."""
    with capture_logs() as logs:
        warn_of_worker(settings(upstreams={"slow": {**UPSTREAM, "queue": "slow"}}), [])
        warn_of_worker(settings(upstreams={"a": UPSTREAM}), ["a"])
    (line,) = logs
    assert (line["event"], line["configured"]) == ("worker.no_upstreams", ["slow"])
