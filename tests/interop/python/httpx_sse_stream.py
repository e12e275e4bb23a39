"""`httpx-sse` with its synchronous API; the asynchronous API uses the same parser."""

from __future__ import annotations

import time

import httpx
import httpx_sse

from tests.interop.python.scenario import Scenario, parse_scenarios

TIMEOUT = httpx.Timeout(5, read=20)  # the default read timeout is 5 s


def listen(scenario: Scenario, client: httpx.Client) -> None:
    """Read the stream of the user; reconnect with the last id if the scenario requires it."""
    while True:
        try:
            with httpx_sse.connect_sse(
                client, "GET", f"{scenario.url}/sse/connect", headers=scenario.resume_headers()
            ) as source:
                source.response.raise_for_status()
                for event in source.iter_sse():
                    if scenario.report(event.event, event.id, event.data):
                        return scenario.report_closed()
            scenario.report_end("over")
        except httpx.TransportError as error:
            scenario.report_end(error)
        if not scenario.reconnects:
            return None
        time.sleep(0.1)


def stop(scenario: Scenario, client: httpx.Client) -> None:
    """Start an answer; disconnect from it, or stop it and read to its end."""
    with httpx_sse.connect_sse(
        client, "POST", f"{scenario.url}/generations", json=scenario.body, headers=scenario.headers
    ) as source:
        source.response.raise_for_status()
        for event in source.iter_sse():
            if not scenario.report(event.event, event.id, event.data):
                continue
            if scenario.name == "hangup":
                return scenario.report_closed()
            generation = scenario.url + source.response.headers["Location"]
            client.delete(generation, headers=scenario.headers).raise_for_status()
    return scenario.report_end("over")


if __name__ == "__main__":
    with httpx.Client(timeout=TIMEOUT) as client:
        for scenario in parse_scenarios():
            (listen if scenario.listens else stop)(scenario, client)
