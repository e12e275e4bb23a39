"""Pictures of the pages, each in the light and the dark scheme."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.async_api import Browser, Page, expect

from tests.e2e.conftest import Dev
from tests.e2e.test_inbox_element import Shop

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
_WIDE: Final = {"width": 1280, "height": 800}
_PHONE: Final = {"width": 390, "height": 844}
_MAX_COLOURS: Final = 256  # of a PNG with a palette, which has a third of the bytes
_SPARKLINE_SECONDS: Final = 60  # until the charts of the console show something
_TIMEOUT_MS: Final = 120_000
expect.set_options(timeout=_TIMEOUT_MS)


async def open_page(browser: Browser, url: str, size: dict[str, int]) -> Page:
    """Open a page in a context of its own."""
    context = await browser.new_context(viewport=size)  # type: ignore[arg-type]
    context.set_default_timeout(_TIMEOUT_MS)
    page = await context.new_page()
    await page.goto(url)
    return page


async def keep(page: Page, name: str) -> None:
    """Write the page as `<name>-light.png` and `<name>-dark.png`."""
    await page.mouse.move(0, 0)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        picture = Image.open(io.BytesIO(await page.screenshot(animations="disabled")))
        reduced = picture.convert("RGB").quantize(_MAX_COLOURS, dither=Image.Dither.NONE)
        reduced.save(IMAGES / f"{name}-{scheme}.png", optimize=True)
    await page.emulate_media(color_scheme="light")


async def ask(page: Page, prompt: str) -> None:
    """Ask on the demo page."""
    await page.get_by_label("Your question").fill(prompt)
    await page.keyboard.press("Enter")


async def expect_done(page: Page) -> None:
    """Wait until the newest answer on the demo page is done."""
    answer = page.get_by_test_id("answer").last
    await expect(answer).to_have_attribute("data-status", "done")


async def take_demo(browser: Browser, dev: Dev) -> None:
    """The demo page while an answer grows, and on a phone in Chinese and Arabic."""
    page = await open_page(browser, f"{dev.url}/?user=alice", _WIDE)
    await ask(page, "why is the sky blue?")
    text = page.get_by_test_id("answer-text")
    await expect(text).to_have_text(re.compile("Sunlight holds all colours"))
    dev.publish("alice", {"title": "Your export is ready", "file": "q3.xlsx"})
    await expect(page.get_by_test_id("notification")).to_be_visible()
    await keep(page, "demo")
    await page.context.close()

    page = await open_page(browser, f"{dev.url}/?user=amal", _PHONE)
    for prompt in ("为什么天空是蓝色的？", "لماذا السماء زرقاء؟"):
        await ask(page, prompt)
        await expect_done(page)
    await keep(page, "demo-narrow")
    await page.context.close()


async def take_console(browser: Browser, dev: Dev) -> None:
    """The first screen of the console, and an answer that a second worker continued."""
    page = await open_page(browser, f"{dev.internal_url}/console", _WIDE)
    readers = [await open_page(browser, f"{dev.url}/?user=u{n}", _PHONE) for n in range(4)]
    for n in range(_SPARKLINE_SECONDS):
        if n % 6 == 0:
            await ask(readers[n // 6 % len(readers)], "why is the sky blue?")
        dev.publish(f"u{n % len(readers)}", {"title": f"Order {n} shipped"})
        await asyncio.sleep(1)
    await keep(page, "console")
    for reader in readers:
        await reader.context.close()

    started = dev.call("POST", "/generations?user=oskar", {"prompt": "count to 400"})
    generation = started["generation"]
    await page.goto(f"{dev.internal_url}/console#/answer/{generation}")
    await expect(page.locator("#answer-parts")).to_contain_text(" 50 ")
    demo = await open_page(browser, f"{dev.url}/?user=oskar", _WIDE)
    await demo.get_by_role("button", name="Kill the worker").click()
    await expect(page.locator("#answer-status")).to_have_text("done")
    await keep(page, "console-answer")
    await demo.context.close()
    await page.context.close()


async def take_inbox(browser: Browser, dev: Dev) -> None:
    """The component of the inbox on a page of a shop."""
    shop = Shop(browser, dev, "paula")
    shop.publish("Order 981 shipped", body="It arrives on Friday.", icon="📦", url="/orders/981")
    shop.publish("Your invoice is ready", body="Teapot, 1 item", icon="🧾", url="/invoices/17")
    for name, viewport in (("inbox", {"width": 760, "height": 420}), ("inbox-phone", _PHONE)):
        opened = await shop.open(viewport=viewport, reduced_motion="reduce")
        await opened.expect_number(2)
        await opened.button.click()
        await expect(opened.items).to_have_count(2)
        await keep(opened.page, name)
        await opened.page.context.close()
