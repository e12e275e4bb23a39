"""Messages between a worker and a child process that JSON cannot express."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec
import pytest

from hub.core.parts import Text
from hub.core.verdicts import Replace
from hub.producer.answer import AskRequest
from hub.producer.connection import FrameConnection
from hub.producer.protocol import (
    Ask,
    Checked,
    End,
    Ended,
    FunctionOptions,
    InputClose,
    Loaded,
    NotLoaded,
    Output,
    Publish,
    ToWorker,
)
from hub.producer.run import Notification
from hub.producer.unencodable import encodable_message

LONE = "lone \ud800"
NONE = msgspec.Raw(b"[]")
SENT_AS = [
    (Output(1, [], End("code", LONE)), Output(1, [], End("code", r"lone \ud800"))),
    (Output(1, [Text("a")], End(detail=LONE)), Output(1, [Text("a")], End(detail=r"lone \ud800"))),
    (Output(1, [Text(LONE)], End()), "producer_error"),
    (Output(1, [Text(LONE)]), "producer_error"),
    (Output(1, [Text(LONE)], End("code", LONE)), "producer_error"),
    (Publish(1, 2, Notification(event=LONE, data=msgspec.Raw(b"1"))), "producer_error"),
    (Ask(1, 2, AskRequest(messages=NONE, params=NONE, upstream=LONE)), "producer_error"),
    (InputClose(1, LONE), "producer_error"),
    (Checked(1, 2, None, LONE, LONE), Checked(1, 2, None, r"lone \ud800", r"lone \ud800")),
    (Checked(1, 2, Replace(LONE)), "the message Checked"),
    (Ended(1, LONE), Ended(1, r"lone \ud800")),
    (NotLoaded(LONE), NotLoaded(r"lone \ud800")),
    (Loaded({LONE: FunctionOptions()}), "the message Loaded"),
]


@pytest.mark.parametrize(("message", "sent"), SENT_AS)
def test_replacement(message: ToWorker, sent: ToWorker | str) -> None:
    """The worker can read what is sent instead, and it has the reason."""
    with pytest.raises(UnicodeEncodeError) as caught:
        msgspec.json.encode(message)
    replacement = encodable_message(message, caught.value)
    assert msgspec.json.decode(msgspec.json.encode(replacement), type=ToWorker) == replacement
    if isinstance(sent, str):
        assert sent in str(replacement)
        assert "surrogates not allowed" in str(replacement)
    else:
        assert replacement == sent


async def test_frame_with_such_a_message() -> None:
    """The other messages of the frame arrive in their order, before and after the replacement."""
    received: asyncio.Queue[Any] = asyncio.Queue()

    def drop(message: Any, error: Exception) -> Any:
        return None if message.run == 3 else Ended(message.run, "replaced")

    ends = []
    for sock in socket.socketpair():
        sock.setblocking(False)
        end: FrameConnection[Any] = FrameConnection(
            list[ToWorker], received.put_nowait, lambda: None, drop
        )
        await end.open(sock)
        ends.append(end)
    for number, detail in enumerate(["a", LONE, "b", LONE, "c"]):
        ends[0].send(Ended(number, detail))
    async with asyncio.timeout(60):
        messages = [await received.get() for _ in range(4)]
    assert messages == [Ended(0, "a"), Ended(1, "replaced"), Ended(2, "b"), Ended(4, "c")]
    for end in ends:
        end.close()
