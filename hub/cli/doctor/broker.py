"""Checks of Redis or Valkey: does it respond quickly, and is it configured as the hub needs it?

check_broker reads each server of the topology. The functions that judge a server take only what it
reports in INFO and CONFIG GET: https://redis.io/docs/latest/commands/info/ (Valkey has the same
fields).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from hub.backends.redis.client import WRITE_PROBE, RedisClient
from hub.backends.redis.keys import hash_tag
from hub.backends.redis.permissions import OPTIONAL_COMMANDS, acl_rules
from hub.cli.doctor.probe import CheckResult, fail, ok, warn
from hub.core.channel import PARTITIONS
from hub.errors import BrokerOutOfMemory, BrokerRefusesWrites, BrokerUnavailable
from hub.settings import Settings
from hub.wiring.backend import open_redis_client

_MIB: Final = 1024 * 1024
_LATENCY_SAMPLES: Final = 15
_MAX_LATENCY_MS: Final = 5.0
_MAX_CLOCK_SKEW_SECONDS: Final = 2.0
_MAX_USED_SHARE: Final = 0.8  # of the memory and of the clients
_MIN_PUBSUB_BYTES: Final = 8 * _MIB
_CONFIG_NAMES: Final = ("client-output-buffer-limit",)  # settings that INFO does not report
# A script that reads a key and publishes an empty message, and changes nothing.
_PROBE_SCRIPT: Final = "redis.call('GET', KEYS[1]) return redis.call(ARGV[1], KEYS[1], '')"


class ServerReport(msgspec.Struct, frozen=True):
    """What one server reports. info, config: None when this login may not read it."""

    address: str
    info: Mapping[str, str] | None
    config: Mapping[str, str] | None

    def number(self, field: str) -> int:
        """Return a field of INFO, or 0 when it is missing."""
        return int((self.info or {}).get(field, "0"))


async def check_broker(settings: Settings) -> list[CheckResult]:
    """Check every server of the topology."""
    broker_address, results = settings.redis.url_without_password, list[CheckResult]()
    try:
        async with open_redis_client(settings) as client:
            # One partition of each server is enough to reach it.
            partitions = {client.server_of(n): n for n in range(PARTITIONS)}
            for server, partition in partitions.items():
                address = broker_address if len(partitions) == 1 else str(server)
                report = await _read_report(client, partition, address)
                results += check_server(report, max_body_bytes=settings.publish.max_body_bytes)
                if not client.sharded and report.number("cluster_enabled"):
                    results += await _check_slots(client, address)
                results += [
                    *await _check_permissions(client, partition),
                    *await _check_writes(client, partition),
                    *await _check_latency_and_clock(client, partition),
                ]
    except ValueError as error:
        advice = "correct redis.url (HUB_REDIS__URL); docs/contributing/redis.md lists every form"
        return [fail("broker", f"{broker_address}: {error}", advice)]
    except BrokerUnavailable as error:
        advice = _advice(str(error), has_tls=broker_address.startswith(("rediss", "valkeys")))
        return [*results, fail("broker", f"{broker_address}: {error}", advice)]
    return results


def check_server(report: ServerReport, *, max_body_bytes: int) -> Iterator[CheckResult]:
    """Judge one server. max_body_bytes: the largest request body of a publish."""
    if report.info is None:
        yield ok("broker", f"the broker at {report.address} answers")
        yield warn(
            "broker info",
            "this login may not run INFO: " + OPTIONAL_COMMANDS["info"],
            "run ACL SETUSER … +info",
        )
    else:
        yield from _check_info(report, report.info)
    yield from _check_output_buffers(report, max_body_bytes)


def _check_info(report: ServerReport, info: Mapping[str, str]) -> Iterator[CheckResult]:
    yield _check_version(report, info)
    checks: tuple[Callable[[ServerReport, Mapping[str, str]], Iterator[CheckResult]], ...] = (
        _check_role, _check_eviction_policy, _check_memory, _check_persistence, _check_clients,
    )  # fmt: skip
    for check in checks:
        yield from check(report, info)


def _advice(reason: str, *, has_tls: bool) -> str:
    reason = reason.lower()
    if "certificate is not valid for" in reason:
        return (
            "name a host in redis.url that the certificate has, or add its name: "
            "?ssl_server_name=redis.example.com"
        )
    if "certificate" in reason or "ssl" in reason:
        return (
            "add what TLS needs to redis.url: ?ssl_ca_certs=/path for a CA of your own, "
            "&ssl_certfile=/path&ssl_keyfile=/path if the server requires a certificate"
        )
    if any(word in reason for word in ("auth", "password", "wrongpass")):
        return (
            "set user and password in redis.url: redis://user:password@host:6379; or the user in "
            "redis.url and a file in redis.password_file or a program in redis.password_command"
        )
    start = "start Redis 7+ or Valkey 8+, and set its URL in redis.url (HUB_REDIS__URL)"
    if has_tls:
        return (
            f"{start}; if the server has no TLS at this port, write redis:// instead of rediss://"
        )
    if "reset by peer" in reason or "connection lost" in reason or "connection closed" in reason:
        return f"{start}; if the server requires TLS, write rediss:// instead of redis://"
    return start


async def _read_report(client: RedisClient, partition: int, address: str) -> ServerReport:
    info: dict[str, str] | None = None
    try:
        text = (await client.call(partition, "INFO")).decode()
        info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    except BrokerUnavailable as error:
        if not _is_forbidden(error):
            raise
    config: dict[str, str] | None = None
    try:
        reply = await client.call(partition, "CONFIG", "GET", *_CONFIG_NAMES)
        fields = [field.decode() for field in reply]
        config = dict(zip(fields[::2], fields[1::2], strict=True))
    except BrokerUnavailable as error:
        if not _is_forbidden(error):  # managed services and ACLs often forbid CONFIG
            raise
    return ServerReport(address, info, config)


def _is_forbidden(error: BrokerUnavailable) -> bool:
    return any(reason in str(error) for reason in ("NOPERM", "unknown command"))


def _is_of_another_server(error: BrokerUnavailable) -> bool:
    """Whether the server of a Cluster refused a command because it does not have the key."""
    return any(reason in str(error) for reason in ("MOVED", "CLUSTERDOWN"))


async def _check_permissions(client: RedisClient, partition: int) -> list[CheckResult]:
    """Check that this login may run scripts that read keys and publish messages."""
    publish = "SPUBLISH" if client.sharded else "PUBLISH"
    key = client.name(f"{hash_tag(partition)}:doctor")
    advice = f"run ACL SETUSER … {acl_rules(client.name(''))}, or set another login in redis.url"
    try:
        await client.call(partition, "EVAL", _PROBE_SCRIPT, 1, key, publish)
    except BrokerUnavailable as error:
        if _is_of_another_server(error):
            return []  # _check_slots reports it
        return [fail("broker permissions", str(error), advice)]
    return []


async def _check_slots(client: RedisClient, address: str) -> list[CheckResult]:
    """Check that a server of a Cluster, which the URL names as one server, has all partitions."""
    for partition in range(PARTITIONS):
        key = client.name(f"{hash_tag(partition)}:doctor")
        try:
            await client.call(partition, "EVAL", "return 1", 1, key)
        except BrokerUnavailable as error:
            if _is_of_another_server(error):
                message = f"{address} belongs to a Cluster, and other servers have some of the keys"
                advice = "name servers of the Cluster in redis.url: redis+cluster://host,host"
                return [fail("broker cluster", message, advice)]
    return []


async def _check_writes(client: RedisClient, partition: int) -> list[CheckResult]:
    """Check that the server stores something new at this moment."""
    try:
        await client.call(partition, "EVAL", WRITE_PROBE, 0)
    except BrokerOutOfMemory as error:
        advice = "raise maxmemory, or store less: log.user.max_bytes, log.user.ttl_seconds"
        return [fail("broker memory", f"{error}. Every publish is refused", advice)]
    except BrokerRefusesWrites as error:
        advice = (
            "check the log of the server, the free space of its disk, and its replicas "
            "(min-replicas-to-write)"
        )
        return [fail("broker writes", f"{error}. Every publish is refused", advice)]
    except BrokerUnavailable:
        return []  # other checks report a replica and missing permissions
    return []


async def _check_latency_and_clock(client: RedisClient, partition: int) -> Iterator[CheckResult]:
    """Measure the latency of a command, and compare the clock of the server with this machine's."""
    latencies, skews = list[float](), list[float]()
    for _ in range(_LATENCY_SAMPLES):
        started, started_wall = time.perf_counter(), time.time()
        seconds, microseconds = await client.call(partition, "TIME")
        latencies.append(time.perf_counter() - started)
        middle = started_wall + latencies[-1] / 2  # when the server read its clock
        skews.append(int(seconds) + int(microseconds) / 1e6 - middle)
    return _judge_latency_and_clock(
        statistics.median(latencies) * 1000, max(latencies) * 1000, statistics.median(skews)
    )


