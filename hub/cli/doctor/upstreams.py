"""Do the LLM endpoints answer, and take their keys?"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from hub.cli.doctor.result import CheckResult, fail, ok, warn
from hub.settings.models import Upstream


async def check_upstreams(
    session: aiohttp.ClientSession, upstreams: Mapping[str, Upstream]
) -> list[CheckResult]:
    """One finding for each."""
    if not upstreams:
        advice = "set HUB_UPSTREAMS__MAIN__BASE_URL (and __API_KEY) for answers from an LLM"
        return [warn("upstreams", "none is set", advice)]
    return await asyncio.gather(*(_ask(session, *each) for each in upstreams.items()))


async def _ask(session: aiohttp.ClientSession, name: str, upstream: Upstream) -> CheckResult:
    check, setting = f"upstream {name}", f"HUB_UPSTREAMS__{name.upper()}"
    headers = {}
    if upstream.api_key is not None:
        headers["Authorization"] = f"Bearer {upstream.api_key.get_secret_value()}"
    try:
        url = upstream.base_url.rstrip("/") + "/models"
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            if response.status in (401, 403):
                return fail(
                    check, f"{upstream.base_url} refuses the key", f"set {setting}__API_KEY"
                )
            return ok(check, f"{upstream.base_url} answers {response.status}")
    except (aiohttp.ClientError, TimeoutError) as error:
        found = f"{upstream.base_url} does not answer: {error}"
        return fail(check, found, f"look at {setting}__BASE_URL")
