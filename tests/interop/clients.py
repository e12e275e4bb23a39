"""The tested clients and their abilities, as `docs/clients/tested.md` lists them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version as installed_version
from typing import Final, Literal

from tests.interop.programs import JARS, JS

Runtime = Literal["chromium", "node", "python", "java"]
Resume = Literal["by itself", "by hand"]
HEADER: Final = "header"


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client for event streams.

    after_break, after_end: whether it reconnects by itself after a broken connection, and after
    the hub has ended the stream with `hub.bye`. stops: the ways to stop an answer. loses_at_start:
    characters that it removes at the start of data that is a plain string. pinned: a lock file
    determines the version; otherwise the distribution does.
    """

    name: str
    runtime: Runtime
    program: str
    version: Callable[[], str]
    pinned: bool = True
    auth: str = HEADER
    after_break: Resume = "by hand"
    after_end: Resume = "by hand"
    stops: tuple[str, ...] = ("hangup", "delete")
    loses_at_start: tuple[str, ...] = ()
    notes: str = ""

    @property
    def reconnects(self) -> bool:
        """Return whether it always reconnects by itself."""
        return self.after_break == self.after_end == "by itself"


def npm_version(*packages: str) -> str:
    lock = json.loads((JS / "package-lock.json").read_text())
    return ", ".join(lock["packages"][f"node_modules/{each}"]["version"] for each in packages)


@cache
def _major_version(program: str, flag: str) -> str:
    """Return the first number in the output of `program flag`."""
    binary = shutil.which(program)
    if binary is None:
        return "?"
    completed = subprocess.run(
        [binary, flag], capture_output=True, text=True, check=True, timeout=60
    )
    output = completed.stdout.partition("unexpected operator")[2] or completed.stdout
    number = re.search(r"\d+", output)
    return number[0] if number else "?"


def _jar(name: str) -> str:
    """Return the version in the file name of a Debian Java library."""
    for file in sorted(JARS.glob(f"{name}-[0-9]*.jar")):
        return file.stem.removeprefix(f"{name}-")
    return "?"


_CHROMIUM: Final = partial(_major_version, "chromium", "--version")
_JDK: Final = partial(_major_version, "java", "--version")

CLIENTS: Final = (
    Client(
        name="`EventSource` (Chromium)",
        runtime="chromium",
        program="eventsource_browser",
        version=_CHROMIUM,
        pinned=False,
        auth="cookie, `?access_token=` or `?ticket=`",
        after_break="by itself",
        after_end="by itself",
        stops=("delete",),
        notes="supports neither headers nor POST: start and stop answers with `fetch`; "
        "close it when `hub.bye` has `reconnect: false`; over plain HTTP, it ends for good when "
        "the connection closes inside the response headers (over HTTPS it reconnects)",
    ),
    Client(
        name="`eventsource` (npm)",
        runtime="node",
        program="eventsource_npm",
        version=partial(npm_version, "eventsource"),
        auth="header, with a custom `fetch`",
        after_break="by itself",
        after_end="by itself",
        stops=("delete",),
        notes="supports only GET, as in browsers",
    ),
    Client(
        name="`@microsoft/fetch-event-source` (npm)",
        runtime="chromium",
        program="fetch_event_source",
        version=partial(npm_version, "@microsoft/fetch-event-source"),
        after_break="by itself",
        loses_at_start=("\n", "\ufeff"),
        notes="reconnects after a clean end only if `onclose` throws; removes a newline or "
        "byte order mark at the start of a string (publish JSON); repeats its request when its tab "
        "becomes visible again: send an `Idempotency-Key`",
    ),
    Client(
        name="`fetch`, `AbortController` (Chromium)",
        runtime="chromium",
        program="fetch_abort",
        version=_CHROMIUM,
        pinned=False,
    ),
    Client(
        name="`fetch`, `AbortController` (Node.js)",
        runtime="node",
        program="fetch_abort",
        version=partial(_major_version, "node", "--version"),
        pinned=False,
    ),
    Client(
        name="`requests` (PyPI), line by line",
        runtime="python",
        program="requests_lines",
        version=partial(installed_version, "requests"),
        notes="read bytes: `decode_unicode=True` splits lines at U+2028 and U+0085",
    ),
    Client(
        name="`httpx-sse` (PyPI)",
        runtime="python",
        program="httpx_sse_stream",
        version=partial(installed_version, "httpx-sse"),
        notes="httpx times out after 5 s without data: set the `read` timeout above 8 s",
    ),
    Client(
        name="aiohttp's client (PyPI), line by line",
        runtime="python",
        program="aiohttp_lines",
        version=partial(installed_version, "aiohttp"),
        notes="times out after 300 s: set `total=None`",
    ),
    Client(
        name="`websockets` (PyPI)",
        runtime="python",
        program="websockets_json",
        version=partial(installed_version, "websockets"),
        stops=("delete",),
        notes="uses `/ws/connect`; starts and stops answers with messages",
    ),
    Client(
        name="HttpURLConnection, BufferedReader (Java)",
        runtime="java",
        program="UrlConnection",
        version=_JDK,
        pinned=False,
        notes="has no read timeout by default",
    ),
    Client(
        name="java.net.http.HttpClient (Java)",
        runtime="java",
        program="NetHttpClient",
        version=_JDK,
        pinned=False,
        notes="`BodyHandlers.ofLines`; has no read timeout",
    ),
    Client(
        name="AsyncHttpClient (Java)",
        runtime="java",
        program="AsyncHttp",
        version=partial(_jar, "async-http-client"),
        pinned=False,
        notes="times out after 60 s: `setRequestTimeout(-1)`; repeats a POST after a break: "
        "`setMaxRequestRetry(0)`, or send an `Idempotency-Key`",
    ),
    Client(
        name="OkHttp (Java)",
        runtime="java",
        program="OkHttpLines",
        version=partial(_jar, "okhttp"),
        pinned=False,
        notes="times out after 10 s without data; the hub sends a heartbeat every 8 s",
    ),
)
OKHTTP: Final = CLIENTS[-1]


