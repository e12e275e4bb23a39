"""`useChat` in Chromium and AG-UI's HttpAgent show what a function yields."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess

import pytest
from playwright.async_api import expect

from tests.conftest import missing
from tests.interop.conftest import Programs
from tests.interop.programs import JS
from tests.interop.running_hub import RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_use_chat(hub: RunningHub, programs: Programs) -> None:
    """The page shows status, input and output of tools, sources, a picture and custom data."""
    browser = await programs.browser()
    async with browser.tab() as page:
        token = hub.token(hub.user())
        await page.goto(f"{hub.url}/interop/use_chat_parts.html?token={token}")
        await page.get_by_role("button", name="Ask").click()
        answer = page.locator("article").nth(1)
        await expect(answer).to_contain_text("Tea is here")
        await expect(page.locator("output")).to_have_text("ready")  # all of the answer is there
        assert (await answer.inner_text()).split("\n\n") == [
            'tool-find output-available {"query":"tea"} {"hits":2}',
            "tool-open output-error {} no such page",
            "Tea",
            "reasoning: Two hits.",
            "Tea is here",
            'data-order {"number":981}',
            'data-state {"cart":["tea"]}',
            ".",
        ]
        await expect(page.locator("aside")).to_have_text("Searching, Writing")
        await expect(answer.get_by_role("link")).to_have_attribute(
            "href", "https://shop.example/tea"
        )
        await expect(answer.get_by_role("img")).to_have_attribute(
            "src", "data:image/png;base64,aGk="
        )


async def test_http_agent(hub: RunningHub) -> None:
    """The agent has the tool calls, their results and the state; its subscriber has the rest."""
    node = shutil.which("node")
    if node is None or not (JS / "node_modules").exists():
        missing("node with the packages of tests/interop/js")
    command = [node, str(JS / "ag_ui_parts.mjs"), hub.url, hub.token(hub.user())]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["isFinished"]
    assert seen["steps"] == ["+search", "-search"]
    assert seen["results"] == [["call", '{"hits":2}'], ["broken", "no such page"]]
    assert seen["state"] == {"cart": ["tea"]}
    statuses = ["Searching", "Writing"]
    assert seen["activities"] == [["status", {"text": text}] for text in statuses]
    activities = [each["content"] for each in seen["messages"] if each["role"] == "activity"]
    assert activities == [{"text": "Writing"}]
    custom = [each for each in seen["custom"] if each[0] != "generation"]
    assert custom == [
        ["status", {"text": "Searching"}],
        ["status", {"text": "Writing"}],
        ["source", {"url": "https://shop.example/tea", "title": "Tea", "id": "tea"}],
        ["order", {"number": 980}],
        ["tick", 1],
        ["order", {"number": 981}],
        ["file", {"data": "aGk=", "media_type": "image/png", "name": "tea.png"}],
    ]
    text = "".join(
        each["content"]
        for each in seen["messages"]
        if each["role"] == "assistant" and each.get("content")
    )
    assert text == "Tea is here."
