"""The map of the system: what the engine asks of the world, one Protocol a role.

Adapters implement these (brokers/, queues/, upstreams/, transports/); doubles in memory implement
them too and pass the same contract suites. An adapter translates its library's errors into
hub.errors; the engine knows no other.
"""

from __future__ import annotations

import enum
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from typing import Final, NamedTuple, Protocol

import msgspec

from hub.core.channel import Channel
from hub.core.cursor import Position
from hub.core.event import Event
from hub.core.generation import Generation, GenerationRequest, GenerationUpdate, StopResult
from hub.core.job import Admission, Job
from hub.core.piece import StreamPart
from hub.errors import BrokerUnavailable

FROM_START: Final = Position("", 0)
"""Read from here to get all that the log still holds."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way into one channel.

    data: compact JSON in UTF-8.
    idempotency_key: a second publication with the same key in the same channel changes nothing
        and gets the first one's position.
    ephemeral: delivered live, not logged, no position.
    ttl_seconds: how long the event is worth replaying; None: as long as the log holds it.
    step: the change to a generation's record that must happen together with the event.
    trace: of a sampled trace, what joins the delivery to the publishing, in letters and digits;
        told with the announcement and not stored.
    """

    channel: Channel
    name: str
    data: bytes
    idempotency_key: str | None = None
    ephemeral: bool = False
    ttl_seconds: float | None = None
    update: GenerationUpdate | None = None
    trace: str = ""


class Outcome(enum.Enum):
    """What became of a publication."""

    WRITTEN = "written"
    DUPLICATE = "duplicate"
    """The same key, or a delta that was there already."""
    STALE = "stale"
    """Refused: another attempt owns the generation."""
    ENDED = "ended"
    """Refused: the generation has ended."""
    GONE = "gone"
    """Refused: the generation's record has expired or never was."""


class Published(msgspec.Struct, frozen=True):
    """The broker's answer to a publication.

    position is None for what has none (ephemeral, refused). stop_by: who wishes that the
    generation stops, told with every step so that a lost notice stops it all the same.
    """

    outcome: Outcome
    position: Position | None
    stop_requested_by: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Stored events of one channel.

    head: the position of the channel's newest event now (a channel without events has offset 0).
    read_to: the position up to which this page reads: the next page begins after it.
    lost: why the log cannot continue from where the caller stood (`epoch`, `trimmed`), else None;
        then there are no events and read_to is the head.
    """

    events: Sequence[Event]
    head: Position
    end: Position
    reset_reason: str | None = None


class Broker(Protocol):
    """The log, and the bell that rings on every node. Raises BrokerUnavailable, nothing else."""

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Numbers, stores and announces each one atomically; the answers are in order.

        When it raises, any of them may have been written: repeat with idempotency keys.
        """
        ...

    async def try_publish(
        self, publications: Sequence[Publication]
    ) -> list[Published | BrokerUnavailable]:
        """The same for publications that have nothing to do with each other: the broker's absence
        is the answer of those that it befell.
        """
        ...

    async def read(
        self, after: Mapping[Channel, Position | None], *, max_events: int, max_bytes: int
    ) -> Mapping[Channel, Page]:
        """A page of each channel: the events after a position; None reads none and tells the head.

        A page ends with the event that reaches either bound.
        """
        ...

    async def subscribe(self, channels: Collection[Channel]) -> None:
        """Returns when every event published from now on will be heard."""
        ...

    def unsubscribe(self, channels: Collection[Channel]) -> None:
        """The node needs these channels no more."""
        ...

    def listen(
        self, on_events: Callable[[Sequence[Event]], None], on_resubscribed: Callable[[], None]
    ) -> None:
        """Who is told of events (those of one tick at once, each channel's in order), and that some
        may have been missed.
        """
        ...

    async def ping(self) -> None:
        """Returns when the broker answers and the bell works."""
        ...


class CreatedGeneration(msgspec.Struct, frozen=True):
    """The answer to a wish for a generation: its id, the position in the user's channel just
    before its first event, and whether it is new (or was there under the same key).
    """

    generation: str
    position: Position
    new: bool


