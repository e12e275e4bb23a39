"""What an examination says."""

from __future__ import annotations

from typing import Literal

import msgspec


class CheckResult(msgspec.Struct, frozen=True):
    """What was looked at, how it stands, and the advice unless all is well."""

    check: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def ok(check: str, found: str) -> CheckResult:
    """All is well."""
    return CheckResult(check, "ok", found)


def warn(check: str, found: str, advice: str) -> CheckResult:
    """It works, and may not tomorrow."""
    return CheckResult(check, "warn", found, advice)


def fail(check: str, found: str, advice: str) -> CheckResult:
    """It does not work, or is not safe."""
    return CheckResult(check, "fail", found, advice)
