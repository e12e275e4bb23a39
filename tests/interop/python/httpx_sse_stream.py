"""`httpx-sse`, synchronously; its asynchronous form reads by the same code."""

from __future__ import annotations

import time

import httpx
import httpx_sse

from tests.interop.python.story import Story, stories

TIMEOUT = httpx.Timeout(5, read=20)  # by default it gives up after 5 s of silence


def listen(asked: Story, client: httpx.Client) -> None:
    """The user's stream; by hand, from the last id, when it breaks."""
    while True:
        try:
            with httpx_sse.connect_sse(
                client, "GET", f"{asked.url}/sse/connect", headers=asked.resumed()
            ) as source:
                source.response.raise_for_status()
                for event in source.iter_sse():
                    if asked.tell(event.event, event.id, event.data):
                        return asked.closed()
            asked.end("over")
        except httpx.TransportError as error:
            asked.end(error)
        if not asked.comes_again:
            return None
        time.sleep(0.1)


def stop(asked: Story, client: httpx.Client) -> None:
    """An answer: hung up on, or stopped and read to its end."""
    with httpx_sse.connect_sse(
        client, "POST", f"{asked.url}/generations", json=asked.body, headers=asked.headers
    ) as source:
        source.response.raise_for_status()
        for event in source.iter_sse():
            if not asked.tell(event.event, event.id, event.data):
                continue
            if asked.scenario == "hangup":
                return asked.closed()
            generation = asked.url + source.response.headers["Location"]
            client.delete(generation, headers=asked.headers).raise_for_status()
    return asked.end("over")


if __name__ == "__main__":
    with httpx.Client(timeout=TIMEOUT) as client:
        for story in stories():
            (listen if story.listens else stop)(story, client)
