"""What `hub doctor` looks at: a list of findings, each with what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import aiohttp
import msgspec

from hub.errors import BrokerUnavailable, OperatorError
from hub.redislink import open_link
from hub.settings import Settings, check_for_production

_PROBE_SECONDS = 3.0


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it stands, and the advice unless all is well."""

    check: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which they are best mended."""
    findings = [_keys(settings), *[f async for f in _broker(settings)]]
    timeout = aiohttp.ClientTimeout(total=_PROBE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        findings.append(await _listener(session, settings, public=True))
        findings.append(await _listener(session, settings, public=False))
        findings += await asyncio.gather(
            *(_upstream(session, name, settings) for name in settings.upstreams)
        )
    if not settings.upstreams:
        advice = "set HUB_UPSTREAMS__MAIN__BASE_URL (and __API_KEY) for answers from an LLM"
        findings.append(Finding("upstreams", "warn", "none is set", advice))
    return findings


def _keys(settings: Settings) -> Finding:
    try:
        check_for_production(settings)
    except OperatorError as error:
        advice = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'"
        return Finding("keys", "fail", str(error), advice)
    if settings.auth.open:
        return Finding(
            "keys",
            "warn",
            "auth.open is on: nobody is asked for a token",
            "leave it off wherever others can reach the hub",
        )
    return Finding("keys", "ok", "a token secret and API keys are set")


async def _broker(settings: Settings) -> AsyncIterator[Finding]:
    place = settings.redis.place
    try:
        async with open_link(
            settings.redis.url, timeout_seconds=settings.redis.timeout_seconds
        ) as link:
            text = (await link.call(0, "INFO")).decode()
    except (BrokerUnavailable, ValueError) as error:
        yield Finding(
            "broker",
            "fail",
            f"{place}: {error}",
            "start Redis 7+ or Valkey 8+, and name it in redis.url (HUB_REDIS__URL)",
        )
        return
    info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info["redis_version"]
    least = 8 if name == "Valkey" else 7
    old = int(version.split(".", maxsplit=1)[0]) < least
    yield Finding(
        "broker",
        "fail" if old else "ok",
        f"{name} {version} at {place}",
        f"the hub needs Redis 7+ or Valkey 8+, not {name} {version}" if old else "",
    )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Finding(
            "broker memory",
            "warn",
            f"maxmemory-policy is {policy}",
            "set it to noeviction: an evicted log is a gap in somebody's stream",
        )


async def _listener(session: aiohttp.ClientSession, settings: Settings, *, public: bool) -> Finding:
    section = settings.public if public else settings.internal
    check = "public port" if public else "internal port"
    place = f"{section.host}:{section.port}"
    path = "/sse/connect/doctor" if public else "/healthz"
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(section.host, section.port), _PROBE_SECONDS
        )
        writer.close()
    except (OSError, TimeoutError):
        return Finding(check, "ok", f"{place} is free, no hub runs there")
    try:
        async with session.get(f"http://{place}{path}") as response:
            known = response.content_type in (
                "text/event-stream",
                "application/json",
                "application/problem+json",
            )
            if known and response.status < 500:
                return Finding(check, "ok", f"a hub answers at {place}")
    except (aiohttp.ClientError, TimeoutError):
        pass
    setting = "public.port" if public else "internal.port"
    return Finding(
        check, "warn", f"something else answers at {place}", f"end it, or choose another {setting}"
    )


async def _upstream(session: aiohttp.ClientSession, name: str, settings: Settings) -> Finding:
    upstream = settings.upstreams[name]
    check = f"upstream {name}"
    headers = {}
    if upstream.api_key is not None:
        headers["Authorization"] = f"Bearer {upstream.api_key.get_secret_value()}"
    try:
        url = upstream.base_url.rstrip("/") + "/models"
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status in (401, 403):
                return Finding(
                    check,
                    "fail",
                    f"{upstream.base_url} refuses the key",
                    f"set HUB_UPSTREAMS__{name.upper()}__API_KEY",
                )
            return Finding(check, "ok", f"{upstream.base_url} answers {response.status}")
    except (aiohttp.ClientError, TimeoutError) as error:
        return Finding(
            check,
            "fail",
            f"{upstream.base_url} does not answer: {error}",
            f"look at HUB_UPSTREAMS__{name.upper()}__BASE_URL",
        )