@dataclass(frozen=True, kw_only=True)
class AnswerClient:
    """A client for answers only.

    after_break: whether it resumes after a broken connection. stop: how its user stops an answer.
    """

    name: str
    runtime: Runtime
    program: str
    version: Callable[[], str]
    route: str
    after_break: Literal["by itself", "by hand", "none"]
    stop: str
    auth: str = HEADER
    pinned: bool = True
    notes: str = ""


def _anthropic(name: str, runtime: Runtime, version: Callable[[], str]) -> AnswerClient:
    incomplete = "; Node.js may report a broken stream as ended: without `message_stop` it is "
    return AnswerClient(
        name=name,
        runtime=runtime,
        program="anthropic_messages",
        version=version,
        route="`/v1/messages`",
        auth="`api_key` or `auth_token`" if runtime == "python" else "`apiKey` or `authToken`",
        after_break="none",
        stop="disconnect, started with `on_disconnect: stop`",
        notes="raises an error when the stream breaks; start again"
        + (f"{incomplete}incomplete" if runtime == "node" else ""),
    )


def _openai(where: str, runtime: Runtime, version: Callable[[], str]) -> list[AnswerClient]:
    incomplete = "; Node.js may report a broken stream as ended: without {} it is incomplete"
    incomplete = incomplete if runtime == "node" else ""
    return [
        AnswerClient(
            name=f"`openai` ({where}), chat completions",
            runtime=runtime,
            program="openai_chat",
            version=version,
            route="`/v1/chat/completions`",
            auth="`api_key`" if runtime == "python" else "`apiKey`",
            after_break="none",
            stop="disconnect, started with `on_disconnect: stop`",
            notes="raises an error when the stream breaks; start again"
            + incomplete.format("`finish_reason`"),
        ),
        AnswerClient(
            name=f"`openai` ({where}), Responses",
            runtime=runtime,
            program="openai_responses",
            version=version,
            route="`/v1/responses`",
            auth="`api_key`" if runtime == "python" else "`apiKey`",
            after_break="by hand",
            stop="`responses.cancel`",
            notes="use `background`; when the stream breaks, `responses.retrieve` with "
            "`starting_after`" + incomplete.format("`response.completed`"),
        ),
    ]


ANSWER_CLIENTS: Final = (
    *_openai("npm", "node", partial(npm_version, "openai")),
    *_openai("PyPI", "python", partial(installed_version, "openai")),
    _anthropic("`@anthropic-ai/sdk` (npm)", "node", partial(npm_version, "@anthropic-ai/sdk")),
    _anthropic("`anthropic` (PyPI)", "python", partial(installed_version, "anthropic")),
    AnswerClient(
        name="`ai`, `@ai-sdk/react` (npm)",
        runtime="node",
        program="ai_chat",
        version=partial(npm_version, "ai", "@ai-sdk/react"),
        route="`/v1/ui/chat`",
        after_break="by hand",
        stop="`DELETE /v1/ui/chat/{chat}`",
        notes="`resumeStream()`; with `resume: true`, `useChat` (also tested in Chromium) resumes "
        "after a reload, and after a break when its tab is visible again; `stop()` only "
        "disconnects; "
        "with `startIndex=0` (`prepareReconnectToStreamRequest`) it also receives an answer that "
        "has ended meanwhile; an answer without `finishReason` is incomplete, because Node.js "
        "may report a broken stream as ended",
    ),
    AnswerClient(
        name="`@ai-sdk/workflow` (npm)",
        runtime="node",
        program="ai_workflow",
        version=partial(npm_version, "@ai-sdk/workflow"),
        route="`/v1/ui/chat`",
        auth="header, with a custom `fetch`",
        after_break="by itself",
        stop="`DELETE /v1/ui/chat/{chat}`",
        notes="`WorkflowChatTransport`, from `@ai-sdk/workflow/client`",
    ),
    AnswerClient(
        name="`@ag-ui/client` (npm)",
        runtime="node",
        program="ag_ui",
        version=partial(npm_version, "@ag-ui/client"),
        route="`/v1/agui`",
        after_break="by hand",
        stop="`abortRun()`, started with `on_disconnect: stop`",
        notes="a request with the same `runId` reads the run from its start; Node.js may report a "
        "broken stream as ended: without `RUN_FINISHED` or `RUN_ERROR` it is incomplete",
    ),
)
