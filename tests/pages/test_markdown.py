"""Markdown of the demo page in Chromium: what it looks like, how it grows, and that it is safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.chromium import new_context
from tests.http.kit import running_hub

# One block of 15 kB of each kind, or many blocks; "#" is the number of the line.
LONG_TEXTS = {
    "blocks": "## Heading #\n\nSome **words**.\n\n```\ncode #\n```\n\n| a |\n|---|\n| # |\n\n",
    "a paragraph": "word # is *in* one **long** paragraph with `code` and $x_#$; ",
    "a later paragraph": "~Introduction.\n\n~word # of a *text* and [a link](https://a.example/) ",
    "lines": "line # of a paragraph\n",
    "Chinese": "第#段是很长的中文文本，没有空格，**粗体**，继续写下去；",  # noqa: RUF001
    "no spaces": "QUJD#xyz",
    "marks that stay open": "2 * # < [3 and **un closed `",
    "code": "~```python\n~def f#(a):\n    return a * #\n\n",
    "code in one line": '~```json\n~{"a": #, "b": "text"}, ',
    "a table": "~| a | b |\n|---|---|\n~| row # | *some* `text` |\n",
    "a list": "- item # is **here**\n  - nested # with `code`\n    - deep #\n",
    "tasks": "1. [ ] task # with [a link](https://a.example/#)\n",
    "a loose list": "- item # is **here**\n\n  its second paragraph\n\n",
    "a list in an item": "~1. The only item\n~   - nested # with `code`\n",
    "lists in lists": "~- a\n  - b\n    - c\n~      - nested # with `code`\n",
    "a quote": "> line # of a *quote*\n>\n> - item\n>\n",
    "formulas": "Formula #: $x_{#}^2 + y$\n\n$$\\int_0^{#} x\\,dx$$\n\n",
    "headings": "# Heading #\n## Heading #.1\n",
    "links to the end": "see [a#] here\n\n",
}


def long_text(pattern: str, size: int) -> str:
    """Repeat a pattern. What is between "~" at its beginning stands there once."""
    once, repeated = pattern.split("~")[1:] if pattern.startswith("~") else ("", pattern)
    count = size // len(repeated)
    head = "# Heading #" in repeated  # there, the first "#" is no number
    parts = [
        repeated.replace("Heading #", f"Heading {n}") if head else repeated.replace("#", str(n))
        for n in range(count)
    ]
    return once + "".join(parts)


pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's
VECTORS = Path(__file__).with_name("xss_vectors.txt").read_text().splitlines()
# A view of the page's module in an empty page of the hub's origin.
START = """async () => {
    document.body.innerHTML = '<p id="live"></p><div class="text" id="text"></div>';
    const { MarkdownView } = await import("/demo/markdown.js");
    window.root = document.getElementById("text");
    window.newView = () => new MarkdownView(root);
    window.view = newView();
}"""
SAMPLE = """# Title

