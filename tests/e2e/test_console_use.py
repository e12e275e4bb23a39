"""The operators' page in Chinese and Arabic, and without a mouse.

tests/e2e/test_console.py walks over its views in English.
"""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from typing import Final

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.chromium import new_context
from tests.conftest import missing
from tests.e2e.conftest import Dev
from tests.e2e.test_console import open_console
from tests.e2e.test_page_walk import AXE, Walk

LANGUAGES: Final = {
    "zh-CN": ("王小明", "新闻", "为什么天空是蓝色的？", "模型拒绝了这个请求。", "ltr"),
    "ar": ("سارة", "أخبار", "لماذا السماء زرقاء؟", "رفض النموذج هذا الطلب.", "rtl"),
}
FOCUSABLE: Final = "a[href], button, input, select, [tabindex='0']"
pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's


def fail_an_answer(dev: Dev, user: str, prompt: str, message: str) -> str:
    """Let an external producer answer with the prompt, and fail with the message."""
    body = {"to": {"user": user}, "producer": "external", "model": "agent", "prompt": prompt}
    started = dev.call("POST", "/generations", body, internal=True)
    generation: str = started["generation"]
    end = {"type": "end", "status": "failed", "code": "refused", "message": message}
    parts = [{"seq": 0, "type": "text", "text": f"{prompt} 1 2 3"}, {"seq": 1, **end}]
    lease = {"Hub-Lease": started["lease"]}
    dev.call("POST", f"/generations/{generation}/parts", parts, internal=True, headers=lease)
    return generation


async def find(page: Page, text: str) -> None:
    await page.get_by_role("searchbox", name="Find").fill(text)
    await page.keyboard.press("Enter")


@pytest.mark.parametrize("locale", LANGUAGES)
async def test_languages(browser: Browser, dev: Dev, locale: str) -> None:
    """Names, questions and errors have the direction of their language, on a phone as well."""
    if not AXE.exists():
        missing("axe-core, which scripts/test installs,")
    user, topic, prompt, message, direction = LANGUAGES[locale]
    generation = fail_an_answer(dev, user, prompt, message)
    dev.publish(user, prompt)
    context = await new_context(browser, locale=locale, viewport={"width": 390, "height": 844})
    page = await context.new_page()
    walk = Walk(page, dev.internal_url)
    await open_console(page, f"{dev.internal_url}/console")
    await page.evaluate(f"{AXE.read_text()};undefined")

    await find(page, user)
    for content in (
        page.locator("#user-name", has_text=user),
        page.locator("#user-events td", has_text=prompt).first,
    ):
        await expect(content).to_have_css("direction", direction)
    await walk.check(f"user, {locale}")

    await page.locator("#user-answers").get_by_role("link", name=generation).click()
    for content in (
        page.locator("#answer-facts").get_by_role("link", name=user),
        page.locator("#answer-facts dd", has_text=prompt),
        page.locator("#answer-facts dd", has_text=message),
        page.locator("#answer-parts td", has_text=prompt),
    ):
        await expect(content).to_have_css("direction", direction)
    await walk.check(f"answer, {locale}")

    await find(page, f"topic:{topic}")
    await expect(page.get_by_label("Name")).to_have_css("direction", direction)
    await page.get_by_role("combobox", name="Kind").select_option("user")
    await page.get_by_label("Name").fill(user)
    await page.keyboard.press("Enter")
    await expect(page.locator("#tail-state")).to_contain_text("live")
    dev.publish(user, prompt)
    await expect(page.locator("#tail td", has_text=prompt)).to_have_css("direction", direction)
    await walk.check(f"tail, {locale}")

    await page.go_back()
    await page.go_back()
    await page.go_back()
    await page.get_by_role("button", name="Disconnect").click()
    await expect(page.get_by_role("heading", name="Disconnect")).to_contain_text(user)
    await page.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
    await expect(page.locator("#actions")).to_contain_text(user)
    await walk.check(f"user after an action, {locale}")


async def reach_every_control(page: Page) -> None:
    """Press Tab from the first control to the last one: each one that is shown gets the focus once,
    in the order of the page, and shows it.
    """
    wanted = await page.evaluate(
        """(focusable) => {
            window.wanted = [...document.querySelectorAll(focusable)]
                .filter((element) => element.checkVisibility() && !element.disabled);
            wanted[0].focus();
            return wanted.length;
        }""",
        FOCUSABLE,
    )
    for number in range(1, wanted):
        await page.keyboard.press("Tab")
        outline = await page.evaluate(
            """(number) => {
                const { activeElement } = document;
                if (activeElement !== wanted[number]) {
                    return [activeElement.outerHTML, wanted[number].outerHTML];
                }
                return getComputedStyle(activeElement).outlineStyle;
            }""",
            number,
        )
        assert outline == "solid"


