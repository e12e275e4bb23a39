"""`anthropic` of PyPI: the unchanged SDK with another base URL."""

from __future__ import annotations

from typing import Any

import anthropic

from tests.interop.python.scenario import Scenario, parse_scenarios


def run(scenario: Scenario) -> None:
    """Send the prompt once."""
    client = anthropic.Anthropic(base_url=scenario.url, api_key=scenario.token, max_retries=0)
    text, more = "", {"on_disconnect": "stop"} if scenario.name == "stop" else {}
    messages: Any = [{"role": "user", "content": scenario.prompt}]
    try:
        with client.messages.create(
            model="wordy", max_tokens=1024, messages=messages, stream=True, extra_body=more
        ) as stream:
            for event in stream:
                if event.type != "content_block_delta" or event.delta.type != "text_delta":
                    continue
                part = event.delta.text
                text += part
                if scenario.report("part", None, part) and scenario.name == "stop":
                    break  # disconnect
    except Exception as error:  # noqa: BLE001 - the SDK raises errors of its HTTP library
        scenario.report_end(error)
    scenario.report("text", None, text)


if __name__ == "__main__":
    for scenario in parse_scenarios():
        run(scenario)
