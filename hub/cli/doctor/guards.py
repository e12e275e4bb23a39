"""Checks of the guards: does an HTTP endpoint answer with a verdict?

The check sends a window without text, as at the end of an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp

from hub.cli.doctor.probe import CheckResult, fail, ok
from hub.core.growing_text import GrowingText
from hub.core.verdicts import GuardContext, TextWindow
from hub.errors import GuardFailed, OperatorError
from hub.settings import mask_url
from hub.settings.models import Upstream
from hub.wiring.guards import build_http_guard

_TIMEOUT_SECONDS: Final = 3.0
_CONTEXT: Final = GuardContext(user="", generation="", attempt=1)
_WINDOW: Final = TextWindow(
    kind="text",
    text="",
    before=GrowingText(),
    start=0,
    number=0,
    unchanged=0,
    is_closed=True,
    is_last=True,
)


async def check_guards(
    session: aiohttp.ClientSession, upstreams: Mapping[str, Upstream]
) -> list[CheckResult]:
    """Check each guard."""
    guards = {name: each for name, each in upstreams.items() if each.guard.is_set}
    return [*await asyncio.gather(*(_check(session, *each) for each in guards.items()))]


async def _check(session: aiohttp.ClientSession, name: str, upstream: Upstream) -> CheckResult:
    guard, check = upstream.guard, f"guard of {name}"
    if guard.url is None:
        return ok(check, f"a function, {guard.target}; each worker loads it at its start")
    url = mask_url(guard.url)
    advice = f"check upstreams.{name}.guard: url, api_key and headers"
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await build_http_guard(name, guard, session).open(_CONTEXT).check(_WINDOW)
    except TimeoutError:
        return fail(
            check, f"{url}: the guard took longer than {_TIMEOUT_SECONDS:g} seconds", advice
        )
    except (GuardFailed, OperatorError) as error:
        return fail(check, f"{url}: {error}", advice)
    return ok(check, f"{url} answers with a verdict")
