"""The commands that the login of a hub must be able to run, in the terms of an ACL.

https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
"""

from __future__ import annotations

from typing import Final

CONNECTION_COMMANDS: Final = (
    "asking", "cluster|slots", "eval", "evalsha", "ping", "publish", "script|exists", "script|load",
    "select", "spublish", "ssubscribe", "subscribe", "sunsubscribe", "unsubscribe", "wait",
)  # fmt: skip
DATA_COMMANDS: Final = (
    "append", "del", "expire", "get", "hdel", "hexists", "hget", "hgetall", "hincrby", "hlen",
    "hmget", "hset", "hsetnx", "hvals", "pexpire", "pexpireat", "pttl", "set", "strlen", "time",
    "xack", "xadd", "xclaim", "xdel", "xgroup|create", "xinfo|stream", "xlen", "xpending", "xrange",
    "xreadgroup", "xrevrange", "xtrim", "zadd", "zcard", "zrange", "zrangebyscore", "zrem",
    "zremrangebyscore",
)  # fmt: skip
COMMANDS: Final = (*CONNECTION_COMMANDS, *DATA_COMMANDS)
# What a hub runs without, and what is missing then.
OPTIONAL_COMMANDS: Final = {
    "info": "the hub does not notice a fail-over to a replica that lacks the last events, and "
    "the doctor checks no version, memory and persistence",
    "config|get": "the doctor does not check the output buffers",
    "xinfo|consumers": "the doctor does not check the workers",
    "client|setinfo": "CLIENT LIST does not show the library",
    "client|setname": "the option client_name of redis.url cannot be used",
}


def acl_rules(prefix: str = "") -> str:
    """Return the rules of ACL SETUSER for a hub with this prefix of its names."""
    names = f"{prefix}{{hub:*"
    return f"~{names} &{names} " + " ".join(f"+{command}" for command in COMMANDS)
