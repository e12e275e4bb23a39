"""Run the pages about the inbox: the five minutes with a bell, and the code of the guide."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.docs.conftest import Site
from tests.docs.snippets import DOCS, find_blocks

TEST = f"tests/docs/{Path(__file__).name}"
FIVE_MINUTES = DOCS / "start" / "inbox.md"
GUIDE = DOCS / "guides" / "inbox.md"
_TIMEOUT_MS = 20_000

pytestmark = pytest.mark.asyncio(loop_scope="module")  # as the browser fixture


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page that this file runs."""
    return [
        block.code
        for block in find_blocks(page)
        if (block.language, block.test) == (language, TEST)
    ]


def count(element: Locator) -> Locator:
    return element.locator("[part=count]")


async def test_five_minutes(site: Site, chromium: Browser, tmp_path: Path) -> None:
    """In an empty folder, the commands make a page whose bell shows 1, then 2, in two browsers."""
    start, page, publish = blocks(FIVE_MINUTES, "sh")
    # The hub of `site` allows the origin in the same way.
    assert start == "HUB_PUBLIC__ALLOWED_ORIGINS='[\"http://localhost:8000\"]' env/bin/hub dev\n"
    script = f"exec 2>&1\n{site.substitutions.apply(page)}"
    assert "python3 -m http.server" in script
    bash = shutil.which("bash")
    assert bash is not None
    publish = site.substitutions.apply(publish).replace("alice", "fiona")
    script = script.replace("alice", "fiona").replace("\npython3 -m", "\nexec python3 -u -m")
    server = await asyncio.create_subprocess_exec(
        bash, "-c", script, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        assert b"Serving HTTP" in await server.stdout.readline()
        elements = []
        for _ in range(2):
            opened = await (await chromium.new_context()).new_page()
            await opened.goto(f"http://localhost:{site.backend_port}/")
            elements.append(opened.locator("hub-inbox"))
        for number in ("1", "2"):
            await asyncio.to_thread(subprocess.check_call, [bash, "-c", publish], cwd=tmp_path)
            for element in elements:
                await expect(count(element)).to_have_text(number, timeout=_TIMEOUT_MS)
        await elements[0].get_by_role("button", name="Notifications, 2 unread").click()
        anchor = elements[0].get_by_role("link", name="Your export is ready").first
        await expect(anchor).to_have_attribute("href", "https://example.com/q3")
        await elements[0].get_by_role("button", name="Mark all as read").click()
        for element in elements:
            await expect(count(element)).to_be_hidden(timeout=_TIMEOUT_MS)
            await element.page.context.close()
    finally:
        server.terminate()
        await server.wait()


async def test_guide(site: Site, chromium: Browser) -> None:
    """The page of the guide shows a bell in its style, and its code follows the list."""
    (html,), (css,), code = (blocks(GUIDE, language) for language in ("html", "css", "js"))
    html = html.replace("https://hub.example", site.dev.url)
    page = await chromium.new_page()

    async def serve(route: Any) -> None:
        await route.fulfill(content_type="text/html", body=f"{html}<style>{css}</style>")

    await page.route("**/guide", serve)
    await page.goto(f"{site.dev.url}/guide")
    for title in ("one", "two"):
        body = {"to": {"user": "alice"}, "event": "export.ready", "data": {"title": title}}
        body["inbox"] = {"category": "exports", "key": f"guide-{title}"}
        await asyncio.to_thread(site.dev.call, "POST", "/publish", body, internal=True)
    element = page.locator("hub-inbox")
    await expect(count(element)).to_be_visible(timeout=_TIMEOUT_MS)
    await element.locator("[part=bell]").click()
    await expect(element.locator("[part~=item-unread]").first).to_contain_text("two")
    width = await element.locator("[part=panel]").evaluate("(panel) => panel.offsetWidth")
    assert width == 28 * 16

    script = "\n".join(code).replace("https://hub.example", site.dev.url)
    connect = f'import {{ connect }} from "{site.dev.url}/hub.js";'
    assert connect in script
    script = script.replace(
        connect, f'const {{ connect }} = await import("{site.dev.url}/hub.js");'
    )
    shown = await page.evaluate(
        "async () => { const badges = [], shown = [], fetchToken = async () => null;"
        " const badge = (number) => badges.push(number);"
        " const show = (items) => shown.push(items.map(({ data, read }) => [data.title, read]));"
        f"{script} return shown.at(-1).slice(0, 2); }}"
    )
    assert shown == [["two", True], ["one", False]]
    await expect(element.get_by_role("listitem").first).to_contain_text("two")
    await page.close()
