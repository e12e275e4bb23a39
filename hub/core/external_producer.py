"""What the record of an answer keeps for an external producer: its lease, and how far it has come.

An external producer is a process of the application that posts the parts of an answer over HTTP. It
has no connection to the hub that a lost process would close, so its attempt is held by a lease,
which every post renews. Only the producer knows the lease; the record has its digest, as the writer
of the attempt, so the broker refuses the posts of a void lease.

Rules, which lua/publish.lua and lua/lease.lua implement in Redis:
1. The parts of an attempt are numbered by their producer from 0 (`seq`). The progress says up to
   which one they are published. An update names the progress before it and the one after it, and is
   refused unless the record has the former. So every part is published once, whoever repeats a post
   and whichever node gets it.
2. A lease ends `seconds` after its last renewal, by the clock of the server that has the record.
   When another server took over, its clock may be another one: the lease then begins anew.
3. Nothing is published after the end of a lease, whether or not somebody has noticed the end.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
from typing import Any, Final

import msgspec

MIN_LEASE_SECONDS: Final = 5.0
MAX_LEASE_SECONDS: Final = 900.0
DEFAULT_LEASE_SECONDS: Final = 30.0
EXTERNAL: Final = "external"
"""The `producer` of a request whose parts an external producer posts. It is also its upstream."""


class LeaseState(enum.Enum):
    """Whether an external producer holds an attempt. The values stand in Redis."""

    NONE = ""
    HELD = "held"
    ENDED = "ended"


def new_lease() -> str:
    """Return a new secret lease."""
    return secrets.token_urlsafe(24)


def lease_digest(lease: str) -> str:
    """Return what the record has of a lease."""
    return hashlib.sha256(lease.encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Progress(msgspec.Struct, frozen=True):
    """How far the attempt of an external producer has come.

    seq: the number of the newest part that is published, -1 before the first. chars: how much of
    the text of the next part is published, because a long text becomes several events. author: the
    random name of the object that published it. So an update that was built for other updates of
    its author is refused when one of those was.
    """

    seq: int = -1
    chars: int = 0
    author: str = ""

    def encode(self) -> str:
        """Return the text that the record has."""
        return f"{self.seq}:{self.chars}:{self.author}"

    @classmethod
    def decode(cls, text: str) -> Progress:
        """Return the progress that a record has."""
        seq, chars, author = text.split(":")
        return cls(int(seq), int(chars), author)


class AttemptNotes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the end event and the next parts need, whichever node publishes them.

    queued_seconds, first_delta_seconds: from the request to the beginning and to the first part.
    usage: as the producer has reported it. calls: the number of tool calls that readers see;
    delta_calls: the numbers of those that came as `tool_call_delta`, in their order. call_ids: what
    takes the place of ids that the producer has repeated (CallIds.replaced).
    """

    queued_seconds: float = 0.0
    first_delta_seconds: float | None = None
    usage: dict[str, Any] | None = None
    calls: int = 0
    delta_calls: list[int] = []
    call_ids: dict[str, str] = {}


class ExternalUpdate(msgspec.Struct, frozen=True):
    """The part of a record's update that concerns its external producer.

    after, progress: see rule 1. lease_seconds: the lease is checked and renewed for so long; None
    for an update of the hub's own, which no lease allows or forbids. notes: None leaves them as
    they are.
    """

    after: Progress
    progress: Progress
    lease_seconds: float | None = None
    notes: AttemptNotes | None = None

    def has_lease(self, state: ExternalState | None) -> bool:
        """Return whether the lease allows the update. state: None if there is no attempt."""
        return self.lease_seconds is None or (state is not None and state.is_held)

    def follows(self, state: ExternalState | None) -> bool:
        """Return whether the record has the progress before the update."""
        return state is not None and state.progress == self.after

    def apply(self, state: ExternalState | None) -> ExternalState:
        """Return the attempt after the update. state: that before it, None if it begins one."""
        before = state or ExternalState(self.progress, AttemptNotes())
        return ExternalState(
            self.progress,
            before.notes if self.notes is None else self.notes,
            before.lease_seconds if self.lease_seconds is None else self.lease_seconds,
            before.lease_left_seconds if self.lease_seconds is None else self.lease_seconds,
        )


class ExternalState(msgspec.Struct, frozen=True):
    """The newest attempt of an external producer, as the record has it.

    lease_seconds: the length of its lease, 0 if it has none any more: it was returned or lost.
    lease_left_seconds: how long it still holds without a renewal, 0 if it has ended.
    """

    progress: Progress
    notes: AttemptNotes
    lease_seconds: float = 0.0
    lease_left_seconds: float = 0.0

    @property
    def is_held(self) -> bool:
        """Whether a producer holds the lease."""
        return self.lease_seconds > 0 and self.lease_left_seconds > 0
