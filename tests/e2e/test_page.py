"""The demo page in Chromium with a real hub."""

from __future__ import annotations

import asyncio
import os
import re
from base64 import b64encode
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.chromium import new_context
from tests.e2e.conftest import Dev
from tests.push.push_service import Device, fake_push_service

pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's
SVG = b64encode(
    b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><path d="M0 0h8v8z"/></svg>'
).decode()


async def open_page(browser: Browser, dev: Dev, user: str, **context: object) -> Page:
    """Open the user's page and wait until it is live. A page error fails the test."""
    page = await (await new_context(browser, **context)).new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    await page.goto(f"{dev.url}/?user={user}")
    await expect_live(page)
    return page


async def expect_live(page: Page) -> None:
    await expect(page.get_by_test_id("state")).to_have_attribute("data-state", "live")


async def ask(page: Page, prompt: str) -> Locator:
    """Ask by keyboard. Return the newest answer to this question, also before the page has it."""
    shown = page.locator(".prompt", has_text=re.compile(f"^{re.escape(prompt)}$"))
    turns = page.locator(".turn", has=shown)
    count = await turns.count()  # of the turns with the same question
    await page.get_by_label("Your question").fill(prompt)
    await page.keyboard.press("Enter")
    return turns.nth(count).get_by_test_id("answer").last


async def expect_status(answer: Locator, status: str) -> None:
    await expect(answer).to_have_attribute("data-status", status)


def text_of(answer: Locator) -> Locator:
    return answer.get_by_test_id("answer-text")


async def record_answers(page: Page) -> None:
    """Let the page keep each state that it shows, in `shown`: a short one may be gone before a
    test looks.
    """
    await page.evaluate(
        """() => {
            window.shown = [];
            const turns = document.getElementById("turns");
            const all = { subtree: true, childList: true, characterData: true, attributes: true };
            new MutationObserver(() => {
                for (const answer of turns.querySelectorAll("[data-testid=answer]")) {
                    const text = (part) => answer.querySelector(part)?.textContent ?? "";
                    const answerText = text("[data-testid=answer-text]");
                    shown.push([answer.dataset.status, answerText, text(".activity")]);
                }
            }).observe(turns, all);
        }"""
    )


async def test_answer_grows_before_it_ends(browser: Browser, dev: Dev) -> None:
    """The page shows tokens, and a notification, while the answer is running."""
    page = await open_page(browser, dev, "alice", viewport={"width": 1280, "height": 800})
    await record_answers(page)
    answer = await ask(page, "why is the sky blue?")
    await expect(text_of(answer)).to_have_text(re.compile("Sunlight holds all colours"))
    dev.publish("alice", {"title": "Your export is ready", "file": "q3.xlsx"})
    await expect(page.get_by_test_id("notification")).to_contain_text("Your export is ready")
    await expect_status(answer, "done")
    await expect(text_of(answer)).to_have_text(re.compile(r"orange and red\. 🌅"))
    texts = await page.evaluate(
        "shown.filter(([status]) => status === 'running').map(([_, text]) => text)"
    )
    assert any("Sunlight holds all colours" in text for text in texts)
    await expect(answer).to_contain_text("sample_agent")
    await expect(answer.get_by_text("sample", exact=True)).to_be_visible()


async def test_first_connection_resumes_nothing(browser: Browser, dev: Dev) -> None:
    """At a first visit no event was resumed, although the log has the user's own arrival."""
    page = await open_page(browser, dev, "faye")
    await page.get_by_test_id("state").click()
    await expect(page.locator("#connection-resumed")).to_have_text("0 events")
    await expect(page.locator("#message")).to_have_text("")


