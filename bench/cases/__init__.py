"""The benchmarks by name. Each runs once and returns rows; ratios compare within one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.cases.broker import broker
from bench.cases.fanout import fanout, growth, libraries
from bench.cases.guards import guards
from bench.cases.inbox import inbox
from bench.cases.outbox import outbox
from bench.cases.producers import producers
from bench.cases.publish import publish
from bench.cases.relay import relay
from bench.cases.start import start
from bench.cases.streams import idle, nodes, reconnect, slow, tokens
from bench.load import Row

CASES: dict[str, Callable[[], list[Row]]] = {
    "fanout": fanout,
    "tokens": tokens,
    "idle": idle,
    "reconnect": reconnect,
    "publish": publish,
    "broker": broker,
    "relay": relay,
    "start": start,
    "growth": growth,
    "nodes": nodes,
    "libraries": libraries,
    "slow": slow,
    "inbox": inbox,
    "producers": producers,
    "guards": guards,
    "outbox": outbox,
}
# The table of docs/concepts/performance.md. What runs without a name.
TARGETS: Final = (
    "fanout", "tokens", "idle", "reconnect", "publish", "broker", "relay", "start"
)  # fmt: skip
