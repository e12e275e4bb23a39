"""`requests`, line by line."""

from __future__ import annotations

import time
from collections.abc import Iterator

import requests

from tests.interop.python.story import SseLines, Story, stories

TIMEOUT_SECONDS = (5, 20)  # to connect; between two reads: more than two heartbeats


def events(response: requests.Response) -> Iterator[tuple[str, str, str]]:
    """What the stream says, until it ends."""
    response.raise_for_status()
    lines = SseLines()
    for line in response.iter_lines():  # bytes: decode_unicode=True would split at U+2028
        yield from lines.line(line.decode())


def listen(asked: Story) -> None:
    """The user's stream; by hand, from the last id, when it breaks."""
    while True:
        try:
            with requests.get(
                f"{asked.url}/sse/connect",
                headers=asked.resumed(),
                stream=True,
                timeout=TIMEOUT_SECONDS,
            ) as response:
                for event in events(response):
                    if asked.tell(*event):
                        return asked.closed()
            asked.end("over")
        except requests.RequestException as error:
            asked.end(error)
        if not asked.comes_again:
            return None
        time.sleep(0.1)


def stop(asked: Story) -> None:
    """An answer: hung up on, or stopped and read to its end."""
    with requests.post(
        f"{asked.url}/generations",
        json=asked.body,
        headers=asked.headers,
        stream=True,
        timeout=TIMEOUT_SECONDS,
    ) as response:
        for event in events(response):
            if not asked.tell(*event):
                continue
            if asked.scenario == "hangup":
                return asked.closed()
            requests.delete(
                asked.url + response.headers["Location"], headers=asked.headers, timeout=5
            ).raise_for_status()
    return asked.end("over")


if __name__ == "__main__":
    for story in stories():
        (listen if story.listens else stop)(story)
