"""Check the raw bytes of streams against the rules that all tested clients need."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.interop.running_hub import RunningHub
from tests.interop.test_contract import TEXTS

pytestmark = pytest.mark.asyncio(loop_scope="session")
STREAMED = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, br"}


def broken_rule(stream: bytes) -> str | None:
    """Return the first rule that a complete stream breaks and the affected client, or None."""
    if b"\r" in stream:
        return "LF only: AG-UI's client does not take CRLF"
    if stream.startswith(b"\xef\xbb\xbf"):
        return "no byte order mark: openai and httpx-sse lose the first event"
    if not stream.endswith(b"\n\n"):
        return "a blank line after the last event: without it most clients drop it"
    for number, block in enumerate(stream.removesuffix(b"\n\n").split(b"\n\n")):
        lines = block.split(b"\n")
        fields = [line.partition(b":")[0] for line in lines if not line.startswith(b":")]
        if not fields:
            return "no blank line after a comment: openai and fetch-event-source see an event"
        if b"data" not in fields:
            return "id and retry only beside data: OkHttp loses such an id, httpx-sse sees an event"
        if b"retry" in fields and number:
            return "retry once, with the first event"
        if unknown := set(fields) - {b"id", b"event", b"data", b"retry"}:
            return f"no other field: {unknown}"
        data = b"\n".join(line[6:] for line in lines if line.startswith(b"data: "))
        if data[:1] in {b"{", b"["} and any(end in data.decode() for end in "\x85\u2028\u2029"):
            return "Unicode's line ends escaped in JSON: requests and httpx split lines there"
    return None


@pytest.mark.parametrize(
    ("stream", "word"),
    [
        (b"data: 1\r\n\r\n", "LF"),
        (b"\xef\xbb\xbfdata: 1\n\n", "mark"),
        (b"data: 1\n\ndata: 2\n", "last event"),
        (b"id: 1\ndata: 1\n\n: hb\n\ndata: 2\n\n", "comment"),
        (b"retry: 1\n\ndata: 1\n\n", "beside data"),
        (b"data: 1\n\nid: 2\n\n", "beside data"),
        (b"data: 1\n\nretry: 1\ndata: 1\n\n", "retry once"),
        (b"comment\ndata: 1\n\n", "other field"),
        ('data: {"a":"\u2028"}\n\n'.encode(), "Unicode"),
    ],
)
async def test_rules_see_what_breaks_them(stream: bytes, word: str) -> None:
    """Each rule rejects an example that breaks it."""
    assert word in (broken_rule(stream) or "")


async def read_stream(
    hub: RunningHub, method: str, path: str, user: str, **more: str
) -> AsyncIterator[bytes]:
    """Check the response headers, then yield the bytes of the stream."""
    url = "http://{}:{}".format(*hub.expiring_node) + path
    headers = {"Authorization": f"Bearer {hub.token(user)}", **STREAMED, **more}
    body = {"prompt": "Write a haiku"} if method == "POST" else None
    session = hub.cluster.session
    async with session.request(method, url, headers=headers, json=body) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in response.headers
        async for chunk in response.content.iter_any():
            yield chunk


async def read_live_stream(hub: RunningHub) -> tuple[str, bytes]:
    """Return a user and a stream that has live events and heartbeats.

    The node ends each stream after 0.4 s. A busy machine may not get so far in that time: then
    another user tries.
    """
    while True:
        user, stream = hub.user(), b""
        async for chunk in read_stream(hub, "GET", "/sse/connect", user):
            if not stream:
                await hub.publish(user, [*TEXTS, *({"text": text} for text in TEXTS)])
            stream += chunk
        assert b"event: hub.bye\n" in stream
        if b"event: note\n" in stream and stream.count(b": hb\n") > 1:
            return user, stream


async def test_stream_of_a_user(hub: RunningHub) -> None:
    """A stream with JSON and plain texts, live and replayed, heartbeats and hub.bye."""
    user, stream = await read_live_stream(hub)
    assert broken_rule(stream) is None
    assert stream.count(b"event: note\n") == 2 * len(TEXTS)
    cursor = stream.partition(b"id: ")[2].partition(b"\n")[0].decode()
    again = read_stream(hub, "GET", "/sse/connect", user, **{"Last-Event-ID": cursor})
    resumed = b"".join([chunk async for chunk in again])
    assert broken_rule(resumed) is None
    assert resumed.count(b"event: note\n") == 2 * len(TEXTS)


async def test_stream_with_a_reset(hub: RunningHub) -> None:
    """A stream from a cursor of another epoch."""
    user = hub.user()
    first = b"".join([chunk async for chunk in read_stream(hub, "GET", "/sse/connect", user)])
    cursor = first.partition(b"id: ")[2].partition(b"\n")[0].decode()
    other_epoch = "zzzzz" + cursor[5:]
    again = read_stream(hub, "GET", "/sse/connect", user, **{"Last-Event-ID": other_epoch})
    stream = b"".join([chunk async for chunk in again])
    assert b"event: hub.reset\n" in stream
    assert broken_rule(stream) is None


async def test_stream_of_an_answer(hub: RunningHub) -> None:
    """The stream of a new generation, and the stream after its end."""
    user = hub.user()
    stream = b"".join([chunk async for chunk in read_stream(hub, "POST", "/generations", user)])
    assert broken_rule(stream) is None
    assert b"event: generation.snapshot\n" in stream
    generation = stream.partition(b'"generation":"')[2].partition(b'"')[0].decode()
    await hub.wait_for_status(user, generation, "done")
    path = f"/generations/{generation}"
    joined = b"".join([chunk async for chunk in read_stream(hub, "GET", path, user)])
    assert broken_rule(joined) is None
    assert b"event: generation.done\n" in joined
