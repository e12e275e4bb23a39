"""Test configuration and tables of the documents against the code."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from hub.compat.templates.encoder import TemplateEncoder
from hub.core.metrics import MetricFamily
from hub.engine.metrics.node_metrics import NodeMetrics
from hub.engine.metrics.worker_metrics import WorkerMetrics
from hub.engine.tasks import SystemClock
from hub.settings import load_settings
from hub.wiring.applications import build_templates
from hub.wiring.upstreams import build_upstreams
from tests.compat.history import FAILED, RECORD, STARTED, encode_all, reasoning_delta, text_delta

DOCS = Path(__file__).parents[1] / "docs"


async def test_upstreams_to_paste(tmp_path: Path) -> None:
    """All configuration blocks of docs/guides/upstreams.md load, and each builds an upstream."""
    blocks = re.findall(
        r"```toml\n(.*?)```", (DOCS / "guides" / "upstreams.md").read_text(), re.DOTALL
    )
    file = tmp_path / "hub.toml"
    file.write_text("\n".join(blocks))
    settings = load_settings(file).settings
    assert {each.kind for each in settings.upstreams.values()} == {
        "openai",
        "openai-responses",
        "anthropic",
        "ollama",
        "dashscope",
        "ag_ui",
        "ai_sdk",
        "a2a",
        "envelope",
    }
    async with aiohttp.ClientSession() as session:
        upstreams = build_upstreams(settings, session, SystemClock())
    assert set(upstreams) == set(settings.upstreams)


def list_test_files() -> set[str]:
    """Return the names of the files of the tests, without those of installed packages."""
    names: set[str] = set()
    for _, folders, files in os.walk(Path(__file__).parent):
        folders[:] = [name for name in folders if name != "node_modules"]
        names.update(files)
    return names


def test_cases_name_tests_that_exist() -> None:
    """Each test file that the pages on relay failures and on security mention exists."""
    files = list_test_files()
    for document in ("contributing/relay-failures.md", "concepts/security.md"):
        names = re.findall(r"`([a-z0-9_/]+\.py)`", (DOCS / document).read_text())
        assert len(names) > 20
        for name in names:
            assert name.rpartition("/")[2] in files, f"{document}: {name} does not exist"


def format_table(families: Sequence[MetricFamily]) -> str:
    """Return the Markdown table of the metrics."""
    rows = ["| metric | kind | labels | what |", "|---|---|---|---|"]
    for each in families:
        name = f"{each.name}_total" if each.kind == "counter" else each.name
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append(f"| `{name}` | {each.kind} | {labels} | {each.help} |")
    return "\n".join(rows)


def test_metrics_are_all_listed() -> None:
    """docs/reference/metrics.md has a row for each metric; WRITE_DOCS=1 writes the rows."""
    node = format_table(NodeMetrics().families())
    worker = format_table(WorkerMetrics({}).families())
    file = DOCS / "reference" / "metrics.md"
    text = file.read_text()
    for title, table in (("## Nodes\n", node), ("## Workers\n", worker)):
        start = text.index(title) + len(title) + 1
        end = re.compile(r"\n(?!\|)").search(text, start)
        text = text[:start] + table + text[end.start() if end else len(text) :]
    if os.environ.get("WRITE_DOCS"):
        file.write_text(text)
    assert file.read_text() == text


def test_promises_name_tests_that_exist() -> None:
    """Every promise of docs/concepts/delivery.md names a test, and every named test exists."""
    page = (DOCS / "concepts" / "delivery.md").read_text()
    table = page.partition("| promise | test |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) >= 10
    for row in rows:
        named = re.findall(r"`((?:tests|hub)/[\w/]+\.py)(?:::(\w+))?`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}" in (DOCS.parent / file).read_text(), (file, test)


def test_template_to_paste(tmp_path: Path) -> None:
    """The output template in docs/clients/output-templates.md gives the documented events."""
    page = (DOCS / "clients" / "output-templates.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "hub.toml"
    file.write_text(block)
    templates = build_templates(load_settings(file).settings)
    assert templates.default == "legacy"
    encoder = TemplateEncoder(RECORD, templates.templates["legacy"])
    chunks = encode_all(encoder, [STARTED, reasoning_delta("hm"), text_delta("Hi"), FAILED])
    assert chunks[1:] == [
        b'event: msg\ndata: {"thought":"hm"}\n\n',
        b'event: msg\ndata: {"data":"Hi"}\n\n',
        b'event: error\ndata: {"code":"upstream_truncated","message":"it broke off"}\n\n',
        b"data: stop\n\n",
    ]
