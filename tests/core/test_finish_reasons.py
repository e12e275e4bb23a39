"""The words of all vendors for the end of an answer."""

from __future__ import annotations

import pytest

from hub.core.finish_reasons import FAILED, normalise_finish_reason


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        *[(word, "stop") for word in ("stop", "STOP", "eos", "end_turn", "endTurn", "pause_turn")],
        *[(word, "stop") for word in ("stop_sequence", "stopSequence", "FINISH_REASON_STOP")],
        *[(word, "length") for word in ("length", "MAX_TOKENS", "maxTokens", "model_length")],
        *[(word, "length") for word in ("model_context_window_exceeded", "max-output-tokens")],
        *[(word, "tool_calls") for word in ("tool_use", "toolUse", "function_call", "tool-calls")],
        *[(word, "content_filter") for word in ("SAFETY", "sensitive", "content-filter")],
        *[
            (word, FAILED)
            for word in ("error", "abort", "network_error", "MALFORMED_FUNCTION_CALL")
        ],
        *[(word, "") for word in ("null", "", " ", "None", "FINISH_REASON_UNSPECIFIED")],
        ("refusal", "refusal"),
        (" brand_new ", "brand_new"),
    ],
)
def test_words(word: str, reason: str) -> None:
    """A word becomes the reason that strict clients know; an unknown word stays as it is."""
    assert normalise_finish_reason(word) == reason
