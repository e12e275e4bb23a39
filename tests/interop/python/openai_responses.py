"""`openai` of PyPI, Responses in the background: started, resumed and stopped by the stock SDK."""

from __future__ import annotations

import openai

from tests.interop.python.story import Story, stories


def run(story: Story) -> None:
    """One question."""
    client = openai.OpenAI(base_url=f"{story.url}/v1", api_key=story.token, max_retries=0)
    text, response, last = "", "", 0
    stream = client.responses.create(
        model="wordy", input=story.question, background=True, stream=True
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
                if story.tell("piece", None, event.delta) and story.scenario == "stop":
                    client.responses.cancel(response)
            break
        except Exception as error:  # noqa: BLE001 - the SDK lets its HTTP library's own errors through
            story.end(error)
            stream = client.responses.retrieve(response, stream=True, starting_after=last)
    story.tell("text", None, text)


if __name__ == "__main__":
    for story in stories():
        run(story)
