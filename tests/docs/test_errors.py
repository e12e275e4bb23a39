"""The pages on errors are generated from hub/error_codes.py, and every error has a code of it.

WRITE_DOCS=1 in the environment writes the pages; without it, the tests compare them.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from pathlib import Path

import pytest

from hub import error_codes
from hub.api.problems import problem_from_error
from hub.core.channel import check_user_id
from hub.core.interrupts import UpstreamInterrupted
from hub.error_codes import ERROR_CODES, FAILURE_CODES, INPUT_TIMEOUT, TOO_MANY_WAITING, ErrorCode
from hub.errors import BadRequest, ProducerLost, RecordLost
from hub.wiring.route_table import LISTENERS
from tests.described import described_operations
from tests.docs.snippets import DOCS, ROOT

REFERENCE = DOCS / "reference" / "errors.md"
TROUBLESHOOTING = DOCS / "guides" / "troubleshooting.md"
GENERATED = re.compile(
    r"(?<=<!-- generated from hub/error_codes.py -->\n).*?(?=<!-- end of the generated part -->)",
    re.DOTALL,
)
# Errors whose class stands for several codes.
RAISED = {"Unauthorized", "Forbidden", "NotFound", "TooLarge", "UnsupportedMedia", "NodeBusy"}
RAISED |= {"TooManyRequests", "Conflict"}


def by_status() -> dict[int, list[ErrorCode]]:
    """Return the codes of responses by their status, in the order of the statuses."""
    codes: dict[int, list[ErrorCode]] = {}
    for code in sorted(ERROR_CODES.values(), key=lambda code: code.status):
        if code.name not in FAILURE_CODES:
            codes.setdefault(code.status, []).append(code)
    return codes


def reference_page() -> str:
    page = "\n## HTTP statuses\n"
    for status, codes in by_status().items():
        page += f"\n### {status} {HTTPStatus(status).phrase}\n"
        page += "".join(_entry(code, "####") for code in codes)
    page += "\n## Answers that fail\n"
    page += "An answer that fails ends with the event [`generation.failed`]"
    page += "(events.md#generationfailed), which has one of these codes.\n"
    page += "".join(_entry(code, "###") for code in FAILURE_CODES.values())
    return page


def _entry(code: ErrorCode, level: str) -> str:
    return (
        f"\n{level} `{code.name}`\n**{code.title}.** {code.cause}\n\n"
        f"**What to do.** {code.remedy}\n\n**Retry.** {code.retry[0].upper()}{code.retry[1:]}.\n"
    )


def troubleshooting_tables() -> str:
    page = ""
    for status, codes in by_status().items():
        page += _table(f"{status} {HTTPStatus(status).phrase}", codes)
    return page + _table("generation.failed", FAILURE_CODES.values())


def _table(title: str, codes: Iterable[ErrorCode]) -> str:
    rows = "".join(
        f"| [`{code.name}`](../reference/errors.md#{code.name})<br>{code.title} "
        f"| {_from_guides(code.cause)} | {_from_guides(code.remedy)} |\n"
        for code in codes
    )
    return f"\n**{title}**\n\n| code and symptom | cause | remedy |\n|---|---|---|\n{rows}"


def _from_guides(text: str) -> str:
    """Return text for a table of docs/guides: links of error_codes.py start in docs/reference."""
    text = re.sub(r"\]\((?=[a-z]+\.md)", "](../reference/", text)
    return text.replace("](../guides/troubleshooting.md#", "](#").replace("](../guides/", "](")


def check(page: Path, generated: str) -> None:
    """Compare the generated part of a page."""
    text, count = GENERATED.subn(lambda _: f"{generated}\n", page.read_text())
    assert count == 1, page
    if os.environ.get("WRITE_DOCS"):
        page.write_text(text)
    assert page.read_text() == text, f"{page.name} is old; run the test with WRITE_DOCS=1"


def test_reference() -> None:
    """The reference has a heading for each code; `type` of problem documents leads to it."""
    check(REFERENCE, reference_page())
    headings = re.findall(r"^###+ `([a-z_]+)`$", REFERENCE.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(ERROR_CODES)
    for code in ERROR_CODES.values():
        assert code.uri == f"/docs/reference/errors.html#{code.name}"


def test_troubleshooting() -> None:
    """The guide has symptom, cause and remedy of each code."""
    check(TROUBLESHOOTING, troubleshooting_tables())


def test_names() -> None:
    """Each code is the name of its constant in lower case, and has sentences."""
    for name, code in vars(error_codes).items():
        if isinstance(code, ErrorCode):
            assert code.name == name.lower()
            assert not code.title.endswith(".")
            assert code.cause.endswith((".", ":")), name
            assert code.remedy.endswith("."), name


def test_every_status_has_a_heading() -> None:
    """Each error status in the OpenAPI documents has codes, or a part of its own."""
    statuses = {
        status
        for listener in LISTENERS
        for _, _, operation in described_operations(listener)
        for status in operation["responses"]
        if status >= "400"
    }
    headings = " ".join(re.findall(r"^### (\d.*)$", REFERENCE.read_text(), re.MULTILINE))
    assert {status for status in statuses if status not in headings} == set()


@cache
def raised() -> list[tuple[str, ast.Call]]:
    """Return the location and the call of each error that the hub makes."""
    return [
        (f"{file.relative_to(ROOT)}:{node.lineno}", node)
        for file in (ROOT / "hub").rglob("*.py")
        if "Error(" in (text := file.read_text()) or any(f"{name}(" in text for name in RAISED)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]


def test_every_error_names_its_code() -> None:
    """An error whose class stands for several codes is made with one of them."""
    missing = [
        location
        for location, call in raised()
        if isinstance(call.func, ast.Name)
        and call.func.id in RAISED
        and not any(keyword.arg == "code" for keyword in call.keywords)
    ]
    assert missing == []


def test_every_failure_is_listed() -> None:
    """The codes that are passed to UpstreamError are the codes of `generation.failed`."""
    used = {
        argument.value
        for _, call in raised()
        if isinstance(call.func, ast.Name) and call.func.id == "UpstreamError"
        for argument in call.args[:1]
        if isinstance(argument, ast.Constant)
    }
    used |= {ProducerLost().code, RecordLost().code, UpstreamInterrupted([]).code}
    assert used | {INPUT_TIMEOUT.name, TOO_MANY_WAITING.name} == set(FAILURE_CODES)


def test_example_of_an_error_is_what_the_hub_sends() -> None:
    """The example of the reference has the sentence, code and address of the present code."""
    example = re.search(r"```json\n(\{.*?\})\n```", REFERENCE.read_text(), re.DOTALL)
    assert example is not None
    problem = json.loads(example[1])
    with pytest.raises(BadRequest) as raised:
        check_user_id("a b", path=problem["path"])
    assert problem == problem_from_error(raised.value)
