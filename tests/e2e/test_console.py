"""The operators' page in Chromium with a real hub."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.chromium import open_chromium
from tests.e2e.conftest import Dev
from tests.faults import FaultProxy
from tests.processes import Node, Valkey

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "console.png"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, headless."""
    async with open_chromium() as browser:
        yield browser


async def open_console(browser: Browser, url: str) -> Page:
    page = await browser.new_page(viewport={"width": 1280, "height": 1250})
    page.set_default_timeout(90_000)  # the first page takes long on a busy machine
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    await page.goto(f"{url}/console")
    return page


async def test_console_shows_and_changes_the_running_state(
    browser: Browser, dev: Dev, request: pytest.FixtureRequest
) -> None:
    """The console shows processes and a growing answer; a user is found, notified, disconnected."""
    async with aiohttp.ClientSession() as session:
        url = f"{dev.url}/sse/connect/oskar?topics=news"
        async with session.get(url) as stream:
            page = await open_console(browser, dev.internal_url)
            await expect(page.locator("#state")).to_have_text("live")
            processes = page.locator("#processes tbody tr")
            await expect(processes).to_have_count(2)
            await expect(processes.filter(has_text="serving")).to_contain_text("users")
            await expect(processes.filter(has_text="worker")).to_contain_text("answers")

            started = dev.call("POST", "/generations?user=oskar", {"prompt": "count to 3000"})
            answer = page.locator("#answers tbody tr", has_text="oskar")
            await expect(answer).to_contain_text("running")
            text = await answer.locator(".tail").text_content()
            await expect(answer.locator(".tail")).not_to_have_text(text or "")

            await answer.get_by_role("button").click()
            await expect(page.locator("#answer-name")).to_contain_text("oskar · running")
            await expect(page.locator("#answer-parts")).to_contain_text("1 2 3")
            dev.call("DELETE", f"/generations/{started['generation']}?user=oskar")
            sample = dev.call("POST", "/generations?user=oskar", {"prompt": "a refund?"})
            await page.get_by_label("Answer id").fill(sample["generation"])
            await page.keyboard.press("Enter")
            parts = page.locator("#answer-parts")
            await expect(parts).to_contain_text("search_handbook")
            await expect(page.locator("#answer-name")).to_contain_text("done")
            for kind in ("step", "tool_call", "source", "data", "text", "file"):
                await expect(parts.get_by_role("cell", name=kind, exact=True).first).to_be_visible()

            kept = {"to": {"user": "oskar"}, "inbox": {"category": "exports"}, "data": {"n": 7}}
            async with session.post(f"{dev.internal_url}/publish", json=kept) as published:
                assert published.status == 200
            receiver = {"url": "https://hooks.example/", "events": ["push.failed"]}
            async with session.post(f"{dev.internal_url}/webhooks", json=receiver) as created:
                assert created.status == 201
            webhooks = page.locator("#webhooks tbody tr", has_text="https://hooks.example/")
            await expect(webhooks).to_contain_text("active")
            await page.get_by_label("User id").fill("oskar")
            await page.keyboard.press("Enter")
            await expect(page.locator("#user-connections")).to_contain_text("news")
            await expect(page.locator("#user-inbox tbody tr")).to_contain_text("exports")
            await expect(page.locator("#inbox-counts")).to_have_text("1 unread, 1 unseen")
            await page.get_by_label("Test notification").fill("Hello from the <b>console</b>")
            await page.get_by_role("button", name="Send").click()
            newest = page.locator("#user-events tbody tr", has_text="<b>console</b>")
            await expect(newest).to_contain_text("notification")
            if request.config.getoption("--keep-pictures"):
                await expect(page.locator("#processes")).to_contain_text(re.compile(r"\d\.\d ms"))
                await page.wait_for_timeout(20_000)  # until the charts have data
                await page.screenshot(path=PICTURE, animations="disabled")

            page.on("dialog", lambda dialog: dialog.accept())
            await page.get_by_role("button", name="Disconnect").click()
            await expect(page.locator("#user-connections")).to_contain_text("not connected")
            received = (await stream.content.read()).decode()
            assert "Hello from the <b>console</b>" in received
            assert '"reason":"disconnected"' in received


async def test_console_asks_for_a_key(browser: Browser, tmp_path: Path) -> None:
    """Without a key nothing is shown, a wrong key is refused, and a read key shows no text."""
    settings = {
        "HUB_AUTH__DISABLED": "false",
        "HUB_AUTH__HMAC_SECRET": "s" * 40,
        "HUB_AUTH__API_KEYS": '[{"key": "look-look-look-look", "scopes": ["read"]}]',
    }
    valkey = Valkey(tmp_path)
    await valkey.start()
    async with FaultProxy(valkey.socket) as proxy, aiohttp.ClientSession() as session:
        node = Node("n1", proxy, tmp_path / "node.log", settings)
        await node.start(session)
        try:
            page = await open_console(browser, node.internal_url)
            await expect(page.get_by_label("Key")).to_be_visible(timeout=15_000)
            await page.get_by_label("Key").fill("wrong")
            await page.keyboard.press("Enter")
            await expect(page.locator("#login-error")).to_contain_text("key")
            await page.get_by_label("Key").fill("look-look-look-look")
            await page.keyboard.press("Enter")
            await expect(page.locator("#processes")).to_contain_text("serving")
            await expect(page.locator("#answers")).to_contain_text("none")
        finally:
            await node.end(signal.SIGKILL)
            await valkey.kill()
