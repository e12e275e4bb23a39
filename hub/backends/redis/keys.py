"""The names of every key and pub/sub channel. `docs/redis.md` lists them.

Each carries the hash tag of a partition, `{hub:pNN}` (NN: two hexadecimal digits): a channel's own
for the channel and its user's generations, so that one script can touch them all, on Cluster too;
the first partition's for the one queue of jobs.

What a client chose stands behind a slash, which no channel's name has: a colon stands in both, and
one user's key must not be another's.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final, NamedTuple

from hub.core.channel import PARTITIONS, Channel, partition_of, user_channel
from hub.core.generation import ID_CHARS, partition_of_generation

JOBS_PARTITION: Final = 0
JOBS_WAITING: Final = "{hub:p00}:jobs:waiting"
JOBS_COUNTS: Final = "{hub:p00}:jobs:counts"
JOBS_GROUP: Final = "workers"
COMMANDS_CHANNEL: Final = "{hub:p00}:control"
NODE_STATES: Final = "{hub:p00}:nodes"
DENYLIST: Final = "{hub:p00}:denied"
STOPS_CHANNEL: Final = "{hub:p00}:stops"


def usage_key(partition: int, day: str) -> str:
    """A day's sums of usage of a partition's users (hash)."""
    return f"{hash_tag(partition)}:usage:{day}"


def ticket_key(name: str) -> tuple[int, str]:
    """A ticket's partition and name (hash); the ticket itself is a secret and stands nowhere."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    partition = int(digest[:2], 16) % PARTITIONS
    return partition, f"{hash_tag(partition)}:ticket:{digest}"


def topic_presence_keys(channel: Channel) -> tuple[int, str, str]:
    """Of a topic: its partition, when each entry is over (sorted set), its users (hash)."""
    partition = partition_of(channel)
    tag = hash_tag(partition)
    return partition, f"{tag}:present:{channel}", f"{tag}:users:{channel}"


def jobs_stream(queue: str) -> str:
    """The due jobs of a queue (stream)."""
    return f"{{hub:p00}}:jobs:due:{queue}"


class ChannelKeys(NamedTuple):
    """What belongs to one channel: partition, head (hash), log (a stream, whose name is also that
    of the pub/sub channel on which its events are announced).
    """

    partition: int
    head: str
    log: str


class GenerationKeys(NamedTuple):
    """What belongs to one generation: partition, record (hash), text so far (string)."""

    partition: int
    record: str
    text: str


def hash_tag(partition: int) -> str:
    """What decides where on a Cluster a partition is."""
    return f"{{hub:p{partition:02x}}}"


@lru_cache(maxsize=16384)  # an answer's hundreds of deltas ask for the same names
def channel_keys(channel: Channel) -> ChannelKeys:
    """The names that belong to a channel."""
    partition = partition_of(channel)
    tag = hash_tag(partition)
    return ChannelKeys(partition, f"{tag}:head:{channel}", f"{tag}:log:{channel}")


def publish_idempotency_key(channel: Channel, idempotency_key: str) -> str:
    """Remembers the position that a publish with this key was given (string)."""
    return f"{hash_tag(partition_of(channel))}:once:{channel}/{idempotency_key}"


def generation_idempotency_key(user: str, idempotency_key: str) -> str:
    """Remembers the generation that a question with this key started (string)."""
    channel = user_channel(user)
    return f"{hash_tag(partition_of(channel))}:asked:{channel}/{idempotency_key}"


def chat_key(user: str, chat: str) -> str:
    """Remembers the newest generation of a user's chat (string)."""
    channel = user_channel(user)
    return f"{hash_tag(partition_of(channel))}:chat:{channel}/{chat}"


def generation_keys(generation: str) -> GenerationKeys | None:
    """The names that belong to a generation; None when this is not an id of one."""
    # URLs bring anything: only what may be an id is remembered.
    return _generation_keys(generation) if len(generation) == ID_CHARS else None


@lru_cache(maxsize=16384)
def _generation_keys(generation: str) -> GenerationKeys | None:
    partition = partition_of_generation(generation)
    if partition is None:
        return None
    record = f"{hash_tag(partition)}:generation:{generation}"
    return GenerationKeys(partition, record, record + ":text")
