"""Test that every client receives each event once over connections that are cut inside events."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from functools import partial

import pytest

from tests.interop.clients import CLIENTS, Client
from tests.interop.conftest import Programs
from tests.interop.cutting_proxy import BYE_ALONE, Cut, CutSpot, CuttingProxy, spot_of_cut
from tests.interop.programs import Program
from tests.interop.running_hub import RunningHub

SSE_CLIENTS = tuple(client for client in CLIENTS if client.program != "websockets_json")
CUTS = 504
CUTS_PER_CLIENT = CUTS // len(SSE_CLIENTS)
MAX_BYTES = 1000  # of a connection: the headers, hub.open and at most four events
MIN_FIRST_BYTES = 800  # the first connection lives until hub.open, which says where it begins
EVENTS = 4 * CUTS_PER_CLIENT + 1  # so many that the last connection has some to receive
# Over plain HTTP, Chromium takes headers that are cut for complete ones. Its EventSource then finds
# no Content-Type and does not reconnect. Over HTTPS it reconnects.
ONLY_RESET: dict[str, tuple[CutSpot, ...]] = {"chromium": ("headers",)}
# This client resumes behind an event if the connection is cut between its `id:` line and the blank
# line after it, at exactly one byte.
SPARED: dict[str, tuple[CutSpot, ...]] = {"fetch_event_source": ("end",)}


@pytest.mark.parametrize(
    ("sent", "spot"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Ty", "headers"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "between"),
        (b"HTTP/1.1 200 OK\r\n\r\n1f\r\nevent: no", "data"),
        (b"HTTP/1.1 200 OK\r\n\r\n1f\r\nevent: note\ndata: 1\n", "data"),
        (b"HTTP/1.1 200 OK\r\n\r\n1f\r\nevent: note\ndata: 1\nid: abc", "id"),
        (b"HTTP/1.1 200 OK\r\n\r\n1f\r\nevent: note\ndata: 1\nid: abc\n", "end"),
        (b"HTTP/1.1 200 OK\r\n\r\n1f\r\nevent: note\ndata: 1\nid: abc\n\n", "between"),
        (b"HTTP/1.1 200 OK\r\n\r\n1f\r\nevent: note\ndata: 1\nid: abc\n\n\r\n2", "between"),
    ],
)
def test_spots_of_cuts(sent: bytes, spot: CutSpot) -> None:
    """The proxy recognises the headers, the fields, the id and the end of an event."""
    assert spot_of_cut(sent) == spot


class Cuts:
    """The number of bytes after which the proxy cuts each connection of a client.

    bye_count: how many connections had hub.bye as their only event.
    """

    def __init__(self, client: Client) -> None:
        self._random = random.Random(client.program)
        self._made = 0
        self.bye_count = 0
        self.all_made = asyncio.Event()

    def next(self) -> Cut:
        """Return the number for a new connection, or None after the last cut."""
        if self._made >= 1 and self.bye_count < 2 * self._made // CUTS_PER_CLIENT + 1:
            self.bye_count += 1
            return BYE_ALONE
        self._made += 1
        if self._made > CUTS_PER_CLIENT:
            self.all_made.set()
            return None
        return self._random.randrange(MIN_FIRST_BYTES if self._made == 1 else 1, MAX_BYTES)


async def read_to_end(program: Program) -> None:
    """Read until the program has closed the stream; each event has its own time limit."""

    def has_notes(count: int, program: Program) -> bool:
        return len(program.named("note")) >= count

    for count in range(1, EVENTS + 1):
        await program.until(partial(has_notes, count))
    await program.until(lambda program: program.closed)


async def listen_over_cuts(
    client: Client, hub: RunningHub, programs: Programs
) -> tuple[list[int], Counter[CutSpot]]:
    """Run a client over connections that are cut; return the received numbers and the cuts."""
    user, cuts = hub.user(), Cuts(client)
    scenario = "listen" if client.reconnects else "listen-again"
    async with (
        CuttingProxy(
            hub.main_node,
            cuts.next,
            only_reset=ONLY_RESET.get(client.runtime, ()),
            spared=SPARED.get(client.program, ()),
        ) as proxy,
        programs.start(client, scenario, user, EVENTS, proxy.url) as program,
    ):
        await program.until(lambda program: program.named("hub.open"))
        await hub.publish(user, range(EVENTS - 1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read_to_end(program))
            await cuts.all_made.wait()
            await hub.publish(user, [EVENTS - 1])
    assert cuts.bye_count >= 2
    assert not program.named("hub.reset"), client.name
    return [json.loads(event.data) for event in program.named("note")], proxy.spots


@pytest.mark.asyncio(loop_scope="session")
async def test_cuts_inside_events(hub: RunningHub, programs: Programs) -> None:
    """504 cuts in headers, ids and events, every second one a reset, and streams with hub.bye
    alone: each event arrives once.
    """
    results = await asyncio.gather(
        *(listen_over_cuts(client, hub, programs) for client in SSE_CLIENTS)
    )
    spots = Counter[CutSpot]()
    for client, (received, of_client) in zip(SSE_CLIENTS, results, strict=True):
        assert received == [*range(EVENTS)], client.name
        spots += of_client
    assert spots.total() == CUTS
    assert all(spots[spot] > 20 for spot in ("headers", "id", "data"))
