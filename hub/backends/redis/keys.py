"""The names of all keys and pub/sub channels. `docs/contributing/redis.md` lists them.

Each name has the hash tag of a partition, `{hub:pNN}` (NN: two hexadecimal digits). A channel and
its generations have the tag of the channel's partition, so that one script can use all of their
keys, on a Cluster too. The queue of jobs and the command bus have the tag of partition 0.

A part that a client chose follows a slash, and a slash in the name of the channel before it is
escaped. Otherwise the key of one user could equal the key of another.
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
JOBS_VERSIONS: Final = "{hub:p00}:jobs:versions"
JOBS_GROUP: Final = "workers"
COMMANDS_CHANNEL: Final = "{hub:p00}:commands"
NODE_STATES: Final = "{hub:p00}:nodes"
DENYLIST: Final = "{hub:p00}:denylist"
LAST_SWEEP: Final = "{hub:p00}:last_sweep"
STOPS_CHANNEL: Final = "{hub:p00}:stops"
WEBHOOKS: Final = "{hub:p00}:webhooks"
WEBHOOK_STATES: Final = "{hub:p00}:webhook_state:"  # the id of the endpoint follows


def usage_key(partition: int, day: str) -> str:
    """Return the key of the usage totals of a partition's users on one day (hash)."""
    return f"{hash_tag(partition)}:usage:{day}"


def budget_key(user: str) -> tuple[int, str]:
    """Return the partition and the key of the bytes that a user has stored (hash)."""
    channel = user_channel(user)
    partition = partition_of(channel)
    return partition, f"{hash_tag(partition)}:stored_bytes:{channel}"


def ticket_key(ticket_id: str) -> tuple[int, str]:
    """Return the partition and the key of a ticket (hash). The key has no part of the secret id."""
    return ticket_key_of(hashlib.sha256(ticket_id.encode()).hexdigest())


def ticket_key_of(digest: str) -> tuple[int, str]:
    """Return the partition and the key of the ticket whose id has this SHA-256."""
    partition = int(digest[:2], 16) % PARTITIONS
    return partition, f"{hash_tag(partition)}:ticket:{digest}"


def push_subscription_key(subscription_id: str) -> tuple[int, str]:
    """Return the partition and the key of a push subscription (hash). Clients choose ids in URLs,
    so the key has a digest.
    """
    digest = hashlib.sha256(subscription_id.encode("utf-8", "surrogateescape")).hexdigest()
    partition = int(digest[:2], 16) % PARTITIONS
    return partition, f"{hash_tag(partition)}:push_subscription:{digest}"


def push_subscriptions_key(user: str) -> tuple[int, str]:
    """Return the partition and the key of the ids of a user's push subscriptions (sorted set)."""
    channel = user_channel(user)
    partition = partition_of(channel)
    return partition, f"{hash_tag(partition)}:push_subscriptions:{channel}"


def user_tickets_key(user: str) -> tuple[int, str]:
    """Return the partition and the key of the tickets of a user (sorted set)."""
    channel = user_channel(user)
    partition = partition_of(channel)
    return partition, f"{hash_tag(partition)}:tickets:{channel}"


def suspended_key(partition: int, user: str) -> str:
    """Return the key of the suspended answers of a user in a partition (sorted set)."""
    return f"{hash_tag(partition)}:suspended:{user}"


def topic_presence_keys(channel: Channel) -> tuple[int, str, str]:
    """Return a topic's partition, the key of its entries (sorted set) and of its users (hash)."""
    partition = partition_of(channel)
    tag = hash_tag(partition)
    return partition, f"{tag}:presence:{channel}", f"{tag}:presence_users:{channel}"


def deliveries_key(partition: int, queue: str) -> str:
    """Return the key of the lanes of a queue in which deliveries wait (sorted set).

    lua/deliveries.lua derives the others from it.
    """
    return f"{hash_tag(partition)}:deliveries:{queue}:due"


def connected_nodes_key(partition: int) -> str:
    """Return the key of the nodes that have users of a partition (hash).

    lua/update_user_presence.lua derives the others from it.
    """
    return f"{hash_tag(partition)}:connected:nodes"


def delivery_lane(channel: Channel, lane: str) -> str:
    """Return the name of a lane among those of its queue and partition."""
    return f"{_escape(channel)}/{lane}"


def claim_key(digest: str) -> str:
    """Return the key of what is remembered of a claim of jobs (string)."""
    return f"{{hub:p00}}:claim:{digest}"