async def test_reload_during_an_answer_loses_nothing(browser: Browser, dev: Dev) -> None:
    """After a reload, the page shows the question and the text so far, and the answer continues."""
    page = await open_page(browser, dev, "ruth")
    answer = await ask(page, "count to 9999")  # so many that it runs until the test stops it
    await expect(text_of(answer)).to_have_text(re.compile(r"^1 2 3 4 5 6 7 8 9 10 11"))
    await page.reload()
    await expect_live(page)
    answer = page.get_by_test_id("answer")
    await expect_status(answer, "running")
    await expect(page.get_by_role("heading", name="count to 9999")).to_be_visible()
    await expect(text_of(answer)).to_have_text(re.compile(r"^1 2 3 4 5 6 7 8 9 10 11"))
    shown = (await text_of(answer).text_content() or "").strip()
    await expect(text_of(answer)).to_have_text(re.compile(f"^{shown} .* .* "))
    await answer.get_by_role("button", name="Stop").press("Enter")
    await expect_status(answer, "stopped")
    counted = " ".join(str(n) for n in range(1, 10_000))
    text = await text_of(answer).text_content() or ""
    assert len(text) > len(shown)
    assert counted.startswith(text.strip())


async def test_second_tab_sees_and_stops_it(browser: Browser, dev: Dev) -> None:
    """A second tab shows the same answer. Its Stop button ends it in both and keeps the text."""
    first = await open_page(browser, dev, "stella")
    second = await open_page(browser, dev, "stella")
    answer = await ask(first, "count to 9999")
    mirrored = second.get_by_test_id("answer")
    await expect(text_of(mirrored)).to_have_text(re.compile(r"^1 2 3 4 5"))
    await mirrored.get_by_role("button", name="Stop").press("Enter")  # it moves as the text grows
    await expect_status(answer, "stopped")
    await expect_status(mirrored, "stopped")
    text = await text_of(answer).text_content()
    assert text
    assert text.startswith("1 2 3 4 5")
    await expect(text_of(mirrored)).to_have_text(text)


async def test_restart_supersedes(browser: Browser, dev: Dev) -> None:
    """Regenerate marks the old answer and streams a new one to the same question."""
    page = await open_page(browser, dev, "rene")
    answer = await ask(page, "Write a haiku about streams")
    await expect_status(answer, "done")
    await page.get_by_role("button", name="Regenerate").click()
    answers = page.get_by_test_id("answer")
    await expect(answers).to_have_count(2)
    await expect(answers.first).to_contain_text("superseded")
    await expect_status(answers.last, "done")
    await expect(text_of(answers.last)).to_contain_text("Small words find their way")


async def test_approve_before_a_tool_pays(browser: Browser, dev: Dev) -> None:
    """The sample agent asks before it refunds; reasoning is folded, and the choice is shown."""
    page = await open_page(browser, dev, "renate")
    await page.get_by_role("button", name="Please refund my order").click()
    answer = page.get_by_test_id("answer")
    group = answer.get_by_role("group", name="Refund order 981 (Teapot)?")
    await group.get_by_role("button", name="Approve").click()
    await expect_status(answer, "done")
    await expect(group.get_by_text("renate: Approve")).to_be_visible()
    await expect(text_of(answer)).to_contain_text("is on its way to your card")
    await expect(answer.locator("details.reasoning")).not_to_have_attribute("open", "")
    await expect(answer.locator(".tool").last).to_contain_text("refund_order done")


async def test_chats_in_the_sidebar(browser: Browser, dev: Dev) -> None:
    """A new chat is empty; each chat has its own questions, also after a reload and on a phone."""
    page = await open_page(browser, dev, "chad")
    await expect_status(await ask(page, "count to 3"), "done")
    await page.get_by_role("button", name="New chat").click()
    await expect(page.get_by_test_id("answer")).to_have_count(0)
    await expect_status(await ask(page, "count to 4"), "done")
    chats = page.get_by_role("navigation", name="Chats").get_by_role("listitem")
    await expect(chats).to_have_text(["count to 4", "count to 3"])
    await page.reload()
    await expect(page.get_by_role("heading", name="count to 4")).to_be_visible()
    await expect(page.get_by_test_id("answer")).to_have_count(1)
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.get_by_role("button", name="Chats").click()
    await page.get_by_role("button", name="count to 3").click()
    await expect(page.get_by_role("navigation", name="Chats")).to_be_hidden()
    await expect(page.get_by_role("heading", name="count to 3")).to_be_visible()
    await expect(page.get_by_test_id("answer")).to_have_count(1)
    await page.go_back()
    await expect(page.get_by_role("heading", name="count to 4")).to_be_visible()


