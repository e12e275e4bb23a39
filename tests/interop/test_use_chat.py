"""Test `useChat` of `@ai-sdk/react` in Chromium over a reload, a stop and a broken connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import groupby, pairwise
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Page, Response
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.interop.conftest import Programs
from tests.interop.running_hub import RunningHub
from tests.interop.wordy_llm import ANSWER, HALF

pytestmark = pytest.mark.asyncio(loop_scope="session")
PROMPT = "Say it, and wait"  # the LLM waits in the middle until `release`
_TIMEOUT_MS = 60_000
_IS_SHOWN = """([status, texts]) => {
  const now = shown.at(-1);
  return now?.status === status && JSON.stringify(now.texts) === JSON.stringify(texts);
}"""


class Chat:
    """The page of `js/use_chat.jsx` and its user."""

    def __init__(self, page: Page, hub: RunningHub, user: str) -> None:
        self._page = page
        self._hub = hub
        self._user = user

    async def press(self, button: str) -> None:
        """Press a button of the page."""
        await self._page.get_by_role("button", name=button, exact=True).click()

    async def load(self, url: str) -> Response:
        """Open the page; return the response to its resume request."""
        async with self._page.expect_response("**/v1/ui/chat/*/stream*") as response:
            await self._page.goto(url)
        return await response.value

    async def reload(self, *, ended: str = "") -> Response:
        """Reload the page; ended: `too` if the page also requests an answer that has ended."""
        return await self.load(f"{self._page.url.partition('&ended')[0]}&ended={ended}")

    async def show_again(self) -> None:
        """Make the tab visible, as after a switch from another tab."""
        await self._page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')

    async def shows(self, status: str, *texts: str) -> None:
        """Wait until the page has this status and exactly these messages."""
        try:
            await self._page.wait_for_function(_IS_SHOWN, arg=[status, texts], timeout=_TIMEOUT_MS)
        except PlaywrightTimeout:
            now = await self._page.evaluate("shown.at(-1)")
            pytest.fail(f"expected {status} with {texts}, got {now}")

    async def finished(self) -> list[dict[str, bool]]:
        """Wait until the hook has finished with a response; return how each response ended.

        Response.finished() does not serve: the hook cancels the request at `[DONE]`, and Playwright
        then waits for ever unless the last bytes came first.
        """
        await self._page.wait_for_function("finished.length > 0", timeout=_TIMEOUT_MS)
        ends: list[dict[str, bool]] = await self._page.evaluate("finished")
        return ends

    async def start(self) -> None:
        """Send the prompt and wait for the first half of the answer."""
        await self.press("Ask")
        await self.shows("streaming", PROMPT, HALF)

    async def history(self) -> list[tuple[str, list[str]]]:
        """Return each status and its messages since the page was loaded."""
        states = await self._page.evaluate("shown.map(({ status, texts }) => [status, texts])")
        return [(status, texts) for status, texts in states]

    async def until(self, status: str) -> None:
        """Wait until the generation of the shown answer has a status at the hub."""
        generation = await self._page.evaluate("shown.at(-1).metadata.generation")
        await self._hub.wait_for_status(self._user, generation, status)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tab(programs: Programs) -> AsyncIterator[Page]:
    """Yield one tab for all tests, because opening a tab is slow."""
    browser = await programs.browser()
    async with browser.tab() as page:
        yield page


async def open_chat(tab: Page, hub: RunningHub, url: str | None = None) -> Chat:
    """Open the page with a new user and chat; url: the hub by default."""
    user = hub.user()
    query = urlencode({"chat": f"chat of {user}", "token": hub.token(user)})
    chat = Chat(tab, hub, user)
    resumed = await chat.load(f"{url or hub.url}/interop/use_chat.html?{query}")
    assert resumed.status == 204
    return chat


async def test_text_grows_on_the_screen(hub: RunningHub, tab: Page) -> None:
    """The text grows, each status appears once, and the answer is complete."""
    chat = await open_chat(tab, hub)
    await chat.start()
    hub.wordy.release()
    await chat.shows("ready", PROMPT, ANSWER)
    history = await chat.history()
    assert [status for status, _ in groupby(status for status, _ in history)] == [
        *("ready", "submitted", "streaming", "ready"),
    ]
    grown = [texts[1] for _, texts in history if len(texts) > 1]
    assert len(set(grown)) > 5
    assert all(after.startswith(before) for before, after in pairwise(grown))


async def test_reload_during_an_answer(hub: RunningHub, tab: Page) -> None:
    """The resumed message replaces the part that the page had; no text appears twice."""
    chat = await open_chat(tab, hub)
    await chat.start()
    await chat.reload()
    await chat.shows("streaming", PROMPT, HALF)
    hub.wordy.release()
    await chat.shows("ready", PROMPT, ANSWER)
    assert max(len(texts) for _, texts in await chat.history()) == 2


async def test_stop_by_the_hub_and_regenerate(hub: RunningHub, tab: Page) -> None:
    """After a stop the page keeps its text, and `regenerate` gives another, complete answer."""
    chat = await open_chat(tab, hub)
    await chat.start()
    await chat.press("Stop")
    await chat.shows("ready", PROMPT, HALF)
    await chat.until("stopped")
    await chat.press("Again")
    await chat.shows("streaming", PROMPT, HALF)
    hub.wordy.release()
    await chat.shows("ready", PROMPT, ANSWER)
    await chat.until("done")


async def test_stop_of_the_hook_only_disconnects(hub: RunningHub, tab: Page) -> None:
    """`stop()` does not stop the answer; later, only a page that resumes by index receives it."""
    chat = await open_chat(tab, hub)
    await chat.start()
    await chat.press("Disconnect")
    await chat.shows("ready", PROMPT, HALF)
    await chat.until("running")
    hub.wordy.release()
    await chat.until("done")
    assert (await chat.reload()).status == 204
    await chat.shows("ready", PROMPT, HALF)
    await chat.reload(ended="too")
    await chat.shows("ready", PROMPT, ANSWER)


async def test_resume_by_index_without_an_answer(hub: RunningHub, tab: Page) -> None:
    """The page shows neither a message nor an error."""
    chat = await open_chat(tab, hub)
    resumed = await chat.reload(ended="too")
    assert resumed.status == 200
    assert await chat.finished() == [
        {"isAbort": False, "isDisconnect": False, "isError": False},
    ]
    await chat.shows("ready")


async def test_broken_connection(hub: RunningHub, tab: Page) -> None:
    """The page shows an error. It resumes when its tab becomes visible, or with resumeStream()."""
    async with hub.proxied() as (proxy, url):
        chat = await open_chat(tab, hub, url)
        await chat.start()
        proxy.reset_all()
        await chat.shows("error", PROMPT, HALF)
        await chat.show_again()
        await chat.shows("streaming", PROMPT, HALF)
        proxy.reset_all()
        await chat.shows("error", PROMPT, HALF)
        await chat.press("Resume")
        await chat.shows("streaming", PROMPT, HALF)
        hub.wordy.release()
        await chat.shows("ready", PROMPT, ANSWER)
        assert max(len(texts) for _, texts in await chat.history()) == 2
