"""Generate `docs/clients/tested.md`, the table of the tested clients."""

from __future__ import annotations

import re
from pathlib import Path

from tests.interop.agent_servers import AGENT_SERVERS, AgentServer
from tests.interop.clients import ANSWER_CLIENTS, CLIENTS, AnswerClient, Client
from tests.interop.turn_clients import TURN_CLIENTS, TurnClient
from tests.languages.clients import ALL_CLIENTS as LANGUAGE_CLIENTS
from tests.languages.clients import Client as LanguageClient

PAGE = Path(__file__).parents[2] / "docs" / "clients" / "tested.md"
_STOPS = {"hangup": "disconnect", "delete": "`DELETE`", "message": "message", "cancel": "`cancel`"}
_HEAD = """\
# Tested clients

`scripts/test interop` writes this page. It runs each client against a real hub with two nodes that
require tokens, a worker and an LLM. Each client passes its token, receives 1,000 events exactly and
in order (with Chinese, emoji, combining and line-breaking characters, and one event of 195,000
bytes) over a broken connection and over a stream that the hub ends, and stops an answer. Each
client for server-sent events also receives every event once over 42 connections that are cut at
random bytes, inside headers, ids and data. You can copy the programs from
`tests/interop/{js,python,java}`.

**Token**: "header" means `Authorization: Bearer`.
**Resume**: whether the client reconnects with the last `id:` as `Last-Event-ID` by itself, or
whether you add a few lines of code (by hand).
**Stop**: disconnect from an answer that was started with `on_disconnect: stop`, or send
`DELETE /generations/{id}`.

| client | version | token | resume | stop | notes |
|---|---|---|---|---|---|
"""
_ANSWERS = """
## Clients for answers only
Each client reads one answer over a connection that breaks, reads one over a connection that does
not, and stops a third one, which closes the connection to the LLM. Each answer has a thousand
chunks with the characters above and arrives complete.

| client | version | token | route | resume | stop | notes |
|---|---|---|---|---|---|---|
"""
_TURNS = """
## Conversations with tools
Each client holds a conversation of two turns with a simulated LLM that calls tools. In the first
turn it calls one, in the second one two at the same time. The client runs the tool, sends the
results, and shows the text; in the second turn the LLM gets exactly the earlier prompts, calls,
arguments, results and texts. Each client does so with streams and, except Codex CLI, with whole
answers.

**Next turn**: what the client sends of the conversation.
**Reasoning**: whether the client sends the LLM's reasoning back. "Reasoning model" means an LLM
with OpenAI's Responses API that encrypts its reasoning.

| client | version | API | next turn | reasoning | notes |
|---|---|---|---|---|---|
"""


_AGENTS = """
## Agent servers behind the hub
The hub asks each server as an
[upstream](../guides/upstreams.md#an-agent-with-ag-ui-or-a-server-of-the-ai-sdk).
Answers with reasoning, tools that the server runs, tools of the client, pictures, failures and
several turns arrive as the server sends them; a second reader joins a running answer, and a stop
closes the connection to the server. An agent with
[A2A](../guides/upstreams.md#an-agent-with-a2a) keeps one task over broken connections and killed
workers, each text arrives once, and a stop cancels the task.

| server | version | `kind` |
|---|---|---|
"""


_LANGUAGES = """
## Clients in other languages
`scripts/test languages` runs the programs of these pages. Each client for event streams receives
every event once over 30 connections that are cut at random bytes, over streams that end cleanly
inside events, and over refusals that pass. Each client for answers raises an error for an answer
that fails, for one that the LLM refuses and for one whose connection breaks, and stops an answer at
the LLM.

| client | version | page | notes |
|---|---|---|---|
"""


def page() -> str:
    """Return the page with the versions that are installed here."""
    rows = "".join(_row(client, client.version()) for client in CLIENTS)
    answers = "".join(map(_answer_row, ANSWER_CLIENTS))
    turns = "".join(map(_turn_rows, TURN_CLIENTS))
    languages = "".join(map(_language_row, LANGUAGE_CLIENTS))
    agents = "".join(map(_agent_row, AGENT_SERVERS))
    tables = (_HEAD, rows, _ANSWERS, answers, _TURNS, turns, _AGENTS, agents, _LANGUAGES, languages)
    return "".join(tables)


def remove_distribution_versions(text: str) -> str:
    """Return the page without the versions of the distribution, which differ between machines."""
    for client in CLIENTS:
        if not client.pinned:
            name = re.escape(f"| {client.name} |")
            text = re.sub(rf"^({name}) [^|]*\|", r"\1 |", text, flags=re.MULTILINE)
    return text


def _row(client: Client, version: str) -> str:
    cells = (
        *(client.name, version, client.auth, _resume(client)),
        *(", ".join(_STOPS[stop] for stop in client.stops), client.notes),
    )
    return "| " + " | ".join(cells) + " |\n"


def _answer_row(client: AnswerClient) -> str:
    cells = (
        *(client.name, client.version(), client.auth, client.route),
        *(client.after_break, client.stop, client.notes),
    )
    return "| " + " | ".join(cells) + " |\n"


def _agent_row(server: AgentServer) -> str:
    return f"| {server.name} | {server.version()} | `{server.kind}` |\n"


def _language_row(client: LanguageClient) -> str:
    page = f"[{client.title}]({client.page})"
    cells = (client.name, client.version(), page, client.notes)
    return "| " + " | ".join(cells) + " |\n"


def _turn_rows(client: TurnClient) -> str:
    """Return a row for each kind; only the first one has the name and the version."""
    head, rows = (client.name, client.version()), ""
    for kind in client.kinds:
        reads = [read for read in client.reads if read not in kind.forgets]
        reasoning = "yes" if len(reads) == len(client.reads) else "no"
        if reads and reasoning == "no":
            reasoning = "only of streams" if "stream" in reads else "not of streams"
        cells = (*head, kind.api, kind.history, reasoning, kind.notes)
        rows += "| " + " | ".join(cells) + " |\n"
        head = ("", "")
    return rows


def _resume(client: Client) -> str:
    if client.after_break == client.after_end:
        return client.after_break
    return f"{client.after_break}; after hub.bye {client.after_end}"
