"""The demo page and a user who is faster than its requests.

Two actions in one `evaluate` have no task of the browser between them.
"""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.conftest import Dev
from tests.e2e.test_page import REQUEST, ask, expect_live, expect_status, open_page

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's


async def test_press_during_a_new_list(browser: Browser, dev: Dev) -> None:
    """A press on a chat selects it also if the list was loaded again before the release."""
    page = await open_page(browser, dev, "rita")
    await expect_status(await ask(page, "count to 3"), "done")
    await page.get_by_role("button", name="New chat").click()
    await expect_status(await ask(page, "count to 4"), "done")
    chats = page.get_by_role("navigation", name="Chats").get_by_role("listitem")
    await expect(chats).to_have_text(["count to 4", "count to 3"])
    await chats.last.hover()
    await page.mouse.down()
    chat = page.url.rpartition("chat=")[2]  # the order of the chats stays
    async with page.expect_response(
        lambda response: response.request.method == "GET" and "/generations?user" in response.url
    ):
        await asyncio.to_thread(
            dev.call, "POST", "/generations?user=rita", {"prompt": "count to 5", "chat": chat}
        )
    await page.evaluate("() => new Promise(requestAnimationFrame)")
    await page.mouse.up()
    await expect(page.get_by_role("heading", name="count to 3")).to_be_visible()


async def test_message_is_added_once(browser: Browser, dev: Dev) -> None:
    """Two presses of Add before the response send one message."""
    page = await open_page(browser, dev, "rosa")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url.rpartition("/")[2]))
    answer = await ask(page, "count to 9999")
    await expect(page.get_by_test_id("steer")).to_be_visible()
    await page.get_by_label("Your question").fill("shorter")
    await page.evaluate(
        """() => {
            const add = document.getElementById("steer");
            add.click();
            add.click();
        }"""
    )
    await expect(page.get_by_label("Your question")).to_have_value("")
    assert len([each for each in sent if each.startswith("steer")]) == 1
    await page.get_by_test_id("stop-all").click()
    await expect_status(answer, "stopped")


async def test_next_text_of_a_notification(browser: Browser, dev: Dev) -> None:
    """What is written while a notification is sent stays, and a second Enter sends nothing."""
    page = await open_page(browser, dev, "rena")
    async with page.expect_response(lambda response: "/dev/publish" in response.url):
        await page.evaluate(
            """() => {
                const form = document.getElementById("notify");
                const field = document.getElementById("notify-text");
                field.value = "first";
                form.requestSubmit();
                form.requestSubmit();
                field.value = "second";
            }"""
        )
    await expect(page.get_by_test_id("notification")).to_have_count(1)
    field = page.get_by_label("Text of a notification")
    await expect(field).to_have_value("second")
    await field.press("Enter")
    await expect(page.get_by_test_id("notification")).to_have_count(2)


async def test_edit_ends_with_its_chat(browser: Browser, dev: Dev) -> None:
    """A question that is edited in one chat replaces nothing in another one."""
    page = await open_page(browser, dev, "ruby")
    await expect_status(await ask(page, "count to 3"), "done")
    await page.get_by_role("button", name="Edit and ask again").click()
    await expect(page.get_by_text("You edit an earlier question.")).to_be_visible()
    await page.get_by_role("button", name="New chat").click()
    await expect(page.get_by_text("You edit an earlier question.")).to_be_hidden()
    await expect(page.get_by_label("Your question")).to_have_value("")


async def test_topic_that_the_page_does_not_follow(browser: Browser, dev: Dev) -> None:
    """A question that cannot be sent says so."""
    page = await open_page(browser, dev, "rhea")
    await page.goto(f"{dev.url}/?user=rhea&chat=topic:elsewhere")
    await expect_live(page)
    await page.get_by_label("Your question").fill("why?")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Try again")).to_be_visible()
    await expect(page.get_by_text("Sending…")).to_be_hidden()


async def test_input_is_requested_again(browser: Browser, dev: Dev) -> None:
    """A new attempt of an answer may need the same input: its buttons work again."""
    page = await open_page(browser, dev, "roma")
    part = {**REQUEST, "schema": None, "options": ["yes", "no"]}
    await page.evaluate(
        """async (part) => {
            const { PartsList } = await import("/demo/parts_list.js");
            const root = document.createElement("div");
            document.getElementById("turns").append(root);
            window.sent = [];
            const list = new PartsList(root, async (input, value) => sent.push(value));
            window.drawPart = (more) => list.draw([{ ...part, ...more }], true);
            drawPart();
        }""",
        part,
    )
    group = page.get_by_role("group", name="What shall we send?")
    await group.get_by_role("button", name="yes").click()
    await page.evaluate("drawPart({ expires_at: 4102444801 })")
    await group.get_by_role("button", name="no").click()
    assert await page.evaluate("sent") == ["yes", "no"]


async def test_message_of_another_source(browser: Browser, dev: Dev) -> None:
    """A request that succeeds does not remove what the page says of the connection."""
    page = await open_page(browser, dev, "resi")
    texts = await page.evaluate(
        """async () => {
            const { ConnectionView } = await import("/demo/connection.js");
            const view = new ConnectionView({ on() {} }, {}, {});
            const shown = () => document.getElementById("message").textContent;
            view.showMessage("The node restarts.", "connection");
            view.showMessage("", "request");
            const texts = [shown()];
            view.showMessage("The answer was lost.", "request");
            texts.push(shown());
            view.showMessage("", "request");
            return [...texts, shown()];
        }"""
    )
    assert texts == ["The node restarts.", "The answer was lost.", "The node restarts."]