def _judge_latency_and_clock(
    median_ms: float, max_ms: float, skew_seconds: float
) -> Iterator[CheckResult]:
    message = f"a command takes {median_ms:.1f} ms (median), {max_ms:.1f} ms at most"
    if median_ms > _MAX_LATENCY_MS:
        advice = "run the nodes closer to the broker: every publish waits for it"
        yield warn("broker latency", message, advice)
    else:
        yield ok("broker latency", message)
    if abs(skew_seconds) > _MAX_CLOCK_SKEW_SECONDS:
        direction = "ahead of" if skew_seconds > 0 else "behind"
        yield warn(
            "broker clock",
            f"the clock of the broker is {abs(skew_seconds):.0f} s {direction} this machine's",
            "run a time service on both machines (chrony, systemd-timesyncd): the expiry of "
            "tokens and logs depends on it",
        )
    else:
        yield ok("broker clock", "the clock of the broker agrees with this machine's")


def _check_version(report: ServerReport, info: Mapping[str, str]) -> CheckResult:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "0")
    min_version = 8 if name == "Valkey" else 7
    message = f"{name} {version} at {report.address}"
    if int(version.split(".", maxsplit=1)[0]) < min_version:
        return fail("broker", message, f"install Redis 7+ or Valkey 8+ instead of {name} {version}")
    return ok("broker", message)


