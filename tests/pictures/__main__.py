"""Run with `scripts/pictures`: start `hub dev` and a browser, and make the named pictures."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from playwright.async_api import Browser

from tests.chromium import open_chromium
from tests.e2e.conftest import Dev
from tests.pictures.pages import take_console, take_demo, take_inbox
from tests.pictures.recording import record_takeover

_PICTURES: Final[Mapping[str, Callable[[Browser, Dev], Awaitable[None]]]] = {
    "demo": take_demo,
    "console": take_console,
    "inbox": take_inbox,
    "recording": record_takeover,
}
_TOKENS_PER_SECOND: Final = "20"
_ENV: Final = {
    "HUB_WORKER__LEASE_SECONDS": "3",  # how long after a killed worker another one continues
    "HUB_DEFAULT_UPSTREAM": "simulated",  # an LLM whose answers another worker can read on
    "HUB_UPSTREAMS__SIMULATED__BASE_URL": "http://127.0.0.1/v1",  # hub dev sets the port
    "HUB_UPSTREAMS__SIMULATED__KIND": "openai-responses",
    "HUB_UPSTREAMS__SIMULATED__BACKGROUND": "true",
}


async def _make(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dev = Dev(Path(folder), "--tokens-per-second", _TOKENS_PER_SECOND, env=_ENV)
        try:
            dev.wait_until_ready()
            async with open_chromium() as browser:
                for name in names:
                    await _PICTURES[name](browser, dev)
        finally:
            dev.stop()


def main() -> None:
    """Make the pictures that the arguments name, or all of them."""
    names = sys.argv[1:] or [*_PICTURES]
    if unknown := set(names) - {*_PICTURES}:
        sys.exit(f"there is no {', '.join(sorted(unknown))}; name some of {', '.join(_PICTURES)}")
    asyncio.run(_make(names))


if __name__ == "__main__":
    main()
