"""The client for Redis and Valkey that the whole backend uses.

topology     which server owns which partition: one server, Sentinel or Cluster
connection   one raw connection: one write for each iteration of the loop, replies as they come
pipeline     commands on one connection, many in flight
credentials  the password from a file or a program
pubsub       subscriptions on one connection
script       Lua scripts
client       the pipelines of all servers, redirections and retries

redis-py opens connections (TLS, login, database) and computes slots. What runs for every event does
not use it: a redis-py pipeline costs about 150 µs for each call, and its pool would open a
connection for each of ten thousand clients that return at once.
"""

from __future__ import annotations

from hub.backends.redis.client.client import WRITE_PROBE, RedisClient, ScriptCall, open_client
from hub.backends.redis.client.credentials import PasswordCommand, PasswordFile, PasswordSource
from hub.backends.redis.client.script import Script
from hub.backends.redis.keys import (
    ChannelKeys,
    GenerationKeys,
    InboxKeys,
    channel_keys,
    chat_key,
    generation_idempotency_key,
    generation_keys,
    inbox_keys,
    publish_idempotency_key,
)

__all__ = [
    "WRITE_PROBE",
    "ChannelKeys",
    "GenerationKeys",
    "InboxKeys",
    "PasswordCommand",
    "PasswordFile",
    "PasswordSource",
    "RedisClient",
    "Script",
    "ScriptCall",
    "channel_keys",
    "chat_key",
    "generation_idempotency_key",
    "generation_keys",
    "inbox_keys",
    "open_client",
    "publish_idempotency_key",
]
