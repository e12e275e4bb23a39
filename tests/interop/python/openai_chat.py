"""`openai` of PyPI, chat completions: the SDK and its parser as they are, another base URL."""

from __future__ import annotations

from typing import Any

import openai

from tests.interop.python.story import Story, stories


def run(story: Story) -> None:
    """One question."""
    client = openai.OpenAI(base_url=f"{story.url}/v1", api_key=story.token, max_retries=0)
    text, more = "", {"on_disconnect": "stop"} if story.scenario == "stop" else {}
    messages: Any = [{"role": "user", "content": story.question}]
    try:
        with client.chat.completions.create(
            model="wordy", messages=messages, stream=True, extra_body=more
        ) as stream:
            for chunk in stream:
                piece = chunk.choices[0].delta.content if chunk.choices else None
                if not piece:
                    continue
                text += piece
                if story.tell("piece", None, piece) and story.scenario == "stop":
                    break  # it hangs up
    except Exception as error:  # noqa: BLE001 - the SDK lets its HTTP library's own errors through
        story.end(error)
    story.tell("text", None, text)


if __name__ == "__main__":
    for story in stories():
        run(story)
