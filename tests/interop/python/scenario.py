"""Code that the programs share: the lines that they print for the test, and their scenario.

event <name> <id or -> <base64 of the data>
end <base64 of a description of the end of the stream>
closed                              the program has closed the stream
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Iterator


class Scenario:
    """The arguments of a program: `scenario url token count`; `-` stands for no token."""

    def __init__(self, arguments: list[str]) -> None:
        self.name, self.url, self.token, count = arguments
        self.awaited = "note" if self.name.startswith("listen") else "generation.delta"
        if self.name in {"read", "stop"}:
            self.awaited = "part"  # of clients that read answers, not events
        self.prompt = "Say it, and wait" if self.name == "stop" else "Say it"
        self.listens = self.name.startswith("listen")
        self.reconnects = self.name == "listen-again"
        self.headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/event-stream"}
        self.body = {"prompt": "count to 900"}
        if self.name == "hangup":
            self.body["on_disconnect"] = "stop"
        self.last_id: str | None = None
        self._left = int(count)

    def resume_headers(self) -> dict[str, str]:
        """Return the headers, with the last event id if there is one."""
        return self.headers | ({"Last-Event-ID": self.last_id} if self.last_id else {})

    def report(self, name: str, event_id: str | None, data: str) -> bool:
        """Print an event; return True if it is the event at which the program must act."""
        self.last_id = event_id or self.last_id
        _print("event", name, event_id or "-", b64encode(data.encode()).decode())
        if name == self.awaited:
            self._left -= 1
            return self._left == 0
        return False

    def report_end(self, how: object) -> None:
        """Print that the stream has ended, and how."""
        _print("end", b64encode(repr(how).encode()).decode())

    def report_closed(self) -> None:
        """Print that the program has closed the stream."""
        _print("closed")


def parse_scenarios() -> Iterator[Scenario]:
    """Yield the scenarios of the command line, such as `hangup+delete`."""
    for name in sys.argv[1].split("+"):
        yield Scenario([name, *sys.argv[2:]])


class SseLines:
    """Parse the lines of an event stream without a library."""

    def __init__(self) -> None:
        self._name, self._id, self._data = "message", "", list[str]()

    def line(self, line: str) -> Iterator[tuple[str, str, str]]:
        """Parse a line without its line break; yield the event that it completes."""
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


def _print(*words: str) -> None:
    print(*words, flush=True)