async def test_edit_and_ask_again(browser: Browser, dev: Dev) -> None:
    """An edited question replaces the old one and what followed it, also in another tab and after a
    reload.
    """
    page = await open_page(browser, dev, "edna")
    other = await open_page(browser, dev, "edna")
    for number, prompt in enumerate(("count to 3", "count to 5"), start=1):
        await ask(page, prompt)
        for each in (page, other):
            done = each.locator('[data-testid=answer][data-status="done"]')
            await expect(done).to_have_count(number)
    await page.get_by_role("button", name="Edit and ask again").first.click()
    await expect(page.get_by_label("Your question")).to_have_value("count to 3")
    await page.get_by_label("Your question").fill("count to 7")
    await page.keyboard.press("Enter")
    for _ in range(2):
        for each in (page, other):
            answers = each.get_by_test_id("answer")
            await expect(answers.filter(visible=True)).to_have_count(1)
            await expect(each.get_by_text("replaced by an edit")).to_have_count(2)
            await expect_status(answers.last, "done")
            await expect(text_of(answers.last)).to_contain_text("1 2 3 4 5 6 7")
        await page.reload()
        await expect_live(page)


async def test_a_room_and_a_second_device(browser: Browser, dev: Dev) -> None:
    """Users of a topic see each other and its answers; a frame is the same user once more."""
    page = await open_page(browser, dev, "tom", viewport={"width": 1600, "height": 800})
    other = await open_page(browser, dev, "tess")
    await expect(page.get_by_role("list", name="Users in the topic")).to_contain_text("tess")
    await page.get_by_role("button", name="Open a second device").click()
    frame = page.frame_locator("iframe")
    await expect(frame.get_by_test_id("state")).to_have_attribute("data-state", "live")
    for each in (page, other):
        await each.get_by_role("button", name="Ask for everybody in it").click()
    await ask(page, "count to 6")
    for each in (page, other):
        await expect(text_of(each.get_by_test_id("answer").last)).to_contain_text("1 2 3 4 5 6")
    await page.get_by_role("button", name="New chat").click()
    await ask(page, "count to 8")
    await frame.get_by_role("button", name="Chats").click()
    await frame.get_by_role("button", name="count to 8").click()
    await expect(text_of(frame.get_by_test_id("answer").last)).to_contain_text("6 7 8")


async def test_escape_stops(browser: Browser, dev: Dev) -> None:
    """Enter asks and Escape stops."""
    page = await open_page(browser, dev, "kay")
    answer = await ask(page, "count to 9999")
    await expect(text_of(answer)).to_have_text(re.compile(r"^1 2 3"))
    await page.keyboard.press("Escape")
    await expect_status(answer, "stopped")


async def test_stop_stays_in_its_place(browser: Browser, dev: Dev) -> None:
    """The Stop button beside Send does not move while the text grows, and is gone at the end."""
    page = await open_page(browser, dev, "kim")
    button = page.get_by_test_id("stop-all")
    await expect(button).to_be_hidden()
    answer = await ask(page, "count to 9999")
    await expect(text_of(answer)).to_have_text(re.compile(r"^1 2 3"))
    before = await button.bounding_box()
    await expect(text_of(answer)).to_have_text(re.compile(r" 200 "))
    assert await button.bounding_box() == before
    await button.click()
    await expect_status(answer, "stopped")
    await expect(button).to_be_hidden()
    await expect(page.get_by_label("Your question")).to_be_focused()


async def test_notification_to_oneself(browser: Browser, dev: Dev) -> None:
    """In hub dev, the page can send a notification to its own user."""
    page = await open_page(browser, dev, "nora")
    await page.get_by_label("Text of a notification").fill("Tea is ready 🫖")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("notification")).to_contain_text("Tea is ready 🫖")


