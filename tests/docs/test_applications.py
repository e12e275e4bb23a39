"""Applications as the LLM: each example in docs/guides/upstreams.md is read with its settings."""

from __future__ import annotations

import asyncio
import re
import tomllib
from typing import Any, Final, NamedTuple

import aiohttp
import pytest
import uvicorn

from hub.core.parts import Finished, Text
from hub.settings.models import Upstream
from hub.upstreams.dialect import Dialect
from hub.upstreams.envelope import Envelope
from hub.upstreams.envelope_reader import EnvelopeRules
from hub.upstreams.reading.stream_reader import StreamReader
from tests.docs.snippets import DOCS
from tests.doubles import until
from tests.upstreams.kit import (
    REQUEST,
    build_upstream,
    collect,
    iterate_parts,
    scripted_server,
    send_chunks,
)
from tests.upstreams.test_framing import reply

PAGE: Final = (DOCS / "guides" / "upstreams.md").read_text()
TITLE: Final = "## A Spring Boot, Gin or FastAPI application as the LLM\n"
ANSWER: Final = "Hello world"


class Example(NamedTuple):
    """A part of the section: the code in Python, the bytes on the wire, and the settings."""

    title: str
    code: str | None
    stream: bytes
    settings: Upstream

    def dialect(self) -> Dialect:
        return Envelope(EnvelopeRules(**self.settings.envelope.model_dump()))


def find_examples() -> list[Example]:
    section = re.split(r"^## ", PAGE.split(TITLE)[1], maxsplit=1, flags=re.MULTILINE)[0]
    examples = []
    for part in section.split("\n### ")[1:]:
        blocks = re.findall(r"```(text|toml|python)\n(.*?)```", part, re.DOTALL)
        code = next((text for language, text in blocks if language == "python"), None)
        stream = next(text for language, text in reversed(blocks) if language == "text")
        (settings,) = (text for language, text in blocks if language == "toml")
        (upstream,) = tomllib.loads(settings)["upstreams"].values()
        data = stream.removesuffix("\n").encode() if "\n\n" not in stream else stream.encode()
        examples.append(Example(part.partition("\n")[0], code, data, Upstream(**upstream)))
    return examples


EXAMPLES: Final = find_examples()
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)


def join_text(parts: list[Any]) -> str:
    assert parts[-1] == Finished("stop")
    return "".join(part.text for part in parts if isinstance(part, Text))


def test_all_shapes_are_found() -> None:
    """The section has examples of all three frameworks."""
    titles = " ".join(example.title for example in EXAMPLES)
    assert len(EXAMPLES) >= 5
    assert all(name in titles for name in ("Spring Boot", "Gin", "FastAPI"))


@each_example
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_stream_is_read(example: Example, size: int) -> None:
    """The bytes of the page give the answer with its settings, however they are split."""
    reader = StreamReader(example.dialect(), 10_000, ())
    parts = []
    for start in range(0, len(example.stream), size):
        parts += reader.feed(example.stream[start : start + size])
    parts += [*reader.end(), *reader.finish()]
    assert reader.failure is None
    assert join_text(parts) == ANSWER


@each_example
@pytest.mark.parametrize("content_type", [None, "text/plain; charset=utf-8"])
async def test_stream_under_any_type(example: Example, content_type: str | None) -> None:
    """The content type of the response does not matter."""
    async with scripted_server(reply(content_type, example.stream)) as url:
        assert join_text(await collect(url, dialect=example.dialect())) == ANSWER


@each_example
async def test_error_of_an_application(example: Example) -> None:
    """A status with a JSON body, as frameworks write it, is reported in its words."""
    body = b'{"code":401,"msg":"token expired"}'
    head = b"HTTP/1.1 401 No\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    async with scripted_server(send_chunks(head % len(body) + body)) as url:
        with pytest.raises(Exception, match="answered 401: token expired"):
            await collect(url, dialect=example.dialect())


@pytest.mark.parametrize(
    "example", [example for example in EXAMPLES if example.code], ids=lambda example: example.title
)
async def test_fastapi_application(example: Example) -> None:
    """The application in Python sends these bytes, and the hub reads the answer."""
    module: dict[str, Any] = {}
    exec(compile(example.code or "", "application", "exec"), module)  # noqa: S102 - the page's code
    server = uvicorn.Server(
        uvicorn.Config(module["app"], host="127.0.0.1", port=0, log_level="error", lifespan="off")
    )
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            await until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            path = example.settings.envelope.path
            async with session.post(url + path, json={"question": "hi"}) as response:
                assert await response.read() == example.stream
            upstream = build_upstream(session, url, example.dialect())
            stream = upstream.stream(REQUEST)
            assert join_text([part async for part in iterate_parts(stream)]) == ANSWER
    finally:
        server.should_exit = True
        await serving
