"""The browser of the tests: the Chromium of the system, without a window.

The headless shell of Chromium is preferred: the same engine without the parts that draw windows.
A page costs it about a third of the CPU time. Debian has it as a package of its own.

Tests share the browser of their process (the fixture `browser` of tests/conftest.py), and open
contexts of their own, which share no storage. Only tests with other flags, and those of
tests/docs, tests/examples and tests/interop, start a browser with `open_chromium`.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, async_playwright

_SHELL: Final = "chromium-headless-shell"
_WHOLE: Final = ("chromium", "chromium-browser")
_FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
_TIMEOUT_MS: Final = 90_000  # the first page of a browser takes long on a busy machine


@asynccontextmanager
async def open_chromium(*flags: str, whole: bool = False) -> AsyncIterator[Browser]:
    """Start the browser; stop it at the end of the block.

    flags: further arguments of its command line. whole: start Chromium itself, for what its
    headless shell lacks, such as notifications of the system.
    """
    programs = _WHOLE if whole else (_SHELL, *_WHOLE)
    path = next(filter(None, map(shutil.which, programs)), None)
    if path is None:
        from tests.conftest import missing  # here, because it imports this module

        missing("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*_FLAGS, *flags])
        yield browser
        await browser.close()


async def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """Open a context for the pages of one test. options: those of `Browser.new_context`.

    The pages are asked for less motion: an animation that never ends, such as that of an answer
    that grows, makes the browser draw 60 frames per second, which costs half of its CPU time.
    """
    context = await browser.new_context(**{"reduced_motion": "reduce", **options})
    context.set_default_timeout(_TIMEOUT_MS)
    return context