async def test_keyboard(browser: Browser, dev: Dev) -> None:
    """Tab reaches every control of each view; Enter, Escape and letters use them.

    The user is blocked at the end, so no other test may have the same one.
    """
    generation = fail_an_answer(dev, "tabea", "Why?", "No reason.")
    running = dev.call("POST", "/generations?user=tabea", {"prompt": "count to 9999"})["generation"]
    context = await new_context(browser, viewport={"width": 1280, "height": 844})
    page = await context.new_page()
    press = page.keyboard.press
    await open_console(page, f"{dev.internal_url}/console")
    await expect(page.locator("#processes tbody tr")).to_have_count(2)
    await reach_every_control(page)
    await page.get_by_role("link", name="Skip to the content").focus()
    await press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    await page.get_by_role("link", name="Answers").focus()
    await press("Enter")
    await expect(page.locator("#answers")).to_contain_text(running)
    await reach_every_control(page)

    await page.locator("#answers").get_by_role("link", name=running).focus()
    await press("Enter")
    await expect(page.locator("#answer-parts")).to_contain_text("1 2 3")
    await reach_every_control(page)
    stop = page.get_by_role("main").get_by_role("button", name="Stop")
    await stop.focus()
    await press("Enter")
    await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    await press("Escape")
    await expect(stop).to_be_focused()
    await expect(page.locator("#answer-status")).to_have_text("running")
    for key in ("Enter", "Tab", "Enter"):
        await press(key)
    await expect(page.locator("#answer-status")).to_have_text("stopped")

    await page.get_by_role("searchbox", name="Find").focus()
    await page.keyboard.type("tabea")
    await press("Enter")
    await expect(page.locator("#user-answers")).to_contain_text(generation)
    await reach_every_control(page)
    actions = page.locator("#actions li")
    for name, key, line in (
        ("Notify", "x", "Sent a notification to the user"),
        ("Block", "1", "Blocked the user"),
    ):
        button = page.get_by_role("main").get_by_role("button", name=name)
        await button.focus()
        await press("Enter")
        await expect(page.locator("#confirm-input")).to_be_focused()
        await press("Escape")
        await expect(button).to_be_focused()
        for each in ("Enter", "ControlOrMeta+a", key, "Enter"):
            await press(each)
        await expect(actions.first).to_contain_text(line)
    await expect(actions.last).to_contain_text("Stopped the answer")
    await expect(page.locator("#user-events")).to_contain_text('{"title":"x"}')

    await page.get_by_role("link", name="Live tail").last.focus()
    await press("Enter")
    await expect(page.locator("#tail-state")).to_contain_text("live")
    await reach_every_control(page)
    await page.get_by_role("button", name="Pause").focus()
    await press("Space")
    await expect(page.get_by_role("button", name="Go on")).to_be_focused()


async def test_focus_survives_a_refresh(browser: Browser, dev: Dev) -> None:
    """A link keeps the focus while another cell of its row changes, and when its row moves."""
    page = await (await new_context(browser)).new_page()
    streams = {user: f"{dev.url}/sse/connect/{user}" for user in ("rana", "rolf", "rudi")}
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        opened = {
            user: await stack.enter_async_context(session.get(url)) for user, url in streams.items()
        }
        await open_console(page, f"{dev.internal_url}/console#/connections")
        rows = page.locator("#connections tbody tr", has_text=re.compile("|".join(streams)))
        await expect(rows).to_have_count(len(streams))
        first, last = await rows.first.inner_text(), rows.last
        connection, age = last.get_by_role("link").first, last.locator("td").nth(5)
        await connection.focus()
        await expect(age).not_to_have_text(await age.inner_text())
        await expect(connection).to_be_focused()
        next(response for user, response in opened.items() if user in first).close()
        await expect(rows).to_have_count(len(streams) - 1)
        await expect(connection).to_be_focused()


