"""The benchmarks by name. Each runs once and returns rows; ratios compare within one run."""

from __future__ import annotations

from collections.abc import Callable

from bench.cases.fanout import fanout, growth
from bench.cases.guards import guards
from bench.cases.inbox import inbox
from bench.cases.outbox import outbox
from bench.cases.producers import producers
from bench.cases.publish import publish
from bench.cases.relay import relay
from bench.cases.start import start
from bench.cases.streams import idle, reconnect, slow, tokens
from bench.load import Row

CASES: dict[str, Callable[[], list[Row]]] = {
    "fanout": fanout,
    "growth": growth,
    "tokens": tokens,
    "idle": idle,
    "reconnect": reconnect,
    "slow": slow,
    "publish": publish,
    "inbox": inbox,
    "relay": relay,
    "producers": producers,
    "guards": guards,
    "outbox": outbox,
    "start": start,
}
