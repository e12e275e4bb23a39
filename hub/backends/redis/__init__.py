"""Redis 7+ or Valkey 8+ as the broker: the log, the bell, and the records of generations.

log.py      events: one script that numbers, stores and announces; pages for replay
bus.py      the bell: one connection of this process that hears every channel it needs
generations.py   generations' records, in the same partition as their user's log
"""

from __future__ import annotations

from hub.backends.redis.broker import RedisBroker
from hub.backends.redis.generations import RedisGenerationStore

__all__ = ["RedisBroker", "RedisGenerationStore"]
