"""How the hub talks to Redis or Valkey: the broker and the queue stand on this.

names      every key and pub/sub channel
topology   which server has which partition: one Redis, Sentinel or Cluster
wire       one raw connection: bytes out once a tick, replies handed over as they come
pipe       commands on a wire, many in flight
ear        subscriptions on a wire
script     Lua scripts
link       the pipes of all servers, and what is done about a reply that is an error

redis-py connects (TLS, login, database) and knows the slots' numbers; what runs for each event
does not go through it: a redis-py pipeline costs about 150 µs a call, and a pool opens a connection
for each of ten thousand clients that return at once.
"""

from __future__ import annotations

from hub.backends.redis.client.client import RedisClient, ScriptCall, open_client
from hub.backends.redis.client.script import Script
from hub.backends.redis.keys import (
    ChannelKeys,
    GenerationKeys,
    channel_keys,
    chat_key,
    generation_idempotency_key,
    generation_keys,
    publish_idempotency_key,
)

__all__ = [
    "ChannelKeys",
    "GenerationKeys",
    "RedisClient",
    "Script",
    "ScriptCall",
    "channel_keys",
    "chat_key",
    "generation_idempotency_key",
    "generation_keys",
    "open_client",
    "publish_idempotency_key",
]