class GenerationStore(Protocol):
    """Generations' records, beside the log of their user. Raises BrokerUnavailable."""

    async def create(
        self, generation: Generation, idempotency_key: str | None
    ) -> CreatedGeneration:
        """Stores the record, or finds the one that this user made with the same key."""
        ...

    async def find(self, generation: str) -> Generation | None:
        """The record with the text so far."""
        ...

    async def snapshot(self, generation: Generation) -> tuple[Generation, Position] | None:
        """The record now, and where its user's channel stands at that moment: what is published
        after it is not in the text, and everything before is.
        """
        ...

    async def newest_of_chat(self, user: str, chat: str) -> str | None:
        """The generation that was made last of the questions with this `chat`, if it is kept."""
        ...

    async def discard(
        self, generation: str, user: str, idempotency_key: str | None, chat: str | None
    ) -> None:
        """Forgets one that nobody was told of, unless it has begun all the same; its chat's newest
        is the one before again.
        """
        ...

    async def stop_requested_by(self, generation: str) -> str | None:
        """Who has wished that it stops."""
        ...

    async def request_stop(self, generation: str, by: str) -> StopResult | None:
        """Leaves the wish in the record, where it lasts; None when there is no such record."""
        ...


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What a user's answers of one model came to on one day. uncounted: answers whose upstream
    said nothing of tokens; the sums are without them.
    """

    day: str
    user: str
    model: str
    answers: int = 0
    answers_without_usage: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class UsageStore(Protocol):
    """Sums of usage by day, user and model. Raises BrokerUnavailable."""

    async def add(self, usage: UsageTotals) -> None:
        """One more answer, or several."""
        ...

    async def read(self, day: str, user: str | None) -> list[UsageTotals]:
        """A day's sums (YYYY-MM-DD, UTC), of one user or of all."""
        ...


class PresenceChange(NamedTuple):
    """Users who began to follow a topic, and who follow it no more; how many follow it now."""

    joined: Sequence[str]
    left: Sequence[str]
    users: int


class PresenceStore(Protocol):
    """On which nodes each user follows a topic. Raises BrokerUnavailable."""

    async def update(
        self,
        channel: Channel,
        node: str,
        present: Sequence[str],
        absent: Sequence[str],
        *,
        seconds: float,
    ) -> PresenceChange:
        """These users follow it on this node, for so long unless it is said again; those are gone.
        Entries of any node that are over leave now.
        """
        ...


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """Whose connection a ticket is for, until when (Unix seconds), and by which token."""

    user: str
    topics: tuple[str, ...]
    expires_at: float
    token_id: str | None


class ConsumedTicket(NamedTuple):
    """A ticket, and whether it was used before."""

    ticket: Ticket
    used_before: bool


class TicketStore(Protocol):
    """Tickets that were issued. Raises BrokerUnavailable."""

    async def put(self, ticket_id: str, ticket: Ticket, seconds: float) -> None:
        """For so long; from its first use on until the token expires."""
        ...

    async def consume(self, ticket_id: str) -> ConsumedTicket | None:
        """Uses it; None when there is none."""
        ...


class CommandBus(Protocol):
    """Orders that every node hears, and what is denied for a while. Raises BrokerUnavailable."""

    def listen(
        self, on_message: Callable[[bytes], None], on_resubscribed: Callable[[], None]
    ) -> None:
        """Who is told of orders, and that some may have been missed."""
        ...

    async def broadcast(self, message: bytes) -> None:
        """Tells every node that listens now."""
        ...

    async def block(self, subject: str, until: float) -> None:
        """Keeps it until then (Unix seconds)."""
        ...

    async def blocked(self) -> Mapping[str, float]:
        """All that is denied, and until when."""
        ...

    async def put_node_state(self, node: str, state: bytes) -> None:
        """The node lives; what it says of itself is kept for half a minute."""
        ...

    async def node_states(self) -> Sequence[bytes]:
        """What the nodes said last, also of some that may have died."""
        ...


class Lease(msgspec.Struct, frozen=True):
    """A job taken: the generation, the token that names this taking, in which stream of jobs, and
    how often the job was taken so far.
    """

    generation: str
    token: str
    stream: str = ""
    deliveries: int = 1


class JobPage(NamedTuple):
    """Some of the jobs that are not over, those that run before those that wait; and how many."""

    generations: Sequence[str]
    total: int


