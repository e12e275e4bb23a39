"""The chat page, the Vue and the React component in Chromium: what a person does and sees."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.conftest import missing
from tests.examples.sites import Sites, port_of, sites

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_PATIENCE_MS = 20_000
_BEGUN = re.compile("^1 2 3 4 5 ")

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one browser for all
each = pytest.mark.parametrize("example", ["chat-page", "vue", "react"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """The hub and the pages' servers."""
    with sites(tmp_path_factory.mktemp("examples")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(running: Sites) -> AsyncIterator[Browser]:
    """The distribution's Chromium, headless, which finds the examples behind their own ports."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("chromium")
    flags = [*_FLAGS, f"--host-resolver-rules={running.resolver_rules}"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, example: str) -> AsyncIterator[Page]:
    """The example, live, as a user of its own; what goes wrong in it fails the test."""
    context = await browser.new_context()
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    await page.goto(f"http://127.0.0.1:{port_of(example)}/?user={example}")
    await expect(page.get_by_text("Connection: live")).to_be_visible(timeout=_PATIENCE_MS)
    yield page
    await context.close()
    assert not faults


async def ask(page: Page, question: str) -> None:
    """By keyboard."""
    await page.get_by_label("Your question").fill(question)
    await page.keyboard.press("Enter")


def running_of(running: Sites, user: str) -> list[str]:
    """The answers that the hub has under way for the user."""
    found = running.hub.call("GET", "/generations", internal=True)["generations"]
    return [
        each["generation"] for each in found if (each["user"], each["status"]) == (user, "running")
    ]


def look(running: Sites, generation: str, user: str) -> Any:
    """What the hub tells of it."""
    return running.hub.call("GET", f"/generations/{generation}?user={user}")


async def expect_text(page: Page, text: str | re.Pattern[str], *, busy: bool) -> None:
    """Of the newest answer, which is still growing, or whole."""
    shown = page.locator(f"p[aria-busy={str(busy).lower()}]").last
    await expect(shown).to_have_text(text, timeout=_PATIENCE_MS)


async def stop(page: Page) -> None:
    """By the button, until it is stopped."""
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("stopped", exact=True)).to_be_visible(timeout=_PATIENCE_MS)


@each
async def test_answer_goes_on_after_a_reload(page: Page, running: Sites, example: str) -> None:
    """Tokens are there while the answer runs, a notification comes in between, and the page that is
    loaded anew in the middle has all of it.
    """
    await ask(page, "count to 5000")
    await expect_text(page, _BEGUN, busy=True)
    running.hub.publish(example, {"title": "Your export is ready"})
    await expect(page.get_by_text("Your export is ready")).to_be_visible()
    (generation,) = running_of(running, example)
    await page.reload()
    at_reload = look(running, generation, example)["text"]
    await expect_text(page, re.compile(f"^{at_reload}.+"), busy=True)
    assert running_of(running, example) == [generation]
    await stop(page)
    await expect_text(page, look(running, generation, example)["text"], busy=False)


@each
async def test_answer_is_stopped_and_restarted(page: Page, running: Sites, example: str) -> None:
    """Stop ends it at the hub and its text stays; Restart begins another. The next one is done."""
    await ask(page, "count to 5000")
    await expect_text(page, _BEGUN, busy=True)
    (first,) = running_of(running, example)
    await stop(page)
    await expect_text(page, _BEGUN, busy=False)
    await page.get_by_role("button", name="Restart").click()
    await expect_text(page, _BEGUN, busy=True)
    (second,) = running_of(running, example)
    assert second != first
    await stop(page)
    assert running_of(running, example) == []
    await ask(page, "count to 5")
    await expect(page.get_by_text("done", exact=True)).to_be_visible(timeout=_PATIENCE_MS)
    await expect_text(page, "1 2 3 4 5\n\n(simulated answer)", busy=False)


@pytest.mark.parametrize("example", ["chat-page"])
async def test_next_question_goes_out_with_what_was_said(page: Page, running: Sites) -> None:
    """The LLM is sent the conversation, which a reload does not forget."""
    await ask(page, "count to 2")
    await expect_text(page, re.compile("^1 2\n"), busy=False)
    await page.reload()
    await expect_text(page, re.compile("^1 2\n"), busy=False)
    await ask(page, "count to 3")
    await expect_text(page, re.compile("^1 2 3\n"), busy=False)
    (_, second) = await page.evaluate("JSON.parse(sessionStorage['chat of chat-page'])")
    found = look(running, second["generation"], "chat-page")["messages"]
    said = [(message["role"], message["content"].partition("\n")[0]) for message in found]
    assert said == [("user", "count to 2"), ("assistant", "1 2"), ("user", "count to 3")]