def jobs_stream(queue: str) -> str:
    """Return the key of the due jobs of a queue (stream)."""
    return f"{{hub:p00}}:jobs:due:{queue}"


class ChannelKeys(NamedTuple):
    """The keys of one channel: its head (hash) and its log (stream).

    The pub/sub channel on which its events are announced has the same name as the log.
    """

    partition: int
    head: str
    log: str


class GenerationKeys(NamedTuple):
    """The keys of one generation: its record (hash) and the journal of its parts (string).

    open: the key of all generations of the partition that have not ended (sorted set).
    """

    partition: int
    record: str
    parts: str
    open: str


class InboxKeys(NamedTuple):
    """The keys of the inbox of a channel: its items (stream) and what a user did with them (hash).

    settings: what a user has chosen (hash). subscribers, subscriber_names: the users of a topic, by
    the end of their settings and by their names (sorted sets).
    """

    partition: int
    state: str
    items: str
    settings: str
    subscribers: str
    subscriber_names: str


def inbox_keys(channel: Channel) -> InboxKeys:
    """Return the keys of the inbox of a user, a topic or `all`."""
    partition = partition_of(channel)
    tag = hash_tag(partition)
    return InboxKeys(
        partition,
        f"{tag}:inbox:{channel}",
        f"{tag}:inbox_items:{channel}",
        f"{tag}:inbox_settings:{channel}",
        f"{tag}:inbox_subscribers:{channel}",
        f"{tag}:inbox_subscriber_names:{channel}",
    )


def parse_jobs_stream(stream: str) -> str:
    """Return the queue of a key of `jobs_stream`."""
    return stream.rpartition(":due:")[2]


def open_generations_key(partition: int) -> str:
    """Return the key of the generations of a partition that have not ended (sorted set)."""
    return f"{hash_tag(partition)}:open"


def _client_key(kind: str, channel: Channel, chosen: str) -> str:
    """Return the key of a part that a client chose, in the partition of a channel."""
    return f"{hash_tag(partition_of(channel))}:{kind}:{_escape(channel)}/{chosen}"


def _escape(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")


def hash_tag(partition: int) -> str:
    """Return the hash tag of a partition; it decides the slot in a Cluster."""
    return f"{{hub:p{partition:02x}}}"


@lru_cache(maxsize=16384)  # the deltas of a generation need the same names again and again
def channel_keys(channel: Channel) -> ChannelKeys:
    """Return the keys of a channel."""
    partition = partition_of(channel)
    tag = hash_tag(partition)
    return ChannelKeys(partition, f"{tag}:head:{channel}", f"{tag}:log:{channel}")


def publish_idempotency_key(channel: Channel, idempotency_key: str) -> str:
    """Return the key that holds the position of the publish with this idempotency key (string).

    It has a digest of both, because it outlives an erasure of the channel.
    """
    name = f"{_escape(channel)}/{idempotency_key}"
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{hash_tag(partition_of(channel))}:publish_key:{digest}"


def generation_idempotency_key(channel: Channel, user: str, idempotency_key: str) -> str:
    """Return the key that holds the generation that a user has started in a channel with this
    idempotency key (string).
    """
    is_own = channel == user_channel(user)
    chosen = idempotency_key if is_own else f"{_escape(user)}/{idempotency_key}"
    return _client_key("generation_key", channel, chosen)


def chat_key(channel: Channel, chat: str) -> str:
    """Return the key that holds the newest generation of a channel's chat (string)."""
    return _client_key("chat", channel, chat)


def chat_open_key(channel: Channel, chat: str) -> str:
    """Return the key of the answers of a channel's chat that have not ended (sorted set)."""
    return _client_key("chat_open", channel, chat)


def user_generations_key(user: str) -> tuple[int, str]:
    """Return the partition and the key of the newest generations of a user (sorted set)."""
    channel = user_channel(user)
    partition = partition_of(channel)
    return partition, f"{hash_tag(partition)}:generations:{channel}"


def generation_keys(generation: str) -> GenerationKeys | None:
    """Return the keys of a generation; None when this is not the id of one."""
    # A URL may contain anything: only possible ids get into the cache.
    return _generation_keys(generation) if len(generation) == ID_CHARS else None


@lru_cache(maxsize=16384)
def _generation_keys(generation: str) -> GenerationKeys | None:
    partition = partition_of_generation(generation)
    if partition is None:
        return None
    record = f"{hash_tag(partition)}:generation:{generation}"
    return GenerationKeys(partition, record, record + ":parts", open_generations_key(partition))