async def test_command_in_the_footer_runs(browser: Browser, dev: Dev, tmp_path: Path) -> None:
    """The command that the page shows can be pasted into a terminal as it is."""
    page = await open_page(browser, dev, "olivia")
    command = await page.locator("#command").inner_text()
    env = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    env |= {"HUB_CLIENT__INTERNAL_URL": dev.internal_url, "TMPDIR": str(tmp_path)}
    done = await asyncio.create_subprocess_shell(command, env=env)
    assert await done.wait() == 0
    await expect(page.get_by_test_id("notification")).to_contain_text("Hi")


async def test_dark_theme_on_a_phone(browser: Browser, dev: Dev) -> None:
    """At 360 px nothing overflows, buttons are large enough to touch, and the theme is dark."""
    page = await open_page(
        browser, dev, "pia", viewport={"width": 360, "height": 740}, color_scheme="dark"
    )
    answer = await ask(page, "为什么天空是蓝色的？")
    await expect_status(answer, "done")
    await expect(text_of(answer)).to_contain_text("🌤️")
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    sizes = [await button.bounding_box() for button in await page.get_by_role("button").all()]
    assert all(box["height"] >= 44 for box in sizes if box)
    background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(16, 17, 20)"


async def test_answer_is_announced_once(browser: Browser, dev: Dev) -> None:
    """The live region gets the whole answer at its end instead of every token."""
    page = await open_page(browser, dev, "sue")
    await page.evaluate(
        """() => {
            window.announced = [];
            const live = document.querySelector("[aria-live=polite]");
            new MutationObserver((changes) => {  // one call for all that a batch of events changes
                for (const { addedNodes: [text] } of changes) announced.push(text?.data ?? "");
            }).observe(live, { childList: true });
        }"""
    )
    answer = await ask(page, "Write a haiku")
    await expect_status(answer, "done")
    await expect(page.locator("[aria-live=polite]")).to_contain_text("Small words find their way")
    started, whole = await page.evaluate("announced")
    assert (started, "Small words find their way" in whole) == ("Answer started.", True)
    await expect(answer).to_have_attribute("aria-busy", "false")


async def test_each_message_is_announced_once(browser: Browser, dev: Dev) -> None:
    """Users of screen readers hear a notification, an error and a lost connection once each."""
    page = await open_page(browser, dev, "lin")
    await page.evaluate(
        """() => {
            window.spoken = [];
            const roots = [document, document.querySelector("hub-inbox").shadowRoot];
            const regions = "[role=status], [role=alert], [aria-live]";
            for (const region of roots.flatMap((root) => [...root.querySelectorAll(regions)])) {
                new MutationObserver(() => {
                    if (region.textContent) spoken.push(region.textContent.toLowerCase());
                }).observe(region, { childList: true, characterData: true, subtree: true });
            }
            window.countSpoken = (text) => spoken.filter((each) => each.includes(text)).length;
        }"""
    )

    async def announced(text: str) -> int:
        count = await page.wait_for_function("text => countSpoken(text)", arg=text)
        return int(await count.json_value())

    await page.get_by_label("Text of a notification").fill("Tea is ready")
    await page.keyboard.press("Enter")
    answer = await ask(page, "count to 9999")
    await expect(text_of(answer)).to_have_text(re.compile(r"^1 2 3"))
    await page.route("**/generations/**", lambda route: route.abort())
    await answer.get_by_role("button", name="Stop").press("Enter")
    assert await announced("cannot be reached") == 1
    await page.get_by_role("button", name="Cut the connection").click()
    assert await announced("connected") == 1
    await page.unroute("**/generations/**")
    # The bell waits 400 ms for more notifications; it has its number since then.
    await expect(page.locator("hub-inbox").locator("[part=count]")).to_have_text("1")
    await page.get_by_test_id("stop-all").click()
    await expect_status(answer, "stopped")
    for text in ("tea is ready", "cannot be reached", "connected"):
        assert await announced(text) == 1