def _check_role(report: ServerReport, info: Mapping[str, str]) -> Iterator[CheckResult]:
    if info.get("role") == "slave":
        yield fail(
            "broker role",
            f"{report.address} is a replica, which accepts no writes",
            "set the primary in redis.url, or its Sentinels: redis+sentinel://host,host/service",
        )


def _check_eviction_policy(report: ServerReport, info: Mapping[str, str]) -> Iterator[CheckResult]:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        message = f"maxmemory-policy is {policy}: when a log is evicted, users miss its events"
        yield warn("broker eviction policy", message, "run CONFIG SET maxmemory-policy noeviction")


def _check_memory(report: ServerReport, info: Mapping[str, str]) -> Iterator[CheckResult]:
    used, limit = report.number("used_memory"), report.number("maxmemory")
    limit_name = "maxmemory" if limit else "the memory of the machine"
    limit = limit or report.number("total_system_memory")
    if limit and used > limit * _MAX_USED_SHARE:
        yield fail(
            "broker memory",
            f"{used // _MIB} of {limit // _MIB} MiB ({limit_name}) are in use; when the memory is "
            "full, publishing fails",
            "raise maxmemory, or store less: log.user.max_bytes, log.user.ttl_seconds",
        )


def _check_persistence(report: ServerReport, info: Mapping[str, str]) -> Iterator[CheckResult]:
    check = "broker persistence"
    if "err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")):
        message = "the last write to disk failed, and the server may refuse further writes"
        advice = "check the log of the server, the free space of its disk, and its permissions"
        yield fail(check, message, advice)
    elif info.get("aof_enabled") != "1":
        yield warn(
            check,
            "there is no append-only file: a restart loses logs and running answers, or goes back "
            "to the last snapshot",
            "run CONFIG SET appendonly yes, and set the same in the configuration file",
        )
    else:
        yield ok(check, "the server writes an append-only file")


def _check_clients(report: ServerReport, info: Mapping[str, str]) -> Iterator[CheckResult]:
    limit, connected = report.number("maxclients"), report.number("connected_clients")
    if limit and connected > limit * _MAX_USED_SHARE:
        message = f"{connected} clients are connected, and the limit is {limit}"
        yield warn("broker clients", message, "run CONFIG SET maxclients 10000")


def _check_output_buffers(report: ServerReport, max_body_bytes: int) -> Iterator[CheckResult]:
    """Check that the server does not disconnect a node that falls behind for a moment."""
    check = "broker output buffers"
    if report.config is None:
        yield warn(
            check,
            "this login may not read the limits (CONFIG GET)",
            "make sure that client-output-buffer-limit pubsub is at least 32mb 8mb 60",
        )
        return
    # `<class> <hard> <soft> <soft seconds>`, repeated.
    words = report.config.get("client-output-buffer-limit", "").split()
    limits = {words[n]: tuple(map(int, words[n + 1 : n + 3])) for n in range(0, len(words), 4)}
    min_bytes = max(_MIN_PUBSUB_BYTES, 8 * max_body_bytes)
    for client_class, advised in (("pubsub", "32mb 8mb 60"), ("normal", "0 0 0")):
        hard, soft = limits.get(client_class, (0, 0))
        if 0 < hard < min_bytes or 0 < soft < min_bytes // 4:
            yield warn(
                check,
                f"the server disconnects a {client_class} client that is {hard} bytes behind, or "
                f"{soft} bytes for some time",
                f'run CONFIG SET client-output-buffer-limit "{client_class} {advised}"',
            )
