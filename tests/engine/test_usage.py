"""The usage of one answer."""

from __future__ import annotations

import pytest

from hub.core.generation import Generation, GenerationRequest, Status
from hub.core.usage import MAX_MODEL_CHARS, OTHER_MODELS
from hub.engine.attempts.attempt import GenerationResult
from hub.engine.usage import build_usage_totals


@pytest.mark.parametrize(
    ("model", "counted_as"),
    [
        ("m", "m"),
        ("m" * MAX_MODEL_CHARS, "m" * MAX_MODEL_CHARS),
        ("m" * (MAX_MODEL_CHARS + 1), OTHER_MODELS),
    ],
)
def test_long_names_of_models(model: str, counted_as: str) -> None:
    """A name that is longer than models are called is counted together with other ones."""
    request = GenerationRequest(messages=[], upstream="u", model=model)
    generation = Generation(id="g", user="alice", request=request)
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    result = GenerationResult(generation=generation, status=Status.DONE, usage=usage)
    totals = build_usage_totals(result)
    assert (totals.model, totals.answers) == (counted_as, 1)
    assert (totals.prompt_tokens, totals.completion_tokens) == (3, 4)
