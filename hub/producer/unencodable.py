"""What a child process sends in place of a message that JSON cannot express.

A text with a lone surrogate is the usual reason: the application's exceptions and verdicts can have
one. The worker must get something for each message for which somebody waits.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from hub.producer.protocol import Checked, End, Ended, Loaded, NotLoaded, Output, ToWorker

Fields = TypeVar("Fields", bound=msgspec.Struct)


def encodable_message(message: ToWorker, error: Exception) -> ToWorker:
    """Return what the worker gets in place of a message: mostly the failure of the run or check.

    error: why the message cannot be encoded. A run that has failed keeps its last parts, unless
    they are the reason.
    """
    reason = describe(message, error)
    match message:
        case Output(run=run, parts=parts, end=end):
            if end is not None:
                kept = Output(run, parts, _with_valid_texts(end))
                if _can_encode(kept):
                    return kept
            return Output(run, [], End.of_application(reason))
        case Checked(run=run, call=call, verdict=None):
            return _with_valid_texts(message)
        case Checked(run=run, call=call):
            return Checked(run, call, error=reason)
        case Ended() | NotLoaded():
            return _with_valid_texts(message)
        case Loaded():
            return NotLoaded(reason)
        case _:
            return Output(message.run, [], End.of_application(reason))


def describe(message: Any, error: Exception) -> str:
    """Return one sentence about a message that cannot be encoded."""
    return f"JSON cannot express the message {type(message).__name__}: {valid_text(str(error))}"


def valid_text(text: str) -> str:
    r"""Return a text with lone surrogates as `\udXXX`."""
    return text.encode(errors="backslashreplace").decode()


def _with_valid_texts(value: Fields) -> Fields:
    texts = {
        name: valid_text(text)
        for name in value.__struct_fields__
        if isinstance(text := getattr(value, name), str)
    }
    return msgspec.structs.replace(value, **texts)


def _can_encode(message: ToWorker) -> bool:
    try:
        msgspec.json.encode(message)
    except Exception:  # noqa: BLE001 - whatever the values of the application raise
        return False
    return True
