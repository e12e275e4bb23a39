"""An LLM that plays the bytes of a case. The requested model is the name of the case."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

Case = Mapping[str, Any]
_MISSING: Final = object()
_FRAMES_AT_ONCE: Final = 500  # of the same chunk


class CaseServer:
    """Answers each request with the response of its case; a list of responses is played in turn."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = {case["id"]: case for case in cases}
        self._requests: dict[str, int] = {}  # by case
        self._serving: set[asyncio.Task[None]] = set()  # one per connection

    def reset(self, case_id: str) -> None:
        """Begin a list of responses from its first one."""
        self._requests.pop(case_id, None)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        """Serve on a free port, and yield the base URL. At the end every connection is closed."""

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**22)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                while await self._answer(reader, writer):
                    pass
            writer.close()
        finally:
            if not writer.is_closing():  # cancelled, while the client may read nothing
                writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, and return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        case = self._cases[body["model"]]
        if refusal := _refusal(case, body):
            error = {"error": {"message": refusal, "type": "invalid_request_error"}}
            headers = {"Content-Type": "application/json"}
            status = case.get("refusal_status", 400)
            await _play(
                writer, {"status": status, "headers": headers, "chunks": [json.dumps(error)]}
            )
            return True
        response = case["upstream_response"]
        if isinstance(response, list):
            count = self._requests.get(case["id"], 0)
            self._requests[case["id"]] = count + 1
            response = response[count % len(response)]
        await _play(writer, response)
        return True


async def _play(writer: asyncio.StreamWriter, response: Mapping[str, Any]) -> None:
    headers = response.get("headers", {"Content-Type": "text/event-stream"})
    lines = [f"HTTP/1.1 {response.get('status', 200)} X", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def send(text: str, times: int = 1) -> None:
        data = text.encode("utf-8", "surrogatepass")
        frame = b"%x\r\n%b\r\n" % (len(data), data)
        for sent in range(0, times, _FRAMES_AT_ONCE):
            writer.write(frame * min(_FRAMES_AT_ONCE, times - sent))
            await writer.drain()

    for chunk in response["chunks"]:
        if isinstance(chunk, str):
            await send(chunk)
        elif "every" in chunk:
            for _ in range(chunk["times"]):
                await send(chunk["repeat"])
                await asyncio.sleep(chunk["every"])
        elif "repeat" in chunk:
            await send(chunk["repeat"], chunk["times"])
        else:
            await asyncio.sleep(chunk.get("sleep") or chunk["hold"])
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _refusal(case: Case, body: Any) -> str:
    """Return why the LLM refuses the request, empty if it does not."""
    for rule in case.get("upstream_refuses", ()):
        value = _get(body, rule["field"])
        roles = [message.get("role") for message in body.get("messages", ())]
        is_refused = {
            "present": value is not _MISSING,
            "missing": value is _MISSING,
            "not_equal": value != rule.get("value"),
            "any_role": rule.get("value") in roles,
        }
        if is_refused[rule["when"]]:
            return f"{rule['field'] or rule.get('value')} is not allowed"
    return ""


def _get(value: Any, path: str) -> Any:
    for name in path.split("."):
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (KeyError, IndexError, TypeError, ValueError):
            return _MISSING
    return value
