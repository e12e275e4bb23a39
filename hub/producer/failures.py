"""How a function fails, and how it is stopped."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_CODE: Final = re.compile(r"[a-z0-9_]{1,64}")


class Failed(Exception):
    """Raise it in a function to end the answer as failed, with a text for the client.

    code: 1 to 64 characters of a to z, 0 to 9 and `_`. message: shown to the client. retryable:
    whether the client may ask again.
    """

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        if not _CODE.fullmatch(code):
            raise ValueError(
                "the code of Failed must have 1 to 64 characters: a to z, 0 to 9 and _"
            )
        super().__init__(code, message)
        self.code = code
        self.message = str(message)
        self.retryable = bool(retryable)


class UpstreamReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an upstream reported when it failed, as in `generation.failed`.

    status: its HTTP status. code: its own code of the error. param: the field of the request that
    it blames.
    """

    status: int | None = None
    code: str | None = None
    param: str | None = None


class UpstreamFailed(Failed):
    """An upstream that the function asked has failed.

    A function that does not catch it fails with the same code and message. report: what the
    upstream itself said.
    """

    def __init__(
        self, code: str, message: str, retryable: bool = False, report: UpstreamReport | None = None
    ) -> None:
        super().__init__(code, message, retryable)
        self.report = report or UpstreamReport()


class InputTimeout(Failed):
    """Nobody has answered an input in time (`run.input`).

    A function that does not catch it fails with the code `input_timeout`.
    """

    def __init__(self, message: str) -> None:
        super().__init__("input_timeout", message, retryable=True)


class Stopped(BaseException):
    """The answer was stopped, or its time is over. Synchronous functions get it at their next
    `yield` or call of a method of the run.
    """