PARTS = [
    {"type": "step", "name": "search", "state": "done"},
    {
        "type": "tool_call",
        "id": "a",
        "name": "find",
        "arguments": '{"q": "tea"}',
        "run_by": "producer",
        "result": {"hits": 2},
        "is_error": False,
    },
    {"type": "tool_call", "id": "b", "name": "open", "arguments": "{", "run_by": "producer"},
    {"type": "tool_call", "id": "c", "name": "ask", "arguments": "{}", "run_by": "client"},
    {"type": "tool_result", "id": "z", "result": "<b>gone</b>", "is_error": True},
    {"type": "source", "url": "https://shop.example/tea", "title": "Tea"},
    {"type": "source", "url": "javascript:alert(1)", "title": "No link"},
    {"type": "text", "text": "Some **tea**"},
    {"type": "source", "url": "https://shop.example/cups"},
    {"type": "file", "data": SVG, "media_type": "image/svg+xml", "name": "tea.svg"},
    {"type": "file", "url": "https://shop.example/price.pdf", "media_type": "application/pdf"},
    {"type": "file", "url": "javascript:alert(1)", "media_type": "image/png", "name": "no.png"},
    {"type": "data", "name": "order", "value": {"number": 981}, "id": "x"},
    {"type": "status", "text": "Writing"},
]
DRAW = """async (parts) => {
    const { PartsList } = await import("/demo/parts_list.js");
    const root = document.createElement("div");
    const answer = Object.assign(document.createElement("article"), { className: "answer" });
    answer.append(root);
    document.getElementById("turns").append(answer);
    const list = new PartsList(root);
    for (let count = 0; count <= parts.length; count += 1) list.draw(parts.slice(0, count), true);
}"""


async def test_every_part_is_shown(browser: Browser, dev: Dev) -> None:
    """Each kind of part has its element, in order; other protocols than http are no addresses."""
    page = await open_page(browser, dev, "pat")
    await page.evaluate(DRAW, PARTS)
    answer = page.locator("article")
    classes = await answer.locator("> div > *").evaluate_all("all => all.map((e) => e.className)")
    assert classes == [
        *("step", "aside tool", "aside tool", "aside tool", "aside tool", "sources", "text"),
        *("sources", "file", "file", "file", "aside data", "activity"),
    ]
    assert await answer.locator(".tool > summary").all_inner_texts() == [
        *("find done", "open running", "ask for the client to run", "Result of a tool failed"),
    ]
    await answer.locator("summary").first.focus()
    await page.keyboard.press("Enter")
    await expect(answer.get_by_role("group", name="Input")).to_have_text('{ "q": "tea" }')
    await expect(answer.get_by_role("group", name="Output")).to_have_text('{ "hits": 2 }')
    addresses = await answer.get_by_role("link").evaluate_all("all => all.map((e) => e.href)")
    assert [each.partition(",")[0] for each in addresses] == [
        *("https://shop.example/tea", "https://shop.example/cups"),
        *("data:image/svg+xml;base64", "https://shop.example/price.pdf"),
    ]
    assert await answer.locator(".source .number").all_inner_texts() == ["1", "2", "3"]
    picture = answer.get_by_role("img", name="tea.svg")
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 8
    await expect(answer.locator(".text strong")).to_have_text("tea")


LONG_ANSWER = "## Heading\n\nSome words.\n\n```\ncode\n```\n\n| a |\n|---|\n| 1 |\n\n" * 60


def produce(dev: Dev, user: str, text: str, *, part_size: int = 20) -> None:
    """Answer as an external producer, with deltas of so many characters."""
    body = {"to": {"user": user}, "producer": "external", "model": "test"}
    started = dev.call("POST", "/generations", body, internal=True)
    texts = [text[first : first + part_size] for first in range(0, len(text), part_size)]
    parts = [{"seq": seq, "type": "text", "text": each} for seq, each in enumerate(texts)]
    parts.append({"seq": len(texts), "type": "end", "status": "done"})
    dev.call(
        "POST",
        f"/generations/{started['generation']}/parts",
        parts,
        internal=True,
        headers={"Hub-Lease": started["lease"]},
    )


