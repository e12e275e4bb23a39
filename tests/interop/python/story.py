"""What the programs share: the lines they print for the test, and when they have had enough.

event <name> <id or -> <base64 of the data>
end <base64 of how the stream ended, as the client saw it>
closed                              the program had enough and closed it
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Iterator


class Story:
    """What the test asks for: `scenario url token count`, and `-` for what goes without."""

    def __init__(self, arguments: list[str]) -> None:
        scenario, self.url, self.token, count = arguments
        self.scenario = scenario
        self.awaited = "note" if scenario.startswith("listen") else "generation.delta"
        if scenario in {"read", "stop"}:
            self.awaited = "piece"  # of an answer, by clients that know no events
        self.question = "Say it, and wait" if scenario == "stop" else "Say it"
        self.listens = scenario.startswith("listen")
        self.comes_again = self.scenario == "listen-again"
        self.headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/event-stream"}
        self.body = {"prompt": "count to 900"}
        if self.scenario == "hangup":
            self.body["on_disconnect"] = "stop"
        self.last_id: str | None = None
        self._left = int(count)

    def resumed(self) -> dict[str, str]:
        """The headers with the last id, once there is one."""
        return self.headers | ({"Last-Event-ID": self.last_id} if self.last_id else {})

    def tell(self, name: str, event_id: str | None, data: str) -> bool:
        """Prints an event; true for the one at which the program was to do something."""
        self.last_id = event_id or self.last_id
        _say("event", name, event_id or "-", b64encode(data.encode()).decode())
        if name == self.awaited:
            self._left -= 1
            return self._left == 0
        return False

    def end(self, how: object) -> None:
        """The stream has ended, and not by the program."""
        _say("end", b64encode(repr(how).encode()).decode())

    def closed(self) -> None:
        """The program has closed it."""
        _say("closed")


def stories() -> Iterator[Story]:
    """Those of the command line, `hangup+delete` in turn."""
    for scenario in sys.argv[1].split("+"):
        yield Story([scenario, *sys.argv[2:]])


class SseLines:
    """Events from the lines of a stream, as a user without a library would read them."""

    def __init__(self) -> None:
        self._name, self._id, self._data = "message", "", list[str]()

    def line(self, line: str) -> Iterator[tuple[str, str, str]]:
        """A line without its end; the event that it completes."""
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "id":
            self._id = value
        elif field == "data":
            self._data.append(value)
        elif not line:
            if self._data:
                yield self._name, self._id, "\n".join(self._data)
            self._name, self._data = "message", []


def _say(*words: str) -> None:
    print(*words, flush=True)
