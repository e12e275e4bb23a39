"""`websockets`: events, and messages that start and stop an answer."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.interop.python.scenario import Scenario, parse_scenarios


def open_socket(scenario: Scenario) -> ClientConnection:
    """Connect, with the last id as the cursor."""
    url = scenario.url.replace("http", "ws", 1) + "/ws/connect"
    if scenario.last_id:
        url += f"?cursor={quote(scenario.last_id)}"
    return connect(url, additional_headers={"Authorization": f"Bearer {scenario.token}"})


def report(scenario: Scenario, message: dict[str, object]) -> bool:
    """Report a message as an event of the other transports."""
    data = message["data"]
    text = data if isinstance(data, str) else json.dumps(data)
    event_id = message.get("id")
    return scenario.report(str(message["event"]), str(event_id) if event_id else None, text)


def listen(scenario: Scenario) -> None:
    """Read the events of the user; reconnect with the last id if the scenario requires it."""
    while True:
        try:
            with open_socket(scenario) as socket:
                for message in socket:
                    if report(scenario, json.loads(message)):
                        return scenario.report_closed()
            scenario.report_end("over")
        except (ConnectionClosed, OSError) as error:
            scenario.report_end(error)
        if not scenario.reconnects:
            return None
        time.sleep(0.1)


def stop(scenario: Scenario) -> None:
    """Start and stop an answer with messages."""
    with open_socket(scenario) as socket:
        socket.send(json.dumps({"type": "generate", "id": 1, "body": scenario.body}))
        for text in socket:
            message = json.loads(text)
            if report(scenario, message):
                generation = message["data"]["generation"]
                socket.send(json.dumps({"type": "stop", "id": 2, "generation": generation}))
            if message["event"] == "generation.stopped":
                break
    scenario.report_end("over")


if __name__ == "__main__":
    for scenario in parse_scenarios():
        (listen if scenario.listens else stop)(scenario)
