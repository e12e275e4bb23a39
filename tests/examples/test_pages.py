"""The chat page, the Vue example and the React example in Chromium."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from tests.chromium import open_chromium
from tests.examples.sites import Sites, port_of

_TIMEOUT_MS = 60_000
_FIRST_WORDS = re.compile("^1 2 3 4 5 ")

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one browser for all
each = pytest.mark.parametrize("example", ["chat-page", "vue", "react"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(running: Sites) -> AsyncIterator[Browser]:
    """The system's Chromium, headless; it maps the ports in the examples to the free ones."""
    rules = f"--host-resolver-rules={running.resolver_rules}"
    async with open_chromium(rules) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, example: str) -> AsyncIterator[Page]:
    """Open the example with a user of its own. A page error fails the test."""
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(90_000)  # the first page takes long on a busy machine
    errors: list[str] = []

    def on_console_message(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", on_console_message)
    await page.goto(f"http://127.0.0.1:{port_of(example)}/?user={example}")
    await expect(page.get_by_text("Connection: live")).to_be_visible(timeout=_TIMEOUT_MS)
    yield page
    await context.close()
    assert not errors


async def ask(page: Page, prompt: str) -> None:
    """Ask by keyboard."""
    await page.get_by_label("Your question").fill(prompt)
    await page.keyboard.press("Enter")


def running_generations(running: Sites, user: str) -> list[str]:
    """Return the ids of the user's running generations."""
    generations = running.hub.call("GET", "/generations", internal=True)["generations"]
    return [
        each["generation"]
        for each in generations
        if (each["user"], each["status"]) == (user, "running")
    ]


def get_snapshot(running: Sites, generation: str, user: str) -> Any:
    """Return the snapshot of a generation."""
    return running.hub.call("GET", f"/generations/{generation}?user={user}")


async def expect_text(page: Page, text: str | re.Pattern[str], *, busy: bool) -> None:
    """Expect the text of the newest answer, which is still running if `busy`."""
    shown = page.locator(f"p[aria-busy={str(busy).lower()}]").last
    await expect(shown).to_have_text(text, timeout=_TIMEOUT_MS)


async def stop(page: Page) -> None:
    """Press Stop and wait until the answer is stopped.

    The button is above the text. Below it, the button moves with each new line, and a press that
    is released beside it is no click.
    """
    button = page.get_by_role("button", name="Stop")
    button_box = await button.bounding_box()
    text_box = await page.locator("p[aria-busy=true]").last.bounding_box()
    assert button_box is not None
    assert text_box is not None
    assert button_box["y"] + button_box["height"] <= text_box["y"]
    await button.click()
    await expect(page.get_by_text("stopped", exact=True)).to_be_visible(timeout=_TIMEOUT_MS)


@each
async def test_answer_continues_after_a_reload(page: Page, running: Sites, example: str) -> None:
    """The page shows tokens and a notification while the answer runs. After a reload in the middle
    it has the whole text.
    """
    await ask(page, "count to 5000")
    await expect_text(page, _FIRST_WORDS, busy=True)
    running.hub.publish(example, {"title": "Your export is ready"})
    await expect(page.get_by_text("Your export is ready")).to_be_visible()
    (generation,) = running_generations(running, example)
    await page.reload()
    at_reload = get_snapshot(running, generation, example)["text"]
    await expect_text(page, re.compile(f"^{at_reload}.+"), busy=True)
    assert running_generations(running, example) == [generation]
    await stop(page)
    await expect_text(page, get_snapshot(running, generation, example)["text"], busy=False)


@each
async def test_answer_is_stopped_and_restarted(page: Page, running: Sites, example: str) -> None:
    """Stop ends the generation and keeps its text; Restart starts another one."""
    await ask(page, "count to 5000")
    await expect_text(page, _FIRST_WORDS, busy=True)
    (first,) = running_generations(running, example)
    await stop(page)
    await expect_text(page, _FIRST_WORDS, busy=False)
    await page.get_by_role("button", name="Restart").click()
    await expect_text(page, _FIRST_WORDS, busy=True)
    (second,) = running_generations(running, example)
    assert second != first
    await stop(page)
    assert running_generations(running, example) == []
    await ask(page, "count to 5")
    await expect(page.get_by_text("done", exact=True)).to_be_visible(timeout=_TIMEOUT_MS)
    await expect_text(page, "1 2 3 4 5\n\n(simulated answer)", busy=False)


@pytest.mark.parametrize("example", ["chat-page"])
async def test_next_question_contains_the_conversation(page: Page, running: Sites) -> None:
    """The next request contains the conversation, also after a reload."""
    await ask(page, "count to 2")
    await expect_text(page, re.compile("^1 2\n"), busy=False)
    await page.reload()
    await expect_text(page, re.compile("^1 2\n"), busy=False)
    await ask(page, "count to 3")
    await expect_text(page, re.compile("^1 2 3\n"), busy=False)
    (_, second) = await page.evaluate("JSON.parse(sessionStorage['chat of chat-page'])")
    messages = get_snapshot(running, second["generation"], "chat-page")["messages"]
    conversation = [(each["role"], each["content"].partition("\n")[0]) for each in messages]
    assert conversation == [("user", "count to 2"), ("assistant", "1 2"), ("user", "count to 3")]


@pytest.mark.parametrize("example", ["vue", "react"])
async def test_inbox(page: Page, running: Sites, example: str) -> None:
    """The page shows what is kept for the user, before and after a reload, and changes it."""
    for title in ("Order 981 has shipped", "Your export is ready"):
        body = {"to": {"user": example}, "event": "kept", "data": {"title": title}, "inbox": True}
        running.hub.call("POST", "/publish", body, internal=True)
    heading, items = page.get_by_role("heading", name="Inbox"), page.get_by_role("listitem")
    await expect(heading).to_have_text("Inbox, 2 unread")
    await page.reload()
    await expect(items).to_contain_text(["Your export is ready", "Order 981 has shipped"])
    await items.nth(0).get_by_role("button", name="Mark as read").click()
    await expect(heading).to_have_text("Inbox, 1 unread")
    for left in (1, 0):
        await items.nth(0).get_by_role("button", name="Archive").click()
        await expect(items).to_have_count(left)
    await expect(heading).to_have_text("Inbox, 0 unread")
