"""`useChat` of `@ai-sdk/react` in Chromium: what is on a user's screen over a reload, a stop and a
broken connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import groupby, pairwise
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Page, Response
from playwright.async_api import TimeoutError as PlaywrightTimeout

from tests.interop.conftest import Programs
from tests.interop.hub_site import Site
from tests.interop.wordy_llm import ANSWER, HALF

pytestmark = pytest.mark.asyncio(loop_scope="session")
QUESTION = "Say it, and wait"  # in the middle, until `release`
_IS_SHOWN = """([status, texts]) => {
  const now = shown.at(-1);
  return now?.status === status && JSON.stringify(now.texts) === JSON.stringify(texts);
}"""


class Chat:
    """The page (`js/use_chat.jsx`) and its user."""

    def __init__(self, page: Page, hub: Site, user: str) -> None:
        self._page = page
        self._hub = hub
        self._user = user

    async def press(self, button: str) -> None:
        """One of the page's."""
        await self._page.get_by_role("button", name=button, exact=True).click()

    async def load(self, url: str) -> Response:
        """Opens the page; what it is answered when it resumes."""
        async with self._page.expect_response("**/v1/ui/chat/*/stream*") as answered:
            await self._page.goto(url)
        return await answered.value

    async def reload(self, *, ended: str = "") -> Response:
        """As a user does; ended: `too` where the page wants an answer that ended meanwhile."""
        return await self.load(f"{self._page.url.partition('&ended')[0]}&ended={ended}")

    async def show_again(self) -> None:
        """The tab, as after another one was in front of it."""
        await self._page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')

    async def shows(self, status: str, *texts: str) -> None:
        """Waits until the page has this status, and these messages and no other."""
        try:
            await self._page.wait_for_function(_IS_SHOWN, arg=[status, texts], timeout=15_000)
        except PlaywrightTimeout:
            now = await self._page.evaluate("shown.at(-1)")
            pytest.fail(f"not {status} with {texts}, but {now}")

    async def asked(self) -> None:
        """Asks, and waits for the half after which the LLM waits."""
        await self.press("Ask")
        await self.shows("streaming", QUESTION, HALF)

    async def history(self) -> list[tuple[str, list[str]]]:
        """Each status and its messages that have been on the screen since the page was loaded."""
        found = await self._page.evaluate("shown.map(({ status, texts }) => [status, texts])")
        return [(status, texts) for status, texts in found]

    async def until(self, status: str) -> None:
        """The answer that the page shows, at the hub."""
        generation = await self._page.evaluate("shown.at(-1).metadata.generation")
        await self._hub.until_status(self._user, generation, status)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tab(programs: Programs) -> AsyncIterator[Page]:
    """The same for all: one more takes as long as a test."""
    browser = await programs.browser()
    async with browser.tab() as page:
        yield page


async def opened(tab: Page, hub: Site, url: str | None = None) -> Chat:
    """The page at the hub or at another URL, with a user and a chat of its own."""
    user = hub.user()
    query = urlencode({"chat": f"chat of {user}", "token": hub.token(user)})
    chat = Chat(tab, hub, user)
    resumed = await chat.load(f"{url or hub.url}/interop/use_chat.html?{query}")
    assert resumed.status == 204
    return chat


async def test_text_grows_on_the_screen(hub: Site, tab: Page) -> None:
    """Piece by piece, each state once, and the end is whole."""
    chat = await opened(tab, hub)
    await chat.asked()
    hub.wordy.release()
    await chat.shows("ready", QUESTION, ANSWER)
    history = await chat.history()
    assert [status for status, _ in groupby(status for status, _ in history)] == [
        *("ready", "submitted", "streaming", "ready"),
    ]
    grown = [texts[1] for _, texts in history if len(texts) > 1]
    assert len(set(grown)) > 5
    assert all(after.startswith(before) for before, after in pairwise(grown))


async def test_reload_in_the_middle_goes_on(hub: Site, tab: Page) -> None:
    """The part that the page had is replaced by the message that goes on: none is there twice."""
    chat = await opened(tab, hub)
    await chat.asked()
    await chat.reload()
    await chat.shows("streaming", QUESTION, HALF)
    hub.wordy.release()
    await chat.shows("ready", QUESTION, ANSWER)
    assert max(len(texts) for _, texts in await chat.history()) == 2


async def test_stop_by_the_hub_and_regenerate(hub: Site, tab: Page) -> None:
    """The page sees the end, keeps what it has, and `regenerate` gives another answer, whole."""
    chat = await opened(tab, hub)
    await chat.asked()
    await chat.press("Stop")
    await chat.shows("ready", QUESTION, HALF)
    await chat.until("stopped")
    await chat.press("Again")
    await chat.shows("streaming", QUESTION, HALF)
    hub.wordy.release()
    await chat.shows("ready", QUESTION, ANSWER)
    await chat.until("done")


async def test_stop_of_the_hook_only_leaves(hub: Site, tab: Page) -> None:
    """The answer goes on. When it has ended, a reload shows it whole to a page that resumes by
    index, and to no other.
    """
    chat = await opened(tab, hub)
    await chat.asked()
    await chat.press("Leave")
    await chat.shows("ready", QUESTION, HALF)
    await chat.until("running")
    hub.wordy.release()
    await chat.until("done")
    assert (await chat.reload()).status == 204
    await chat.shows("ready", QUESTION, HALF)
    await chat.reload(ended="too")
    await chat.shows("ready", QUESTION, ANSWER)


async def test_resume_by_index_where_nothing_was_asked(hub: Site, tab: Page) -> None:
    """There is no message, and no error."""
    chat = await opened(tab, hub)
    resumed = await chat.reload(ended="too")
    assert resumed.status == 200
    await resumed.finished()
    await chat.shows("ready")


async def test_broken_connection(hub: Site, tab: Page) -> None:
    """The page is told. It goes on by itself when its tab is shown again, or when it asks to."""
    async with hub.proxied() as (proxy, url):
        chat = await opened(tab, hub, url)
        await chat.asked()
        proxy.reset_all()
        await chat.shows("error", QUESTION, HALF)
        await chat.show_again()
        await chat.shows("streaming", QUESTION, HALF)
        proxy.reset_all()
        await chat.shows("error", QUESTION, HALF)
        await chat.press("Come back")
        await chat.shows("streaming", QUESTION, HALF)
        hub.wordy.release()
        await chat.shows("ready", QUESTION, ANSWER)
        assert max(len(texts) for _, texts in await chat.history()) == 2