async def test_long_chats_show_their_newest_answers(browser: Browser, dev: Dev) -> None:
    """A button shows earlier ones above what was in view, until the chat goes on."""
    page = await open_page(browser, dev, "nora")
    answers = page.get_by_test_id("answer")
    texts = page.get_by_test_id("answer-text")

    async def add(number: int, count: int) -> None:
        text = f"Number {number}. " + "word " * 24_000
        await asyncio.to_thread(produce, dev, "nora", text, part_size=20_000)
        await expect(texts.last).to_contain_text(f"Number {number}.")
        await expect_status(answers.last, "done")
        await expect(answers).to_have_count(count)

    await add(1, 1)
    await add(2, 2)
    await add(3, 2)
    await add(4, 2)
    await expect(texts.first).to_contain_text("Number 3.")
    more = page.get_by_role("button", name="Show earlier questions (2)")
    await page.locator("#scroll").evaluate("box => box.scrollTo(0, 0)")
    await expect(more).to_be_in_viewport()
    await more.press("Enter")
    await expect(answers).to_have_count(4)
    await expect(more).to_have_count(0)
    for number in range(4):
        await expect(texts.nth(number)).to_contain_text(f"Number {number + 1}.")
    await expect(page.locator(".turn").nth(2).locator(".answers")).to_be_in_viewport()
    await expect(page.locator(".turn").nth(1)).to_be_focused()
    await page.evaluate(
        "() => { const box = document.getElementById('scroll'); box.scrollTop = box.scrollHeight; }"
    )
    await add(5, 2)


async def test_the_end_stays_in_view(browser: Browser, dev: Dev) -> None:
    """The page follows the end of long answers, until the user scrolls up."""
    page = await open_page(browser, dev, "lena")
    answers = page.get_by_test_id("answer")
    at_end = """() => {
        const { scrollHeight, scrollTop, clientHeight } = document.getElementById("scroll");
        return scrollHeight > 2 * clientHeight && scrollHeight - scrollTop - clientHeight < 2;
    }"""
    for number in range(2):
        await asyncio.to_thread(produce, dev, "lena", LONG_ANSWER)
        await expect_status(answers.nth(number), "done")
        await page.wait_for_function(at_end)
    await expect(page.locator("#latest")).to_be_hidden()
    await page.locator("#scroll").evaluate("box => box.scrollBy(0, -500)")
    # An expression, unlike a function, would need `eval`, which the page's policy forbids.
    await page.wait_for_function(
        "() => document.getElementById('scroll').style.overflowAnchor === ''"
    )
    await asyncio.to_thread(produce, dev, "lena", LONG_ANSWER)
    await expect_status(answers.nth(2), "done")
    await expect(page.locator("#latest")).to_be_visible()
    await page.locator("#latest").click()
    await page.wait_for_function(at_end)
    await expect(page.locator("#latest")).to_be_hidden()


async def test_parts_that_disappear(browser: Browser, dev: Dev) -> None:
    """After a restart the old parts are gone; what is still there keeps its element."""
    page = await open_page(browser, dev, "pit")
    left = await page.evaluate(
        """async (parts) => {
            const { PartsList } = await import("/demo/parts_list.js");
            const root = document.createElement("div");
            const list = new PartsList(root);
            list.draw(parts, true);
            const details = root.querySelector("details");
            details.open = true;
            list.draw([parts[1], parts[7]], true);
            return [root.children.length, root.firstElementChild === details, details.open];
        }""",
        PARTS,
    )
    assert left == [2, True, True]


REQUEST = {
    "type": "input",
    "input": "order",
    "prompt": "What shall we send?",
    "options": None,
    "schema": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "title": "Your name", "description": "As on the card"},
            "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "gift": {"type": "boolean", "title": "It is a gift"},
            "colour": {"enum": ["red", "blue"]},
        },
        "required": ["name", "count"],
    },
    "expires_at": 4102444800.0,
    "tool_call": None,
    "state": "waiting",
}


