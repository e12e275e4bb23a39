"""A function that asks people for values, and every client that people answer with."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import pty
import re
import signal
import subprocess
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from hub_client import BadRequest, HubClient, InputReceived, InputRequested, SyncHubClient
from tests.chromium import new_context
from tests.docs.snippets import DOCS, find_blocks, run_python
from tests.e2e.conftest import Dev
from tests.e2e.test_page import ask, expect_status, open_page, text_of
from tests.forked_hub import hub_program

APP = """
from hub.producer import App, Run, Suspend

app = App()
ORDER = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Your name"},
        "count": {"type": "integer", "minimum": 1, "maximum": 3},
        "gift": {"type": "boolean"},
        "colour": {"enum": ["red", "blue"]},
    },
    "required": ["name", "count"],
}

@app.producer()
async def refund(run: Run):
    yield "So. "
    decision = await run.input(
        "refund", "Refund 40 €?", options=["approve", "deny"], approvers=["boss"]
    )
    yield f"It is: {decision}."
    for message in run.steering():
        yield f" Heard: {message.text}."

@app.producer()
async def suspends(run: Run):
    if "refund" not in run.inputs:
        yield "So. "
        raise Suspend("refund", "Refund 40 €?", options=["approve", "deny"], approvers=["boss"])
    yield f"It is: {run.inputs['refund']}."

@app.producer()
async def order(run: Run):
    value = await run.input("order", "What shall we send?", schema=ORDER)
    yield f"{value['count']} {value.get('colour')} for {value['name']}, gift: {value['gift']}."
"""
pytestmark = pytest.mark.asyncio(loop_scope="session")  # the browser's


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """`hub dev` with the functions."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "answers.py").write_text(APP)
    dev = Dev(folder, "--app", "answers:app", cwd=folder)
    try:
        yield dev.wait_until_ready()
    finally:
        dev.stop()


def documented_code(page: str, language: str) -> str:
    """Return the code about inputs of a page of the documents."""
    blocks = find_blocks(DOCS / "clients" / page)
    (code,) = (
        block.code
        for block in blocks
        if block.language == language and block.part == "Answer an input"
    )
    return code


async def test_demo_page(browser: Browser, dev: Dev) -> None:
    """One tab approves, and the other tabs and the approver see who did; a form makes an object."""
    first = await open_page(browser, dev, "alice", viewport={"width": 1280, "height": 800})
    second = await open_page(browser, dev, "alice")
    boss = await open_page(browser, dev, "boss")
    answer = await ask(first, "refund me")
    mirrored = second.get_by_test_id("answer")
    await expect_status(answer, "waiting")
    await expect(answer).to_contain_text("waiting for an input")
    await expect(first.locator("[aria-live=polite]")).to_have_text("The answer asks: Refund 40 €?")
    request = boss.get_by_role("group", name="Refund 40 €?")
    await expect(boss.get_by_role("region", name="Requests to you")).to_contain_text("For alice")
    await expect(request.get_by_role("button")).to_have_text(["approve", "deny"])
    await expect(boss.get_by_test_id("answer")).to_have_count(0)
    await second.reload()
    approve = mirrored.get_by_role("group", name="Refund 40 €?").get_by_role("button").first
    await approve.press("Enter")
    for page in (first, second, boss):
        group = page.get_by_role("group", name="Refund 40 €?")
        await expect(group.get_by_text("alice: approve")).to_be_visible()
        await expect(group.get_by_role("button")).to_have_count(0)
    await expect(mirrored.get_by_text("alice: approve")).to_be_focused()
    await expect_status(answer, "done")
    await expect(text_of(answer)).to_have_text(["So.", "It is: approve."])

    # The approver decides, and an answer that is stopped asks no more.
    answer = await ask(first, "refund me again")
    await boss.get_by_role("group", name="Refund 40 €?").get_by_role("button", name="deny").click()
    await expect(answer.get_by_text("boss: deny")).to_be_visible()
    await expect_status(answer, "done")
    answer = await ask(first, "once more")
    await expect_status(answer, "waiting")
    await answer.get_by_role("button", name="Stop").click()
    await expect(answer.get_by_text("The answer ended before somebody answered.")).to_be_visible()
    late = boss.get_by_role("group", name="Refund 40 €?").first
    await expect(late.get_by_text("Nobody answered in time.")).to_be_visible()
    await expect(late.get_by_role("button")).to_have_count(0)

    # A form, whose value the hub checks.
    body = {"prompt": "tea", "upstream": "order"}
    started = dev.call("POST", "/generations?user=alice", body)
    form = first.get_by_role("group", name="What shall we send?")
    await form.get_by_label("Your name").fill("Ada")
    count = form.get_by_label("count")
    await count.evaluate("control => control.removeAttribute('max')")
    await count.fill("7")
    await form.get_by_label("gift").check()
    await form.get_by_label("colour").select_option("blue")
    await form.get_by_role("button", name="Send").press("Enter")
    await expect(form.get_by_role("alert")).to_contain_text("7")
    await expect(count).to_be_focused()
    await count.fill("2")
    await first.keyboard.press("Enter")
    answer = first.locator(f"[data-generation={started['generation']}]")
    await expect(text_of(answer)).to_have_text("2 blue for Ada, gift: True.")