async def test_focus_survives_a_change_of_facts(browser: Browser, dev: Dev) -> None:
    """A link to the user of an answer keeps the focus while the answer grows."""
    running = dev.call("POST", "/generations?user=finn", {"prompt": "count to 9999"})["generation"]
    page = await (await new_context(browser)).new_page()
    await open_console(page, f"{dev.internal_url}/console#/answer/{running}")
    facts = page.locator("#answer-facts")
    user = facts.get_by_role("link", name="finn")
    deltas = facts.locator("div", has_text="Deltas").locator("dd")
    await user.focus()
    await expect(deltas).not_to_have_text(await deltas.inner_text())
    await expect(user).to_be_focused()
    dev.call("DELETE", f"/generations/{running}?user=finn")


async def test_confirmation_that_is_opened_again(browser: Browser, dev: Dev) -> None:
    """An action whose dialog opens right after another one was closed is done, and done once.

    The browser sends the `close` event of a dialog in a later task.
    """
    page = await (await new_context(browser)).new_page()
    await open_console(page, f"{dev.internal_url}/console")
    await find(page, "toni")
    await expect(page.locator("#user-events")).to_contain_text("no stored events")
    for end in ("close", "submit"):
        await page.evaluate(
            """(end) => {
                const element = (id) => document.getElementById(id);
                element("notify").click();
                element("confirm-input").value = "first";
                if (end === "close") element("confirm").close();
                else element("confirm-form").requestSubmit();
                element("notify").click();
            }""",
            end,
        )
        await page.locator("#confirm-input").fill("second")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.locator("#actions li")).to_have_count(3)
    await expect(page.locator("#user-events")).to_contain_text("first")
    await expect(page.locator("#user-events tbody tr")).to_have_count(3)


def connection_of(user: str) -> dict[str, object]:
    """Return what the hub responds about a connection of the user."""
    facts = {"connection": f"c_{user}", "user": user, "node": "n1", "transport": "sse"}
    return {**facts, "since": 1796000000.0, "topics": [], "events": 0, "waiting": 0}


async def test_response_of_a_view_that_was_left(browser: Browser, dev: Dev) -> None:
    """A late response does not change what was opened after its request."""
    page = await (await new_context(browser)).new_page()
    await page.add_init_script(
        """
        const { fetch } = window;
        window.responses = {};  // by connection: delivers the response
        window.fetch = (path, options) => {
            const id = /connection=(.*)/.exec(path)?.[1];
            if (!id) return fetch(path, options);
            return new Promise((resolve) => {
                const info = { user: `user of ${id}`, topics: [], since: 1 };
                const body = { connections: [info], missing: [] };
                responses[id] = () => resolve({ ok: true, json: async () => body });
            });
        };
        """
    )
    await open_console(page, f"{dev.internal_url}/console#/connection/c_early")
    await page.wait_for_function("() => responses.c_early")
    await page.evaluate("() => { location.hash = '#/connection/c_late'; }")
    await page.wait_for_function("() => responses.c_late")
    await page.evaluate("responses.c_late()")
    user = page.locator("#connection-facts").get_by_role("link")
    await expect(user).to_have_text("user of c_late")
    await page.evaluate("() => new Promise((done) => setTimeout(done, responses.c_early()))")
    assert await user.text_content() == "user of c_late"


async def test_next_page_is_opened_once(browser: Browser, dev: Dev) -> None:
    """Two presses of a button before its page arrives turn one page."""
    page = await (await new_context(browser)).new_page()
    body = {"connections": [connection_of("nils")], "missing": [], "total": 999, "next": "p"}
    await page.route(re.compile(r"/connections\?limit=50"), lambda route: route.fulfill(json=body))
    await open_console(page, f"{dev.internal_url}/console#/connections")
    pager = page.locator("#connections-pager")
    await expect(pager).to_contain_text("Page 1")
    await page.evaluate(
        """() => {
            const [, next] = document.querySelectorAll("#connections-pager button");
            next.click();
            next.click();
        }"""
    )
    await expect(pager).to_contain_text("Page 2")
    await pager.get_by_role("button", name="Previous").click()
    await expect(pager).to_contain_text("Page 1")


async def test_unknown_answer_stays_unknown(browser: Browser, dev: Dev) -> None:
    """What is wrong with the shown answer is said until another view is opened."""
    page = await (await new_context(browser)).new_page()
    await page.clock.install()
    await open_console(page, f"{dev.internal_url}/console#/answer/g00unknown")
    message = page.locator("#message")
    await expect(message).to_be_visible()
    await page.clock.run_for(5000)
    await expect(message).to_be_visible()
