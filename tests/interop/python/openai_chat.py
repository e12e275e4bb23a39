"""`openai` of PyPI with chat completions: the unchanged SDK with another base URL."""

from __future__ import annotations

from typing import Any

import openai

from tests.interop.python.scenario import Scenario, parse_scenarios


def run(scenario: Scenario) -> None:
    """Send the prompt once."""
    client = openai.OpenAI(base_url=f"{scenario.url}/v1", api_key=scenario.token, max_retries=0)
    text, more = "", {"on_disconnect": "stop"} if scenario.name == "stop" else {}
    messages: Any = [{"role": "user", "content": scenario.prompt}]
    try:
        with client.chat.completions.create(
            model="wordy", messages=messages, stream=True, extra_body=more
        ) as stream:
            for chunk in stream:
                part = chunk.choices[0].delta.content if chunk.choices else None
                if not part:
                    continue
                text += part
                if scenario.report("part", None, part) and scenario.name == "stop":
                    break  # disconnect
    except Exception as error:  # noqa: BLE001 - the SDK raises errors of its HTTP library
        scenario.report_end(error)
    scenario.report("text", None, text)


if __name__ == "__main__":
    for scenario in parse_scenarios():
        run(scenario)
