"""The clients that people have, and what each can do: the tests hold each word of it, and
`docs/clients.md` shows it.
"""

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
    """after_break, after_end: who connects again after a broken connection, and after the hub has
    ended the stream with `hub.bye`. stops: how it can stop an answer. loses_at_start: of data
    that are a string and no JSON. pinned: the lock files say which version; else the distribution
    does.
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
    def comes_again(self) -> bool:
        """By itself, always."""
        return self.after_break == self.after_end == "by itself"


def _npm(*packages: str) -> str:
    lock = json.loads((JS / "package-lock.json").read_text())
    return ", ".join(lock["packages"][f"node_modules/{each}"]["version"] for each in packages)


@cache
def _said_by(program: str, flag: str) -> str:
    """The first number that `program flag` says: a major version."""
    binary = shutil.which(program)
    if binary is None:
        return "?"
    said = subprocess.run([binary, flag], capture_output=True, text=True, check=True, timeout=20)
    found = re.search(r"\d+", said.stdout.partition("unexpected operator")[2] or said.stdout)
    return found[0] if found else "?"


def _jar(name: str) -> str:
    """The version in the name of the file beside the plain one."""
    for file in sorted(JARS.glob(f"{name}-[0-9]*.jar")):
        return file.stem.removeprefix(f"{name}-")
    return "?"


_CHROMIUM: Final = partial(_said_by, "chromium", "--version")
_JDK: Final = partial(_said_by, "java", "--version")

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
        notes="takes no headers and only GET: ask and stop by `fetch` beside it; "
        "close it at a `hub.bye` that says not to come again",
    ),
    Client(
        name="`eventsource` (npm)",
        runtime="node",
        program="eventsource_npm",
        version=partial(_npm, "eventsource"),
        auth="header, by a `fetch` of one's own",
        after_break="by itself",
        after_end="by itself",
        stops=("delete",),
        notes="only GET, as the browser's",
    ),
    Client(
        name="`@microsoft/fetch-event-source` (npm)",
        runtime="chromium",
        program="fetch_event_source",
        version=partial(_npm, "@microsoft/fetch-event-source"),
        after_break="by itself",
        loses_at_start=("\n", "\ufeff"),
        notes="after a clean end only if `onclose` throws; a string loses a first newline or byte "
        "order mark (publish JSON); asks again when its tab is shown: give an `Idempotency-Key`",
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
        version=partial(_said_by, "node", "--version"),
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
        notes="httpx gives up after 5 s of silence: set `read` above 8 s",
    ),
    Client(
        name="aiohttp's client (PyPI), line by line",
        runtime="python",
        program="aiohttp_lines",
        version=partial(installed_version, "aiohttp"),
        notes="ends after 300 s (`total=None`)",
    ),
    Client(
        name="`websockets` (PyPI)",
        runtime="python",
        program="websockets_json",
        version=partial(installed_version, "websockets"),
        stops=("delete",),
        notes="over `/ws/connect`; asks and stops by messages",
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
        notes="ends after 60 s (`setRequestTimeout(-1)`); repeats a POST whose connection broke "
        "(`setMaxRequestRetry(0)`, or an `Idempotency-Key`)",
    ),
    Client(
        name="OkHttp (Java)",
        runtime="java",
        program="OkHttpLines",
        version=partial(_jar, "okhttp"),
        pinned=False,
        notes="gives up after 10 s of silence: a heartbeat comes every 8 s",
    ),
)
OKHTTP: Final = CLIENTS[-1]


@dataclass(frozen=True, kw_only=True)
class AnswerClient:
    """One that knows answers and no events. after_break: who goes on after a broken connection.
    stop: how its user stops an answer.
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


def _openai(where: str, runtime: Runtime, version: Callable[[], str]) -> list[AnswerClient]:
    hides = "; Node.js may take it for one that ended: one without {} is not whole"
    hides = hides if runtime == "node" else ""
    return [
        AnswerClient(
            name=f"`openai` ({where}), chat completions",
            runtime=runtime,
            program="openai_chat",
            version=version,
            route="`/v1/chat/completions`",
            auth="`api_key`" if runtime == "python" else "`apiKey`",
            after_break="none",
            stop="hanging up, asked with `on_disconnect: stop`",
            notes="a broken stream raises; ask again" + hides.format("`finish_reason`"),
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
            notes="`background`, then, where the stream broke, `responses.retrieve` with "
            "`starting_after`" + hides.format("`response.completed`"),
        ),
    ]


ANSWER_CLIENTS: Final = (
    *_openai("npm", "node", partial(_npm, "openai")),
    *_openai("PyPI", "python", partial(installed_version, "openai")),
    AnswerClient(
        name="`ai`, `@ai-sdk/react` (npm)",
        runtime="node",
        program="ai_chat",
        version=partial(_npm, "ai", "@ai-sdk/react"),
        route="`/v1/ui/chat`",
        after_break="by hand",
        stop="`DELETE /v1/ui/chat/{chat}`",
        notes="`resumeStream()`; `resume: true` of `useChat` (run in Chromium, too) goes on after "
        "a reload, and after a break when its tab is shown again; `stop()` only leaves; by "
        "`startIndex=0` an answer that ended meanwhile comes, too "
        "(`prepareReconnectToStreamRequest`); one without `finishReason` is not whole: Node.js "
        "takes a broken stream for one that ended",
    ),
    AnswerClient(
        name="`@ai-sdk/workflow` (npm)",
        runtime="node",
        program="ai_workflow",
        version=partial(_npm, "@ai-sdk/workflow"),
        route="`/v1/ui/chat`",
        auth="header, by a `fetch` of one's own",
        after_break="by itself",
        stop="`DELETE /v1/ui/chat/{chat}`",
        notes="`WorkflowChatTransport`, from `@ai-sdk/workflow/client`",
    ),
    AnswerClient(
        name="`@ag-ui/client` (npm)",
        runtime="node",
        program="ag_ui",
        version=partial(_npm, "@ag-ui/client"),
        route="`/v1/agui`",
        after_break="by hand",
        stop="`abortRun()`, asked with `on_disconnect: stop`",
        notes="the same `runId` joins the run from its beginning",
    ),
)