class GenerationQueue(Protocol):
    """The jobs of the workers. Raises BrokerUnavailable."""

    async def enqueue(self, job: Job) -> Admission:
        """Some worker will take it, at least once, when its turn has come (core/job.py)."""
        ...

    async def withdraw(self, job: Job) -> None:
        """It need not be taken any more; a worker that takes it all the same finds it ended."""
        ...

    async def reserve(self, wait_seconds: float) -> Lease | None:
        """The next job, or one whose worker let its lease run out; None after `wait_seconds`."""
        ...

    async def renew(self, leases: Collection[Lease]) -> Collection[Lease]:
        """The worker is still at them. Returns those that are another's by now."""
        ...

    async def complete(self, lease: Lease) -> None:
        """The job is over, and makes room for those that wait; nothing, when it is another's."""
        ...

    async def release(self, lease: Lease) -> None:
        """The job is not over; another worker should take it at once."""
        ...

    async def list_jobs(self, limit: int) -> JobPage:
        """The jobs of the queues that this end knows."""
        ...

    async def broadcast_stop(self, generation: str) -> None:
        """Tells every worker that listens now; the durable wish is in the record."""
        ...

    def stops(self) -> AsyncIterator[str]:
        """The generations whose stop is announced, until the iterator is closed."""
        ...


class Upstream(Protocol):
    """An LLM endpoint."""

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Sequence[StreamPart], None]:
        """Asks, and yields what has come meanwhile; closing the generator closes the connection.

        The last piece is a Finish. Raises UpstreamError; then what was yielded stays valid.
        """
        ...


class ConnectionOwner(Protocol):
    """Who writes to a sink, and is told what becomes of it."""

    def on_writable(self) -> None:
        """The sink is no longer paused."""
        ...

    def on_disconnect(self) -> None:
        """The connection has ended, by whomever; nothing can be written any more."""
        ...


class ConnectionWriter(Protocol):
    """Where one connection's bytes go."""

    owner: ConnectionOwner | None

    cursor_prefix: bytes
    """What stands in every cursor of this connection for its own channel; the owner's to keep."""

    def try_send(self, frames: bytes, /) -> int:
        """Hands over what the socket takes now and returns how much that was: `write` without its
        guards, for who knows that the sink is idle and not gone. Raises OSError (BlockingIOError
        when the socket is full).
        """
        ...

    def is_closing(self) -> bool:
        """Whether the connection is ending: `send` is forbidden then, its socket may be
        another's.
        """
        ...

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits in front of the socket."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether so much waits in front of the socket that no more should be written."""
        ...

    def write(self, frames: bytes) -> None:
        """Hands the bytes to the socket; after the peer has gone it does nothing."""
        ...

    def sent_bytes(self) -> int | None:
        """How many bytes the connection has carried to the client; None when nobody knows."""
        ...

    def close(self) -> None:
        """Ends the connection when what was written has left."""
        ...

    def abort(self) -> None:
        """Drops the connection and what is still unsent."""
        ...


class EventEncoder(Protocol):
    """How events look on one kind of connection. Pure: bytes out, no I/O."""

    label: str
    heartbeat: bytes

    def encode(self, name: str, data: bytes, channel: str = "") -> bytes:
        """The part of an event that is the same for every connection; `data` is compact JSON, and
        the hub's own events have no channel.
        """
        ...

    def frame(self, body: bytes, cursor: bytes | None, /) -> bytes:
        """The whole event for one connection, as a sink is given it. The cursor stands in it as it
        is, in front of the body, and nothing depends on it but its length.
        """
        ...

    def first_event(self, body: bytes, cursor: bytes, retry_ms: int) -> bytes:
        """The first event, which also tells the client how long to wait before it returns."""
        ...

    def trailer(self, *, reconnect: bool) -> bytes:
        """What tells the client that nothing follows, and whether to come back."""
        ...


class AnswerEncoder(Protocol):
    """One answer in the words of a client that knows nothing of the hub. Pure: fed the generation's
    events in order from the first one, it gives the chunks to send.

    Chunks are numbered from 0 as they come. They follow from the record's question and the events
    as they stand in the log, so that their numbers are the same for every reader.
    """

    @property
    def over(self) -> bool:
        """Whether nothing more will come: it has ended, or cannot be told any further."""
        ...

    @property
    def trailer(self) -> bytes:
        """What follows the last chunk and has no number."""
        ...

    def opening(self) -> Sequence[bytes]:
        """The chunks before the first event."""
        ...

    def feed(self, name: str, data: bytes) -> Sequence[bytes]:
        """The chunks that an event makes; none once it is over."""
        ...

    def broken_off(self, code: str, message: str) -> bytes:
        """What tells the client that the answer ends for it here, before its end. No number."""
        ...


class Clock(Protocol):
    """Time, so that tests can hold it. Seconds that never go back."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