async def test_form_of_a_schema(browser: Browser, dev: Dev) -> None:
    """A person fills it by keyboard; what the hub refuses is said at the form, and nothing is lost.

    What becomes of the input takes the place of the form, and has the keyboard focus.
    """
    page = await open_page(browser, dev, "ivy", viewport={"width": 390, "height": 800})
    await page.evaluate(
        """async (part) => {
            const { PartsList } = await import("/demo/parts_list.js");
            const root = document.createElement("div");
            document.getElementById("turns").append(root);
            window.sent = [];
            const list = new PartsList(root, async (input, value) => {
                sent.push([input, value]);
                if (value.count > 3) {
                    throw Object.assign(new Error("At most 3."), { path: "count" });
                }
            });
            window.drawPart = (more) => list.draw([{ ...part, ...more }], true);
            drawPart();
        }""",
        REQUEST,
    )
    group = page.get_by_role("group", name="What shall we send?")
    name, count = group.get_by_label("Your name"), group.get_by_label("count")
    await expect(name).to_have_accessible_description("As on the card")
    await name.focus()
    for key in ("Enter", *"Ada", "Tab", "7", "Tab", "Space", "Tab", "b"):
        await page.keyboard.press(key)  # the browser refuses the first Enter: a field is empty
    await group.get_by_role("button", name="Send").click()
    await expect(group.get_by_role("alert")).to_have_text("At most 3.")
    await expect(count).to_have_attribute("aria-invalid", "true")
    await expect(count).to_be_focused()
    await page.evaluate("drawPart()")  # other events come, and the form stays as it is
    await page.keyboard.press("ControlOrMeta+a")
    await page.keyboard.press("2")
    await page.keyboard.press("Enter")
    value = {"name": "Ada", "count": 7, "gift": True, "colour": "blue"}
    assert await page.evaluate("sent") == [["order", value], ["order", {**value, "count": 2}]]
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    await page.evaluate("drawPart({ state: 'received', value: { count: 2 }, by: 'bob' })")
    outcome = group.get_by_text('bob: {"count":2}')
    await expect(outcome).to_be_focused()
    await expect(group.get_by_role("button")).to_have_count(0)


async def test_sample_agent(browser: Browser, dev: Dev) -> None:
    """The first suggestion shows an agent, and it is the same after a reload and in another tab."""
    page = await open_page(browser, dev, "ada", viewport={"width": 390, "height": 800})
    await page.evaluate(
        """() => {
            window.announced = [];
            const live = document.getElementById("live");
            new MutationObserver((changes) => {  // one call for all that a batch of events changes
                for (const { addedNodes: [text] } of changes) announced.push(text?.data ?? "");
            }).observe(live, { childList: true });
        }"""
    )
    await record_answers(page)
    await page.get_by_role("button", name="How do I get a refund?").click()
    answer = page.get_by_test_id("answer")
    await expect(answer.get_by_text("sample", exact=True)).to_be_visible()
    await expect_status(answer, "done")
    assert "Searching the handbook" in await page.evaluate("announced")
    assert "Writing the answer" in await page.evaluate("shown.map((each) => each[2])")
    await expect(answer.locator(".step")).to_have_count(2)
    await expect(answer.locator(".tool")).to_contain_text(["search_handbook", "get_last_order"])
    await expect(answer.get_by_role("list", name="Sources").get_by_role("link")).to_have_count(2)
    await expect(answer.locator(".data")).to_contain_text("981")
    picture = answer.get_by_role("img")
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    await expect(answer.locator(".text li")).to_have_count(2)
    assert await page.evaluate("document.documentElement.scrollWidth") == 390
    shown = await answer.locator(".parts").inner_text()
    second = await open_page(browser, dev, "ada", viewport={"width": 390, "height": 800})
    await page.reload()
    for each in (page, second):
        await expect_status(each.get_by_test_id("answer"), "done")
        assert await each.get_by_test_id("answer").locator(".parts").inner_text() == shown
    await page.get_by_role("button", name="Regenerate").click()
    newest = page.get_by_test_id("answer").last
    await expect(page.get_by_test_id("answer")).to_have_count(2)
    await expect_status(newest, "done")
    await expect(newest.locator(".tool")).to_have_count(2)


def is_stopped(pid: int) -> bool:
    return "T (stopped)" in Path(f"/proc/{pid}/status").read_text()


async def expect_frozen(answer: Locator, sentence: str) -> None:
    """The process that the sentence names is stopped, and meanwhile the answer stands still."""
    match = re.search(r"process (\d+)", sentence)
    assert match is not None
    pid = int(match[1])
    assert is_stopped(pid)
    text, before = await text_of(answer).text_content(), ""
    # What was on its way still arrives. On a busy machine the process may go on before that.
    while text != before and is_stopped(pid):
        await asyncio.sleep(0.3)
        text, before = await text_of(answer).text_content(), text or ""


