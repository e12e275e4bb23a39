"""The Python client's stream: resumes, waits as told, and gives up when it is final."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web

from hub.client import HubClient, HubClientError
from hub.core.sse import encode_event, with_id, with_retry
from hub.web.errors import problem
from hub.web.listening import Place, listening


class Scripted:
    """A server that gives one prepared answer to each connection, and then the last one again."""

    def __init__(self, *answers: bytes | web.Response) -> None:
        self.answers = list(answers)
        self.cursors: list[str] = []

    @asynccontextmanager
    async def client(self, token: str | None = None) -> AsyncIterator[HubClient]:
        app = web.Application()
        app.add_routes([web.get("/sse/connect/{user}", self.answer)])
        place = Place("127.0.0.1", 0, "x")
        async with (
            listening(app, place, cancel_handlers=True, patience_seconds=0.1) as port,
            HubClient(f"http://127.0.0.1:{port}", token=token) as client,
        ):
            yield client

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.cursors.append(request.query["cursor"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, web.Response):
            return answer
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(answer)
        if request.transport is not None and not answer.endswith(b"\n\n"):
            request.transport.abort()
        return response


def event(name: str, cursor: str) -> bytes:
    return with_retry(with_id(encode_event("e", b'"%b"' % name.encode()), cursor.encode()), 1)


async def take(client: HubClient, count: int) -> list[str]:
    async with aclosing(client.events("alice")) as events:
        return [(await anext(events)).data for _ in range(count)]


async def test_resumes_from_the_last_event() -> None:
    """After an end and after a cut it returns with the cursor; half an event is not one."""
    server = Scripted(
        event("1", "aaaaa-1"),
        event("2", "aaaaa-2") + b"id: aaaaa-9\ndata: ha",
        event("3", "aaaaa-3"),
    )
    async with server.client() as client:
        assert await take(client, 3) == ["1", "2", "3"]
    assert server.cursors == ["live", "aaaaa-1", "aaaaa-2"]


async def test_goodbye_that_asks_to_return() -> None:
    """It comes back after the time that it was told."""
    bye = encode_event("hub.bye", b'{"reason":"draining","reconnect":true,"retry_ms":1}')
    server = Scripted(event("1", "aaaaa-1") + bye, event("2", "aaaaa-2"))
    async with server.client() as client:
        assert await take(client, 3) == ["1", bye.decode().split("data: ")[1].strip(), "2"]


async def test_goodbye_for_good() -> None:
    """It ends with the hub's reason."""
    server = Scripted(
        encode_event("hub.bye", b'{"reason":"revoked","reconnect":false,"retry_ms":1}')
    )
    async with server.client() as client:
        with pytest.raises(HubClientError, match="revoked"):
            await take(client, 2)


async def test_server_that_fails_for_a_moment() -> None:
    """A 502 of a proxy passes by itself."""
    server = Scripted(web.Response(status=502), event("1", "aaaaa-1"))
    async with server.client() as client:
        assert await take(client, 1) == ["1"]


async def test_refusal_is_final() -> None:
    """A 403 is not tried again; the sentence is the hub's."""
    server = Scripted(problem(403, "the token is another user's"))
    async with server.client("t") as client:
        with pytest.raises(HubClientError, match="another user's") as caught:
            await take(client, 1)
    assert caught.value.status == 403
    assert len(server.cursors) == 1
