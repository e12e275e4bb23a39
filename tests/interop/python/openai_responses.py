"""`openai` of PyPI with background Responses: the unchanged SDK starts, resumes and stops."""

from __future__ import annotations

import openai

from tests.interop.python.scenario import Scenario, parse_scenarios


def run(scenario: Scenario) -> None:
    """Send the prompt once."""
    client = openai.OpenAI(base_url=f"{scenario.url}/v1", api_key=scenario.token, max_retries=0)
    text, response, last = "", "", 0
    stream = client.responses.create(
        model="wordy", input=scenario.prompt, background=True, stream=True
    )
    while True:
        try:
            for event in stream:
                last = event.sequence_number
                if event.type == "response.created":
                    response = event.response.id
                if event.type != "response.output_text.delta":
                    continue
                text += event.delta
                if scenario.report("part", None, event.delta) and scenario.name == "stop":
                    client.responses.cancel(response)
            break
        except Exception as error:  # noqa: BLE001 - the SDK raises errors of its HTTP library
            scenario.report_end(error)
            stream = client.responses.retrieve(response, stream=True, starting_after=last)
    scenario.report("text", None, text)


if __name__ == "__main__":
    for scenario in parse_scenarios():
        run(scenario)