Some **bold** text with `code`, a [link](https://a.example/x) and a formula $x^2$.

| Name | Number |
|------|-------:|
| a    |      1 |

1. one
   - nested
2. two

مرحبا بالعالم

```python
def double(x):
    return 2 * x
```

$$\\int_0^1 x\\,dx$$
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def origin() -> AsyncIterator[str]:
    """The address of a hub in this process."""
    async with running_hub() as hub:
        yield f"http://127.0.0.1:{hub.port}"


async def open_view(browser: Browser, origin: str, **context: Any) -> Page:
    """Open an empty page of the hub, with the policy of its files, and a view in it."""
    page = await (await new_context(browser, **context)).new_page()
    page.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    await page.goto(f"{origin}/demo/markdown.js")
    await page.evaluate(START)
    return page


async def test_an_answer_with_everything(browser: Browser, origin: str) -> None:
    """Tables, nested lists, links, colours, formulas, directions, and a button that copies code."""
    page = await open_view(browser, origin, permissions=["clipboard-read", "clipboard-write"])
    await page.evaluate("text => view.update(text)", SAMPLE)
    text = page.locator("#text")
    await expect(text.locator("h4")).to_have_text("Title")
    await expect(text.locator("td").last).to_have_text("1")
    await expect(text.locator("ol ul li")).to_have_text("nested")
    anchor = text.get_by_role("link", name="link")
    await expect(anchor).to_have_attribute("rel", "noopener nofollow noreferrer")
    arabic = text.get_by_text("مرحبا بالعالم")
    assert await arabic.evaluate("element => getComputedStyle(element).direction") == "rtl"
    await expect(text.locator(".code .language")).to_have_text("python")
    await expect(text.locator(".hljs-keyword").first).to_have_text("def")
    await expect(text.locator("math")).to_have_text(["x2", "∫01x\u2009dx"])
    await text.get_by_role("button", name="Copy the code").click()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == "def double(x):\n    return 2 * x\n"


async def test_alignment_and_numbers_are_kept(browser: Browser, origin: str) -> None:
    """Columns are aligned as the table says, and a list begins with the number that it says."""
    page = await open_view(browser, origin)
    await page.evaluate("text => view.update(text)", "| a |\n|--:|\n| 1 |\n\n5. five\n6. six\n")
    await expect(page.locator("#text td")).to_have_attribute("align", "right")
    await expect(page.locator("#text ol")).to_have_attribute("start", "5")


async def test_long_tables_keep_their_columns_and_roles(browser: Browser, origin: str) -> None:
    """Later rows have the widths of the first ones, and the table stays one table for readers."""
    page = await open_view(browser, origin)
    rows = "".join(f"| {n} | some longer text of row {n} |\n" for n in range(70))
    await page.evaluate("text => view.update(text)", f"| n | text |\n|---|---|\n{rows}")
    widths = await page.locator("tr > :first-child").evaluate_all(
        "cells => cells.map((cell) => Math.round(cell.getBoundingClientRect().width))"
    )
    assert len(widths) == 71
    assert len(set(widths)) == 1
    all_columns = await page.locator("tr").first.evaluate("row => row.clientWidth")
    assert widths[0] < all_columns / 3
    await expect(page.get_by_role("table")).to_have_count(1)
    await expect(page.get_by_role("row")).to_have_count(71)
    await expect(page.get_by_role("columnheader")).to_have_count(2)
    await expect(page.get_by_role("cell")).to_have_count(140)


async def test_only_the_end_is_rendered_again(browser: Browser, origin: str) -> None:
    """While an answer grows, each step renders its last block, and finished blocks stay."""
    page = await open_view(browser, origin)
    counts = await page.evaluate(
        """(text) => {
            const changed = [];
            const blocks = () => [...root.children].flatMap((group) => [...group.children]);
            let steps = 0;
            for (let end = 0; end < text.length; end += 7, steps += 1) {
                const finished = blocks().slice(0, -3);
                view.update(text.slice(0, end), true);
                const shown = blocks();
                changed.push(...finished.filter((element, i) => shown[i] !== element));
            }
            view.update(text, false);
            const [rendered, count] = [view.renderCount, blocks().length];
            return { steps, rendered, blocks: count, changed: changed.length };
        }""",
        SAMPLE * 40,
    )
    assert counts["changed"] == 0
    assert counts["blocks"] == 40 * 7
    assert counts["rendered"] <= counts["steps"] + 3 * counts["blocks"]


@pytest.mark.parametrize("kind", LONG_TEXTS)
async def test_an_update_costs_what_is_new(browser: Browser, origin: str, kind: str) -> None:
    """However long a text is, and whatever it is, each update parses, renders and inserts little,
    and in the end it looks as if it had come at once.
    """
    text = long_text(LONG_TEXTS[kind], 15_000)
    if kind == "links to the end":
        text += "".join(f"[a{n}]: https://a.example/{n}\n" for n in range(0, 1000, 100))
    page = await open_view(browser, origin)
    result = await page.evaluate(
        """async (text) => {
            let nodes = 0;
            const count = (records) => records.forEach(({ addedNodes, removedNodes }) => {
                nodes += addedNodes.length + removedNodes.length;
            });
            const observer = new MutationObserver(count);
            observer.observe(root, { subtree: true, childList: true });
            const update = (end, isGrowing) => {
                const before = [view.parsedChars, view.renderedChars, nodes];
                view.update(text.slice(0, end), isGrowing);
                count(observer.takeRecords());
                const after = [view.parsedChars, view.renderedChars, nodes];
                return after.map((value, index) => value - before[index]);
            };
            const costs = [];
            for (let end = 60; end < text.length; end += 60) costs.push(update(end, true));
            costs.push(update(text.length, false));
            observer.disconnect();
            const { runLater } = await import("/demo/run_later.js");
            const html = async () => {
                await new Promise((resolve) => runLater(resolve));  // formulas and colours
                return root.innerHTML.replace(/\\n+(?=<)/g, "");
            };
            const grown = await html();
            root.replaceChildren();
            newView().update(text);
            const whole = await html();
            const most = [0, 1, 2].map((index) => Math.max(...costs.map((cost) => cost[index])));
            return { most, grown, whole };
        }""",
        text,
    )
    parsed, rendered, nodes = result["most"]
    assert parsed <= 12_000, result["most"]
    assert rendered <= 6_000, result["most"]
    assert nodes <= 1_000, result["most"]
    assert result["grown"] == result["whole"]


LAYOUTS = {
    "text": "Some *words* of a line.\n\n",
    "mixed": LONG_TEXTS["blocks"],
    "a table": "~| a | b |\n|---|---|\n~| row # | *some* `text` |\n",
    "a list": "- item # is **here**\n  - nested # with `code`\n",
    "a loose list": "- item # is **here**\n\n  its second paragraph\n\n",
}


@pytest.mark.parametrize("kind", LAYOUTS)
async def test_an_update_restyles_what_is_new(browser: Browser, origin: str, kind: str) -> None:
    """While a long answer grows, the browser computes the styles of new elements, not of all."""
    text = long_text(LAYOUTS[kind], 20_000)
    page = await open_view(browser, origin, viewport={"width": 800, "height": 600})
    session = await page.context.new_cdp_session(page)
    events: list[dict[str, Any]] = []
    ended = asyncio.Event()
    session.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
    session.on("Tracing.tracingComplete", lambda _: ended.set())
    await page.evaluate(
        """async () => {
            for (const name of ["theme", "demo", "answer"]) {
                const options = { rel: "stylesheet", href: `/demo/${name}.css` };
                const link = Object.assign(document.createElement("link"), options);
                document.head.append(link);
                await new Promise((resolve) => link.addEventListener("load", resolve));
            }
            document.body.style = "display: block; height: 500px; overflow: auto";
            window.frame = () => new Promise((resolve) => {
                requestAnimationFrame(() => setTimeout(resolve));
            });
        }"""
    )
    await page.evaluate(
        """async (text) => {
            view.update(text, true);
            window.showEnd = () => {
                root.lastElementChild.lastElementChild.scrollIntoView({ block: "end" });
                return frame();
            };
            for (let count = 0; count < 3; count += 1) await showEnd();
        }""",
        text[:-600],
    )
    categories = {"includedCategories": ["devtools.timeline"]}
    await session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": categories})
    await page.evaluate(
        """async (text) => {
            for (let end = text.length - 600; end <= text.length; end += 40) {
                view.update(text.slice(0, end), true);
                await showEnd();
            }
        }""",
        text,
    )
    await session.send("Tracing.end")
    await ended.wait()
    counts = [
        each["args"].get("elementCount", 0) for each in events if each["name"] == "UpdateLayoutTree"
    ]
    assert len(counts) >= 15
    assert max(counts) <= 400, counts


async def test_a_growing_view_shows_what_a_whole_one_shows(browser: Browser, origin: str) -> None:
    """In the end, the elements are the same as if the text had come at once."""
    page = await open_view(browser, origin)
    await page.evaluate(
        """async (text) => {
            for (let end = 0; end < text.length; end += 3) view.update(text.slice(0, end), true);
            view.update(text, false);
        }""",
        SAMPLE,
    )
    await expect(page.locator("math")).to_have_count(2)
    await expect(page.locator(".hljs-keyword").first).to_have_text("def")
    grown = await page.locator("#text").inner_html()
    await page.evaluate("text => { root.replaceChildren(); newView().update(text); }", SAMPLE)
    await expect(page.locator("math")).to_have_count(2)
    await expect(page.locator(".hljs-keyword").first).to_have_text("def")
    assert await page.locator("#text").inner_html() == grown


async def test_nothing_of_an_answer_runs(browser: Browser, origin: str) -> None:
    """No vector of the lists runs a script or sends a request, alone, grown, or all together.

    The page's policy is off, so that the sanitiser alone is tested. The lists are OWASP's XSS
    Filter Evasion Cheat Sheet and known bypasses of sanitisers.
    """
    page = await open_view(browser, origin, bypass_csp=True)
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url))
    page.on("dialog", lambda dialog: outside.append(dialog.message))
    attributes = await page.evaluate(
        """async (vectors) => {
            window.alert = window.msgbox = (text) => ran.push(text);
            window.ran = [];
            const attributes = new Set();
            const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
            const look = () => {
                for (const element of root.querySelectorAll("*")) {
                    for (const { name, value } of element.attributes) {
                        attributes.add(name === "href" ? `href ${value.split(":")[0]}` : name);
                    }
                }
            };
            for (const text of [...vectors, vectors.join("\\n\\n"), vectors.join("\\n")]) {
                root.replaceChildren();
                const view = newView();
                for (let end = 0; end < Math.min(500, text.length); end += 5) {
                    view.update(text.slice(0, end), true);
                }
                view.update(text);
                await frame();
                look();
            }
            for (const name of ["mouseover", "pointerenter", "click", "focus", "toggle"]) {
                const elements = root.querySelectorAll("*");
                elements.forEach((element) => element.dispatchEvent(new Event(name)));
            }
            return [...attributes];
        }""",
        VECTORS,
    )
    await page.wait_for_function("globalThis.katex")
    assert await page.evaluate("ran") == []
    assert [url for url in outside if not url.startswith(f"{origin}/vendor/")] == []
    known = {"href https", "href http", "href mailto", "class", "dir", "rel", "target", "tabindex"}
    known |= {"role", "aria-label", "title", "align", "start", "open", "type", "data-highlighted"}
    known |= {"xmlns", "display", "encoding", "mathvariant", "stretchy", "mathcolor"}
    assert set(attributes) <= known