async def test_code_of_the_documents(browser: Browser, dev: Dev) -> None:
    """The examples of both clients answer, and say who did."""
    page = await (await new_context(browser)).new_page()
    await page.goto(f"{dev.url}/nothing-here")
    shown = await page.evaluate(
        """async (code) => {
            const { connect } = await import("/hub.js");
            const hub = connect({ user: "dora", store: null });
            const shown = [];
            const openDialog = (prompt, options, respond) => {
                respond(options[0]);
                return { close: (outcome) => shown.push(prompt, outcome) };
            };
            const asking = new Function("hub", "openDialog", `${code}; return asking;`)(
                hub, openDialog);
            const { text } = await asking.ended();
            hub.close();
            return [...shown, text];
        }""",
        documented_code("javascript.md", "js"),
    )
    assert shown == ["Refund 40 €?", "dora: approve", "So. It is: approve."]

    async def decide(prompt: str, options: list[str], schema: Any) -> str:
        assert (prompt, schema) == ("Refund 40 €?", None)
        return options[1]

    names: dict[str, Any] = {"decide": decide}
    await run_python(documented_code("python.md", "python"), names)
    async with asyncio.timeout(60), HubClient(dev.url, user="dora") as hub:
        answer = await hub.ask("refund me", upstream="refund")
        await names["follow_and_decide"](answer)
    assert answer.current_text == "So. It is: deny."


async def test_console_and_suspended_answers(browser: Browser, dev: Dev) -> None:
    """The console marks the status and says who may answer; the page answers both kinds."""
    page = await open_page(browser, dev, "oskar")
    console = await (await new_context(browser)).new_page()
    console.on("pageerror", lambda error: pytest.fail(f"the page failed: {error}"))
    await console.goto(f"{dev.internal_url}/console")
    for upstream, status in (("refund", "waiting"), ("suspends", "suspended")):
        body = {"prompt": "x", "upstream": upstream}
        started = dev.call("POST", "/generations?user=oskar", body)
        await console.get_by_role("link", name="Answers").click()
        row = console.locator("#answers tbody tr", has_text=started["generation"])
        await expect(row).to_contain_text(status)
        await row.get_by_role("link", name=started["generation"]).click()
        await expect(console.locator("#answer-parts")).to_contain_text('"approvers":["boss"]')
        await page.reload()  # the state of a page that has only a snapshot, or the log
        answer = page.locator(f"[data-generation={started['generation']}]")
        await expect_status(answer, "waiting")
        await answer.get_by_role("button", name="approve").click()
        await expect_status(answer, "done")
        await expect(answer.get_by_text("oskar: approve")).to_be_visible()
        await expect(answer).to_contain_text("It is: approve.")
        await expect(console.locator("#answer-parts")).to_contain_text('"state":"received"')


