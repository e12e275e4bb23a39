"""`websockets` on the hub's WebSocket: the same events, and questions and stops on it."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.interop.python.story import Story, stories


def opened(asked: Story) -> ClientConnection:
    """Connected, after the last id."""
    url = asked.url.replace("http", "ws", 1) + "/ws/connect"
    if asked.last_id:
        url += f"?cursor={quote(asked.last_id)}"
    return connect(url, additional_headers={"Authorization": f"Bearer {asked.token}"})


def tell(asked: Story, message: dict[str, object]) -> bool:
    """As an event of the other transports."""
    data = message["data"]
    text = data if isinstance(data, str) else json.dumps(data)
    event_id = message.get("id")
    return asked.tell(str(message["event"]), str(event_id) if event_id else None, text)


def listen(asked: Story) -> None:
    """The user's events; by hand, from the last id, when it breaks."""
    while True:
        try:
            with opened(asked) as socket:
                for message in socket:
                    if tell(asked, json.loads(message)):
                        return asked.closed()
            asked.end("over")
        except (ConnectionClosed, OSError) as error:
            asked.end(error)
        if not asked.comes_again:
            return None
        time.sleep(0.1)


def stop(asked: Story) -> None:
    """A question and its stop as messages."""
    with opened(asked) as socket:
        socket.send(json.dumps({"type": "generate", "id": 1, "body": asked.body}))
        for text in socket:
            message = json.loads(text)
            if tell(asked, message):
                generation = message["data"]["generation"]
                socket.send(json.dumps({"type": "stop", "id": 2, "generation": generation}))
            if message["event"] == "generation.stopped":
                break
    asked.end("over")


if __name__ == "__main__":
    for story in stories():
        (listen if story.listens else stop)(story)
