"""Redis 7+ or Valkey 8+ as the backend.

backend         RedisBackend, the bundle of everything below
client/         topologies, connections, the command pipeline and pub/sub
keys            names of all keys and pub/sub channels
lua/            the scripts; their headers state what each one does atomically
events          the event log: one script publishes, one reads pages
subscriptions   the channels whose new events this process receives
generations     records of generations, in the partition of their user's channel
queue           jobs for the workers
commands        commands to all nodes, the denylist and the state of the nodes
tickets, topic_presence, usage   one small store each
"""

from __future__ import annotations

from hub.backends.redis.backend import RedisBackend

__all__ = ["RedisBackend"]