async def test_message_to_a_running_answer(browser: Browser, dev: Dev) -> None:
    """The composer sends a message to the running answer; every tab shows it, the code has it."""
    page = await open_page(browser, dev, "stella")
    second = await open_page(browser, dev, "stella")
    add = page.get_by_test_id("steer")
    await expect(add).to_be_hidden()
    answer = await ask(page, "refund me")
    await expect_status(answer, "waiting")
    await page.get_by_test_id("composer").fill("in French")
    await add.click()
    await expect(page.get_by_test_id("composer")).to_have_value("")
    await expect(page.get_by_test_id("answer")).to_have_count(1)
    for each in (answer, second.get_by_test_id("answer")):
        await expect(each.get_by_role("list", name="Added messages")).to_have_text("in French")
    await answer.get_by_role("button", name="approve").click()
    await expect_status(answer, "done")
    await expect(answer).to_contain_text("Heard: in French.")
    await expect(add).to_be_hidden()

    # An LLM takes no messages: the text stays in the composer.
    body = {"prompt": "count to 9999", "upstream": "simulated"}
    started = dev.call("POST", "/generations?user=stella", body)
    await page.get_by_test_id("composer").fill("shorter")
    await add.click()
    await expect(page.locator("#message")).to_contain_text("takes no messages while it runs")
    await expect(page.get_by_test_id("composer")).to_have_value("shorter")
    dev.call("DELETE", f"/generations/{started['generation']}?user=stella")


async def test_python_client(dev: Dev) -> None:
    """The asker and an approver answer, with and without an event loop."""
    async with (
        asyncio.timeout(60),
        HubClient(dev.url, user="carol") as hub,
        HubClient(dev.url, user="boss") as boss,
    ):
        answer = await hub.ask("refund me", upstream="refund")
        async for event in answer.events():
            if isinstance(event, InputRequested):
                assert (answer.status, event.options) == ("waiting", ["approve", "deny"])
                with pytest.raises(BadRequest) as caught:
                    await answer.respond("refund", "perhaps")
                assert caught.value.code == "input_invalid"
                counted = await boss.respond(answer.id, event.input, "deny")
                assert (counted.value, counted.by) == ("deny", "boss")
            elif isinstance(event, InputReceived):
                assert (event.value, event.by, answer.status) == ("deny", "boss", "running")
                with pytest.raises(BadRequest) as caught:
                    await hub.respond(answer.id, "refund", "approve")
                error = caught.value
                assert (error.code, error.value, error.by) == ("input_answered", "deny", "boss")
        assert answer.current_text == "So. It is: deny."
        order = await hub.ask("tea", upstream="order")
        await anext(event async for event in order.events() if isinstance(event, InputRequested))
        value = {"name": "Ada", "count": 1, "gift": False}

        def respond() -> Any:
            with SyncHubClient(url=dev.url, user="carol") as blocking:
                return blocking.respond(order.id, "order", value)

        assert (await asyncio.to_thread(respond)).value == value
        assert await order.text() == "1 None for Ada, gift: False."


class TerminalProgram:
    """`hub ask` whose standard input and error are a terminal; its output is a file."""

    def __init__(self, dev: Dev, folder: Path, *args: str) -> None:
        self.terminal, other_end = pty.openpty()
        self._output = (folder / "out").open("w+")
        command = [hub_program(), "ask", "tim", *args, "--url", dev.url]
        self.process = subprocess.Popen(
            command, stdin=other_end, stderr=other_end, stdout=self._output, start_new_session=True
        )
        os.close(other_end)
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may split a character

    def wait_for(self, text: str) -> None:
        """Read what the terminal shows until this text has come, and forget what was before."""
        while text not in self.shown:
            try:
                read = os.read(self.terminal, 4096)
            except OSError:  # the program has ended
                read = b""
            assert read, f"{text!r} was not shown, but {self.shown!r}"
            self.shown = (self.shown + self._decoder.decode(read)).replace("\r\n", "\n")
        self.shown = self.shown.partition(text)[2]

    def type(self, line: str) -> None:
        os.write(self.terminal, f"{line}\n".encode())

    def end(self) -> tuple[int, str]:
        """Wait for the end, and return the exit code and the output."""
        self.wait_for("deltas, ")
        code = self.process.wait(timeout=60)
        self._output.seek(0)
        return code, self._output.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)
        self._output.close()


