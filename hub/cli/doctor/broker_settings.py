"""What one server says of itself, judged: pure, from INFO and CONFIG GET.

https://redis.io/docs/latest/commands/info/ names the fields; Valkey has the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from hub.cli.doctor.result import CheckResult, fail, ok, warn

_MIB: Final = 1024 * 1024
_NEARLY: Final = 0.8
_LEAST_PUBSUB_BYTES: Final = 8 * _MIB


class Server(msgspec.Struct, frozen=True):
    """config: None where it may not be read."""

    place: str
    info: Mapping[str, str]
    config: Mapping[str, str] | None

    def number(self, field: str) -> int:
        """A field of INFO; 0 where it is missing."""
        return int(self.info.get(field, "0"))


def check_server(server: Server, *, max_body_bytes: int) -> Iterator[CheckResult]:
    """The findings; max_body_bytes: how much one publish may hold."""
    yield _version(server)
    judges: tuple[Callable[[Server], Iterator[CheckResult]], ...] = (
        _role, _policy, _room, _persistence, _clients,
    )  # fmt: skip
    for each in judges:
        yield from each(server)
    yield from _output_buffers(server, max_body_bytes)


def _version(server: Server) -> CheckResult:
    name = "Valkey" if "valkey_version" in server.info else "Redis"
    version = server.info.get("valkey_version") or server.info.get("redis_version", "0")
    least = 8 if name == "Valkey" else 7
    found = f"{name} {version} at {server.place}"
    if int(version.split(".", maxsplit=1)[0]) < least:
        return fail("broker", found, f"the hub needs Redis 7+ or Valkey 8+, not {name} {version}")
    return ok("broker", found)


def _role(server: Server) -> Iterator[CheckResult]:
    if server.info.get("role") == "slave":
        yield fail(
            "broker role",
            f"{server.place} is a replica, which takes no writes",
            "name its primary in redis.url, or its Sentinels: redis+sentinel://host,host/service",
        )


def _policy(server: Server) -> Iterator[CheckResult]:
    policy = server.info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found = f"maxmemory-policy is {policy}: an evicted log is a gap in somebody's stream"
        yield warn("broker memory", found, "CONFIG SET maxmemory-policy noeviction")


def _room(server: Server) -> Iterator[CheckResult]:
    used, bound = server.number("used_memory"), server.number("maxmemory")
    of = "maxmemory" if bound else "the machine's memory"
    bound = bound or server.number("total_system_memory")
    if bound and used > bound * _NEARLY:
        yield fail(
            "broker room",
            f"{used // _MIB} of {bound // _MIB} MiB ({of}) are used; when it is full, "
            "publishing fails",
            "raise maxmemory, or keep less: log.user.max_bytes, log.user.ttl_seconds",
        )


def _persistence(server: Server) -> Iterator[CheckResult]:
    info, check = server.info, "broker persistence"
    log_on = info.get("aof_enabled") == "1"
    if "err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")):
        found = "the last write to disk failed, and the server may refuse to be written to"
        yield fail(check, found, "look at its log, its disk's room, and the rights on its folder")
    elif not log_on:
        yield warn(
            check,
            "there is no append-only file: after a restart logs and running answers are gone, "
            "or as old as the last snapshot",
            "CONFIG SET appendonly yes, and the same in its configuration file",
        )
    else:
        yield ok(check, "an append-only file is written")


def _clients(server: Server) -> Iterator[CheckResult]:
    most, there = server.number("maxclients"), server.number("connected_clients")
    if most and there > most * _NEARLY:
        found = f"{there} of {most} possible clients are connected"
        yield warn("broker clients", found, "CONFIG SET maxclients 10000")


def _output_buffers(server: Server, max_body_bytes: int) -> Iterator[CheckResult]:
    """A node that falls behind for a moment must not be thrown out for it."""
    check = "broker output buffers"
    if server.config is None:
        yield warn(
            check,
            "this login may not read them (CONFIG GET)",
            "see to it that client-output-buffer-limit pubsub is 32mb 8mb 60 or more",
        )
        return
    words = server.config.get("client-output-buffer-limit", "").split()
    limits = {words[n]: tuple(map(int, words[n + 1 : n + 3])) for n in range(0, len(words), 4)}
    least = max(_LEAST_PUBSUB_BYTES, 8 * max_body_bytes)
    for kind, wanted in (("pubsub", "32mb 8mb 60"), ("normal", "0 0 0")):
        hard, soft = limits.get(kind, (0, 0))
        if 0 < hard < least or 0 < soft < least // 4:
            yield warn(
                check,
                f"a {kind} client that is {hard} bytes behind ({soft} for long) is thrown out",
                f'CONFIG SET client-output-buffer-limit "{kind} {wanted}"',
            )