async def test_break_it(browser: Browser, tmp_path: Path) -> None:
    """Worker, connection, node and model fail during an answer: the page shows it and reconnects.

    Nothing is lost or shown twice, and the counter says so.
    """
    env = {"HUB_WORKER__LEASE_SECONDS": "3"}
    dev = Dev(tmp_path, "--tokens-per-second", "100", env=env).wait_until_ready()
    try:
        page = await open_page(browser, dev, "noa")
        states: list[str] = []
        await page.expose_function("recordState", lambda state: states.append(state))  # noqa: PLW0108 - playwright sets an attribute on the function
        await page.evaluate(
            """() => {
                const element = document.querySelector("[data-testid=state]");
                new MutationObserver(() => recordState(element.dataset.state))
                    .observe(element, { attributes: true });
            }"""
        )
        answer = await ask(page, "count to 600")
        await expect(text_of(answer)).to_have_text(re.compile(r"^1 2 3 4 5"))
        happened = page.locator("#happened")
        for button, sentence in (
            ("Freeze the model", "is frozen for 5 seconds"),
            ("Cut the connection", "cut without a word"),
            ("Kill the worker", "was killed"),
            ("Restart the node", "restarts"),
        ):
            await page.get_by_role("button", name=button).click()
            await expect(happened).to_contain_text(re.compile(f"{sentence}|Connected again"))
            if button == "Freeze the model":
                await expect_frozen(answer, await happened.inner_text())
            await expect_live(page)
        await expect(answer).to_have_attribute("data-status", "done", timeout=60_000)
        assert "reconnecting" in states
        await expect_live(page)
        counted = " ".join(str(n) for n in range(1, 601))
        await expect(text_of(answer)).to_have_text(f"{counted}\n\n(simulated answer)")
        await expect(page.get_by_test_id("ledger")).to_have_text("lost 0, twice 0")
    finally:
        dev.stop()


async def test_notification_is_kept(browser: Browser, dev: Dev) -> None:
    """A notification of the form is in the inbox, whose number is in the header, after a reload."""
    page = await open_page(browser, dev, "ines")
    await asyncio.to_thread(
        dev.call, "POST", "/dev/publish?user=ines", {"data": {"title": "kept"}, "inbox": True}
    )
    inbox = page.locator("hub-inbox")
    await expect(inbox.locator("[part=count]")).to_have_text("1")
    await page.reload()
    await inbox.get_by_role("button", name="Notifications, 1 unread").click()
    await expect(inbox.get_by_role("listitem")).to_contain_text("kept")
    async with asyncio.timeout(60):  # the connection of before the reload is closed
        while dev.call("GET", "/users/ines", internal=True)["total"] != 1:
            await asyncio.sleep(0.05)
    await expect(inbox.get_by_role("status")).to_have_text("")  # it is not announced again
    box = await inbox.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0


async def test_notify_when_an_answer_is_ready(browser: Browser, dev: Dev) -> None:
    """The button subscribes the browser; from then on questions are sent with `notify`."""
    context = await new_context(browser, permissions=["notifications"])
    device = Device("phone", "https://push.example.com/phone")
    await context.add_init_script(fake_push_service(device))
    page = await context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    await page.goto(f"{dev.url}/?user=nora")
    await expect_live(page)
    button = page.get_by_role("button", name="Notify me when an answer is ready")

    async def sent() -> dict[str, object]:
        async with page.expect_request(
            lambda request: request.method == "POST" and "/generations" in request.url
        ) as request:
            answer = await ask(page, "count to 2")
        await expect_status(answer, "done")
        body = (await request.value).post_data_json
        assert isinstance(body, dict)
        return body

    await expect(button).to_have_attribute("aria-pressed", "false")
    assert "notify" not in await sent()
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "true")
    assert (await sent())["notify"] is True
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "false")
    assert "notify" not in await sent()
