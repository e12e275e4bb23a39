"""`requests`, reading lines."""

from __future__ import annotations

import time
from collections.abc import Iterator

import requests

from tests.interop.python.scenario import Scenario, SseLines, parse_scenarios

TIMEOUT_SECONDS = (5, 20)  # connect; read: longer than two heartbeats


def events(response: requests.Response) -> Iterator[tuple[str, str, str]]:
    """Yield the events of a stream."""
    response.raise_for_status()
    lines = SseLines()
    for line in response.iter_lines():  # bytes: decode_unicode=True would split at U+2028
        yield from lines.line(line.decode())


def listen(scenario: Scenario) -> None:
    """Read the stream of the user; reconnect with the last id if the scenario requires it."""
    while True:
        try:
            with requests.get(
                f"{scenario.url}/sse/connect",
                headers=scenario.resume_headers(),
                stream=True,
                timeout=TIMEOUT_SECONDS,
            ) as response:
                for event in events(response):
                    if scenario.report(*event):
                        return scenario.report_closed()
            scenario.report_end("over")
        except requests.RequestException as error:
            scenario.report_end(error)
        if not scenario.reconnects:
            return None
        time.sleep(0.1)


def stop(scenario: Scenario) -> None:
    """Start an answer; disconnect from it, or stop it and read to its end."""
    with requests.post(
        f"{scenario.url}/generations",
        json=scenario.body,
        headers=scenario.headers,
        stream=True,
        timeout=TIMEOUT_SECONDS,
    ) as response:
        for event in events(response):
            if not scenario.report(*event):
                continue
            if scenario.name == "hangup":
                return scenario.report_closed()
            requests.delete(
                scenario.url + response.headers["Location"], headers=scenario.headers, timeout=60
            ).raise_for_status()
    return scenario.report_end("over")


if __name__ == "__main__":
    for scenario in parse_scenarios():
        (listen if scenario.listens else stop)(scenario)
