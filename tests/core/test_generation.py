"""The table of transitions of a generation, and that the Redis scripts implement it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from hub.core.channel import partition_of, user_channel
from hub.core.generation import (
    TRANSITIONS,
    Generation,
    GenerationRequest,
    GenerationUpdate,
    Message,
    Refusal,
    Status,
    UpdateKind,
    apply_update,
    new_generation_id,
)
from hub.ports.backend import Backend
from hub.ports.events import Outcome, Publication
from hub.testing.backend import MemoryBackend
from tests.redis_backend import redis_backend

ALICE = user_channel("alice")
REQUEST = GenerationRequest([Message("user", "hi")], "u", "m")
ENDS = [Status.DONE, Status.STOPPED, Status.FAILED]


def record(status: Status, attempt: int = 1) -> Generation:
    return Generation("g", "alice", REQUEST, status=status, attempt=attempt)


def test_every_status_is_in_the_table() -> None:
    """Every status is in the table, and an end has no transitions."""
    assert set(TRANSITIONS) == set(Status)
    assert all((not transitions) is status.ended for status, transitions in TRANSITIONS.items())


@pytest.mark.parametrize(("status", "change"), [*itertools.product(Status, UpdateKind)])
def test_every_change(status: Status, change: UpdateKind) -> None:
    """Every update leads to a status of the table or is refused."""
    attempt = 2 if change is UpdateKind.BEGIN else 1
    to = Status.STOPPED if change is UpdateKind.END else Status.RUNNING
    after = apply_update(record(status), GenerationUpdate("g", attempt, change, to), b"{}")
    allowed = TRANSITIONS[status].get(change)
    if allowed is None:
        assert after is (Refusal.ENDED if status.ended else Refusal.STALE)
    else:
        assert isinstance(after, Generation)
        assert after.status in allowed


def test_queued_generation_is_never_done() -> None:
    """A generation that no worker has started cannot be done."""
    with pytest.raises(ValueError, match="cannot end"):
        apply_update(
            record(Status.QUEUED), GenerationUpdate("g", 1, UpdateKind.END, Status.DONE), b"{}"
        )


STEPS: list[tuple[str, int]] = [
    ("stop", 0),
    *[("begin", n) for n in (1, 2)],
    *[("delta", n) for n in (0, 1, 2)],
    ("hole", 1),
    *[("replace", n) for n in (1,)],
    ("store", 1),
    ("restart", 1),
    *[("stopped", n) for n in (0, 1, 2)],
    *[("done", n) for n in (1,)],
]


_AT_ONCE = 100  # stories; their commands share round trips


async def apply_steps(backend: Backend, steps: list[tuple[str, int]]) -> list[Any]:
    """Return the result of each step and the final record."""
    generation = new_generation_id(partition_of(ALICE))
    await backend.generations.create(Generation(generation, "alice", REQUEST), None)
    results: list[Any] = []
    for what, attempt in steps:
        if what == "stop":
            results.append(await backend.generations.request_stop(generation, "bob"))
            continue
        current = await backend.generations.find(generation)
        assert current is not None
        if what == "done" and current.status is Status.QUEUED:
            continue  # no worker does this: it starts a generation before it ends it
        if what in ("stopped", "done"):
            step = GenerationUpdate(generation, attempt, UpdateKind.END, Status(what))
        elif what == "hole":
            step = GenerationUpdate(
                generation, attempt, UpdateKind.DELTA, index=1, entries=what.encode()
            )
        else:
            step = GenerationUpdate(generation, attempt, UpdateKind(what), entries=b"x")
        publication = Publication(channel=ALICE, name="generation.x", data=b"{}", update=step)
        (published,) = await backend.events.publish([publication])
        results.append((published.outcome, published.stop_requested_by))
        has_event = published.outcome is Outcome.WRITTEN and what != "store"
        assert (published.position is not None) is has_event
    last = await backend.generations.find(generation)
    assert last is not None
    snapshot = await backend.generations.snapshot(last)
    assert snapshot is not None
    assert msgspec.structs.replace(snapshot[0], age_seconds=last.age_seconds) == last
    return [
        *results,
        last.status,
        last.attempt,
        last.deltas,
        last.text,
        last.stop_requested_by,
    ]


async def test_redis_does_what_the_table_says(open_redis: Any) -> None:
    """All sequences of three steps have equal results in memory (`apply_update`) and in Valkey."""
    server = await open_redis("valkey")
    redis, memory = redis_backend(server.hub_client), MemoryBackend()
    stories = [[*story] for story in itertools.product(STEPS, repeat=3)]
    for first in range(0, len(stories), _AT_ONCE):
        some = stories[first : first + _AT_ONCE]
        in_redis = await asyncio.gather(*(apply_steps(redis, steps) for steps in some))
        for steps, results in zip(some, in_redis, strict=True):
            assert results == await apply_steps(memory, steps), steps
