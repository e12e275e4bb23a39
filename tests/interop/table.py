"""`docs/clients.md`: what the tests here have shown of each client."""

from __future__ import annotations

import re
from pathlib import Path

from tests.interop.clients import ANSWER_CLIENTS, CLIENTS, AnswerClient, Client

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
_STOPS = {"hangup": "hanging up", "delete": "`DELETE`", "message": "message", "cancel": "`cancel`"}
_HEAD = """\
# Clients people already have

Written by `scripts/test interop`, which runs each of these against a real hub: two nodes that want
tokens, a worker, an LLM. Each connects with its own way of passing the token, gets 1,000 events
exactly and in order (Chinese, emoji, combining and line-breaking characters, one of 195,000 bytes)
over a connection that is broken and a stream that the hub ends, and stops an answer. The programs
are in `tests/interop/{js,python,java}`, to copy from.

**Token**: `Authorization: Bearer`, where it says header.
**Resume**: who connects again with the last `id:` as `Last-Event-ID`: the client by itself, or a
few lines of your own (by hand).
**Stop**: hanging up on an answer that was asked for with `on_disconnect: stop`, or
`DELETE /generations/{id}`.

| client | version | token | resume | stop | notes |
|---|---|---|---|---|---|
"""
_ANSWERS = """
## Clients of answers
Each asks three times: over a connection that breaks in the middle, over one that does not, and to
stop the answer, at which the LLM loses its reader. An answer is a thousand pieces of text like that
above, and arrives with every character.

| client | version | token | route | resume | stop | notes |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page, with the versions that are installed here."""
    rows = "".join(_row(client, client.version()) for client in CLIENTS)
    return _HEAD + rows + _ANSWERS + "".join(map(_answer_row, ANSWER_CLIENTS))


def without_given_versions(text: str) -> str:
    """The page without the versions that the distribution gives: each machine has its own."""
    for client in CLIENTS:
        if not client.pinned:
            name = re.escape(f"| {client.name} |")
            text = re.sub(rf"^({name}) [^|]*\|", r"\1 |", text, flags=re.MULTILINE)
    return text


def _row(client: Client, version: str) -> str:
    cells = (
        *(client.name, version, client.auth, _resume(client)),
        *(", ".join(_STOPS[way] for way in client.stops), client.notes),
    )
    return "| " + " | ".join(cells) + " |\n"


def _answer_row(client: AnswerClient) -> str:
    cells = (
        *(client.name, client.version(), client.auth, client.route),
        *(client.after_break, client.stop, client.notes),
    )
    return "| " + " | ".join(cells) + " |\n"


def _resume(client: Client) -> str:
    if client.after_break == client.after_end:
        return client.after_break
    return f"{client.after_break}; after the hub's own end {client.after_end}"