Open = Callable[..., TerminalProgram]


@pytest.fixture
def open_terminal(dev: Dev, tmp_path: Path) -> Iterator[Open]:
    """Starts `hub ask` in a terminal."""
    opened: list[TerminalProgram] = []

    def open_one(*args: str) -> TerminalProgram:
        opened.append(TerminalProgram(dev, tmp_path, *args))
        return opened[-1]

    yield open_one
    for program in opened:
        program.close()


async def test_command_asks_at_the_terminal(dev: Dev, open_terminal: Open) -> None:
    """Options are numbered, a schema has fields, and what is wrong is asked again."""
    program = open_terminal("tea", "--upstream", "order", "--input", 'order={"name": "x"}')
    program.wait_for("was refused")  # by the flag; the terminal is asked then
    program.wait_for("? What shall we send?\n  Your name: ")
    program.type("Ada")
    program.wait_for("count [whole number]: ")
    program.type("many")
    program.wait_for("enter a whole number\n  count [whole number]: ")
    program.type("7")
    program.wait_for("gift [y/n, may be empty]: ")
    program.type("y")
    program.wait_for("1  red\n  2  blue\n  colour [1-2, may be empty]: ")
    program.type("2")
    program.wait_for("the value of order was refused: ")  # the hub allows 3 at most
    program.wait_for("? What shall we send?")  # what is typed before it is discarded
    for prompt, line in (
        ("Your name: ", "Ada"),
        ("count [whole number]: ", "2"),
        ("gift [y/n, may be empty]: ", "y"),
        ("colour [1-2, may be empty]: ", "2"),
    ):
        program.wait_for(prompt)
        program.type(line)
    assert program.end() == (0, "2 blue for Ada, gift: True.\n")


async def test_prompt_ends_when_somebody_else_was_faster(dev: Dev, open_terminal: Open) -> None:
    """The command says who answered, and goes on. Ctrl-C at a prompt stops the answer."""
    program = open_terminal("x", "--upstream", "refund")
    program.wait_for("? Refund 40 €?\n  1  approve\n  2  deny\n  1-2: ")
    page = dev.call("GET", "/generations?user=tim&status=waiting")
    (waiting,) = [each["generation"] for each in page["generations"]]
    path = f"/generations/{waiting}/inputs/refund?user=boss"
    dev.call("POST", path, {"value": "deny"})
    program.wait_for('(refund: "deny", from boss)')
    assert program.end() == (0, "So. It is: deny.\n")
    program = open_terminal("x", "--upstream", "refund")
    program.wait_for("1-2: ")
    program.process.send_signal(signal.SIGINT)
    program.wait_for("stopped by tim")
    assert program.process.wait(timeout=60) == 130


async def test_command_without_a_terminal(dev: Dev) -> None:
    """`--input` answers; without it the command prints the request, and waits for others."""
    command = [hub_program(), "ask", "ted", "x", "--upstream", "refund"]
    command += ["--url", dev.url]

    async def start(*more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command, *more, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )

    given = await start("--input", "refund=approve", "--input", "never=asked")
    out, _ = await asyncio.wait_for(given.communicate(), 60)
    assert (given.returncode, out) == (0, b"So. It is: approve.\n")
    waiting = await start("--json")
    assert waiting.stdout
    events = []
    async with asyncio.timeout(60):
        async for line in waiting.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "generation.input_requested":
                path = f"/generations/{events[-1]['generation']}/inputs/refund?user=ted"
                await asyncio.to_thread(dev.call, "POST", path, {"value": "deny"})
    assert [each["by"] for each in events if "by" in each] == ["ted"]
    described = await start()
    assert described.stderr
    async with asyncio.timeout(60):
        while b"waits for refund" not in (line := await described.stderr.readline()):
            assert line
    assert re.search(rb"Refund 40 .*\?.* One of: approve, deny\..*--input 'refund=VALUE'", line)
    described.terminate()
    with suppress(ProcessLookupError):
        await described.wait()
