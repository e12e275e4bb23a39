"""docs/reference/errors.md describes every code and every status that the hub reports."""

from __future__ import annotations

import re

from hub.compat.answer_encoder import REWRITTEN_CODE, STOPPED_CODE
from hub.wiring.route_table import build_openapi
from tests.docs.snippets import DOCS, ROOT

PAGE = (DOCS / "reference" / "errors.md").read_text()


def test_every_code_has_a_heading() -> None:
    """The headings are the codes that the code passes to UpstreamError, and those of /v1."""
    sources = "".join(file.read_text() for file in (ROOT / "hub").rglob("*.py"))
    codes = set(re.findall(r'UpstreamError\(\s*"([a-z_]+)"', sources))
    assert len(codes) > 10
    headings = set(re.findall(r"^### `([a-z_]+)`$", PAGE, re.MULTILINE))
    assert headings == codes | {STOPPED_CODE, REWRITTEN_CODE}


def test_every_status_has_a_heading() -> None:
    """Each error status in the OpenAPI document is in a heading."""
    statuses = {
        status
        for operations in build_openapi()["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
        if status >= "400"
    }
    headings = " ".join(re.findall(r"^### (\d.*)$", PAGE, re.MULTILINE))
    assert {status for status in statuses if status not in headings} == set()
