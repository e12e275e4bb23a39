"""The operators' page in Chromium: a walk over its views on a running hub, its key, and its size.

At the stops of the walk, axe finds no violation in the light and the dark scheme, nothing is wider
than the screen, and no request has left the origin.
"""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.core.channel import user_channel
from hub.core.fair_queue import Job
from hub.core.generation import Generation, GenerationRequest, Message, new_generation_id
from hub.engine.tasks import Supervisor, SystemClock
from hub.testing.queue import MemoryGenerationQueue
from hub.transports.sse import SseEventEncoder
from hub.wiring.node_parts import start_node_tasks
from tests.chromium import new_context
from tests.conftest import missing
from tests.doubles import FakeClock, FakeWriter, new_connection
from tests.e2e.conftest import Dev
from tests.e2e.test_page_walk import AXE, Walk
from tests.http.kit import SETTINGS, Hub, running_hub

MAX_NODES: Final = 3000
# If all of them were on the page, it would have many times as many elements and bytes.
CONNECTIONS: Final = 100_000
ANSWERS: Final = 10_000
MAX_FIRST_LOAD_BYTES: Final = 60_000
pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's


async def open_console(page: Page, url: str) -> None:
    """Open the page, and wait until it is live."""
    await page.goto(url, wait_until="commit")
    await expect(page.locator("#state")).to_have_text("live")


async def _check(walk: Walk, stop: str) -> None:
    """Check a stop on a wide screen and on a phone."""
    for width in (1280, 390):
        await walk.page.set_viewport_size({"width": width, "height": 844})
        await walk.check(f"{stop}, {width} px")
    await walk.page.set_viewport_size({"width": 1280, "height": 844})


async def test_walk(browser: Browser, dev: Dev) -> None:
    """From the first screen to an answer, its user, the live tail, and the buttons."""
    if not AXE.exists():
        missing("axe-core, which scripts/test installs,")
    context = await new_context(browser, viewport={"width": 1280, "height": 844})
    page = await context.new_page()
    walk = Walk(page, dev.internal_url)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{dev.url}/sse/connect/oskar?topics=news") as stream,
    ):
        await open_console(page, f"{dev.internal_url}/console")
        await page.evaluate(f"{AXE.read_text()};undefined")
        processes = page.locator("#processes tbody tr")
        await expect(processes.filter(has_text="serving")).to_have_count(1)
        await expect(processes.filter(has_text="works")).to_have_count(1)
        for tile in ("connections", "delay", "memory", "workers"):
            await expect(page.locator(f"#tile-{tile} .value")).to_have_text(re.compile(r"\d"))
            await expect(page.locator(f"#tile-{tile}")).to_have_attribute(
                "title", re.compile("hub_")
            )
        await _check(walk, "overview")

        started = dev.call("POST", "/generations?user=oskar", {"prompt": "count to 9999"})
        generation = started["generation"]
        await page.get_by_role("link", name="Answers").click()
        await page.locator("#answers").get_by_role("link", name=generation).click()
        await expect(page.locator("#answer-status")).to_have_text("running")
        await expect(page.locator("#answer-parts")).to_contain_text("1 2 3")
        await expect(page.locator("#timeline li")).to_have_text(
            [re.compile(text) for text in ("Requested", "Claimed", "First delta", "Now: running")]
        )
        await _check(walk, "answer")
        await page.get_by_role("button", name="Stop").click()
        await page.get_by_role("dialog").get_by_role("button", name="Stop").click()
        await expect(page.locator("#answer-status")).to_have_text("stopped")
        await expect(page.locator("#answer-facts")).to_contain_text("hub operator")
        await expect(page.locator("#actions")).to_contain_text(f"Stopped the answer {generation}")

        await page.get_by_role("searchbox", name="Find").fill("oskar")
        await page.keyboard.press("Enter")
        await expect(page.locator("#user-connections")).to_contain_text("news")
        await expect(page.locator("#user-answers")).to_contain_text(generation)
        await expect(page.locator("#user-events tr", has_text="generation.delta")).to_have_count(1)
        await expect(page.locator("#user-facts")).to_contain_text("Stored of the budget")
        await _check(walk, "user")

        await page.get_by_role("link", name="Live tail").last.click()
        await expect(page.locator("#tail-state")).to_contain_text("live")
        dev.publish("oskar", {"title": "Hello <b>console</b>"})
        await expect(page.locator("#tail")).to_contain_text("Hello <b>console</b>")
        await page.get_by_role("button", name="Pause").click()
        dev.publish("oskar", {"title": "while paused"})
        await expect(page.locator("#tail-state")).to_contain_text("paused, live, 2 events")
        await expect(page.locator("#tail")).not_to_contain_text("while paused")
        await page.get_by_role("button", name="Go on").click()
        await expect(page.locator("#tail")).to_contain_text("while paused")
        await page.get_by_label("Filter").fill("hello")
        await expect(page.locator("#tail tbody tr")).to_have_count(1)
        await _check(walk, "tail")

        await page.go_back()
        await page.get_by_role("button", name="Disconnect").click()
        await page.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
        await expect(page.locator("#user-connections")).to_contain_text("not connected")
        assert '"reason":"disconnected"' in (await stream.content.read()).decode()


