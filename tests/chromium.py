"""The browser of the tests: the Chromium of the system, without a window.

The headless shell of Chromium is preferred: the same engine without the parts that draw windows.
A page costs it about a third of the CPU time. Debian has it as a package of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from playwright.async_api import Browser, async_playwright

from tests.conftest import missing

_SHELL: Final = "chromium-headless-shell"
_WHOLE: Final = ("chromium", "chromium-browser")
_FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@asynccontextmanager
async def open_chromium(*flags: str, whole: bool = False) -> AsyncIterator[Browser]:
    """Start the browser; stop it at the end of the block.

    flags: further arguments of its command line. whole: start Chromium itself, for what its
    headless shell lacks, such as notifications of the system.
    """
    programs = _WHOLE if whole else (_SHELL, *_WHOLE)
    path = next(filter(None, map(shutil.which, programs)), None)
    if path is None:
        missing("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*_FLAGS, *flags])
        yield browser
        await browser.close()