@pytest_asyncio.fixture(loop_scope="session")
async def big_hub() -> AsyncIterator[Hub]:
    """A full node in this process: it has all of its connections, and many answers that wait."""
    keys = ApiKeys([ApiKey("reader", hash_key("look-look"), frozenset({"read"}))])
    stream = SETTINGS.stream.model_copy(update={"max_connections": CONNECTIONS})
    async with running_hub(keys=keys, tables={"stream": stream}) as hub:
        await _fill(hub)
        async with Supervisor(SystemClock()) as tasks:
            start_node_tasks(hub.node, tasks)
            yield hub


async def _fill(hub: Hub) -> None:
    connections: Any = hub.node.connections
    channels = [user_channel("zoe")]
    model = new_connection("zoe", channels, FakeWriter(), FakeClock(), encoder=SseEventEncoder())
    for number in range(CONNECTIONS):
        connection = copy.copy(model)
        connection.id = f"c_{number:016x}"
        connections._connections[connection] = None
    assert isinstance(hub.backend.queue, MemoryGenerationQueue)
    request = GenerationRequest([Message("user", "hi")], upstream="main", model="m1")
    for number in range(ANSWERS):
        generation = Generation(new_generation_id(0), f"user{number}", request)
        await hub.backend.generations.create(generation, None)
        await hub.backend.queue.enqueue(Job(generation.id, generation.user, "main"))


async def _size(page: Page) -> int:
    size: int = await page.evaluate("document.querySelectorAll('*').length")
    return size


async def test_key_and_size(browser: Browser, big_hub: Hub) -> None:
    """Without a key nothing is shown and a wrong one is refused. However much the hub has, the page
    has few elements and loads few bytes.
    """
    page = await (await new_context(browser)).new_page()
    sizes: dict[str, float] = {}
    network = await page.context.new_cdp_session(page)
    await network.send("Network.enable")
    network.on(
        "Network.loadingFinished", lambda e: sizes.update({e["requestId"]: e["encodedDataLength"]})
    )
    url = f"http://127.0.0.1:{big_hub.internal_port}/console"
    response = await page.goto(url, wait_until="commit")
    assert response is not None
    assert "unsafe" not in response.headers["content-security-policy"]
    await expect(page.get_by_label("Key", exact=True)).to_be_visible()
    assert sum(sizes.values()) < MAX_FIRST_LOAD_BYTES, sizes
    for key in ("wrong", "look-look"):
        await page.get_by_label("Key", exact=True).fill(key)
        await page.keyboard.press("Enter")
        if key == "wrong":
            await expect(page.locator("#login-error")).to_contain_text("key")
    await expect(page.locator("#tile-connections .value")).to_contain_text("100")
    await expect(page.locator("#tile-queued .value")).to_contain_text("10")
    await page.get_by_role("link", name="Connections").click()
    await expect(page.locator("#connections-total")).to_have_text(re.compile(r"100.00\d"))
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator("#connections tbody tr").first).to_contain_text(f"c_{50:016x}")
    assert await page.locator("#connections tbody tr").count() == 50
    await page.get_by_role("link", name="Answers").click()
    await expect(page.locator("#answers-total")).to_have_text(re.compile("10.000"))
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator("#answers-pager")).to_contain_text("26 to 50")
    assert await _size(page) < MAX_NODES
