"""What the documents give to paste works as it stands."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from hub.compat.templates.encoder import TemplateEncoder
from hub.core.metrics import MetricFamily
from hub.engine.node_metrics import NodeMetrics
from hub.engine.tasks import SystemClock
from hub.engine.worker_metrics import WorkerMetrics
from hub.settings import load_settings
from hub.wiring.applications import build_templates
from hub.wiring.upstreams import build_upstreams
from tests.compat.history import FAILED, RECORD, STARTED, encode_all, reasoning_delta, text_delta

DOCS = Path(__file__).parents[1] / "docs"


async def test_upstreams_to_paste(tmp_path: Path) -> None:
    """Every configuration in docs/upstreams.md is taken, together and as upstreams."""
    blocks = re.findall(r"```toml\n(.*?)```", (DOCS / "upstreams.md").read_text(), re.DOTALL)
    file = tmp_path / "hub.toml"
    file.write_text("\n".join(blocks))
    settings = load_settings(file).settings
    assert {each.kind for each in settings.upstreams.values()} == {
        "openai",
        "openai-responses",
        "anthropic",
        "ollama",
        "dashscope",
        "envelope",
    }
    async with aiohttp.ClientSession() as session:
        made = build_upstreams(settings, session, SystemClock(), ("default",))
    assert set(made) == set(settings.upstreams)


def test_cases_name_tests_that_exist() -> None:
    """docs/relay-failures.md and docs/security.md name files of tests."""
    tests = Path(__file__).parent
    for document in ("relay-failures.md", "security.md"):
        names = re.findall(r"`([a-z0-9_/]+\.py)`", (DOCS / document).read_text())
        assert len(names) > 20
        for name in names:
            found = list(tests.rglob(name.rpartition("/")[2]))
            assert found, f"{document} names {name}"


def table_of(families: Sequence[MetricFamily]) -> str:
    """As it stands in the document."""
    rows = ["| metric | kind | labels | what |", "|---|---|---|---|"]
    for each in families:
        name = f"{each.name}_total" if each.kind == "counter" else each.name
        labels = ", ".join(f"`{label}`" for label in each.labels)
        rows.append(f"| `{name}` | {each.kind} | {labels} | {each.help} |")
    return "\n".join(rows)


def test_metrics_are_all_listed() -> None:
    """docs/metrics.md has a row for each metric; WRITE_DOCS=1 in the environment makes them."""
    node = table_of(NodeMetrics().families())
    worker = table_of(WorkerMetrics({}).families())
    file = DOCS / "metrics.md"
    text = file.read_text()
    for title, table in (("## Nodes\n", node), ("## Workers\n", worker)):
        begin = text.index(title) + len(title) + 1
        end = re.compile(r"\n(?!\|)").search(text, begin)
        text = text[:begin] + table + text[end.start() if end else len(text) :]
    if os.environ.get("WRITE_DOCS"):
        file.write_text(text)
    assert file.read_text() == text


def test_shape_to_paste(tmp_path: Path) -> None:
    """The configuration in docs/surfaces.md is taken, and shows what it says."""
    (block,) = re.findall(r"```toml\n(.*?)```", (DOCS / "surfaces.md").read_text(), re.DOTALL)
    file = tmp_path / "hub.toml"
    file.write_text(block)
    shapes = build_templates(load_settings(file).settings)
    assert shapes.default == "legacy"
    surface = TemplateEncoder(RECORD, shapes.templates["legacy"])
    chunks = encode_all(surface, [STARTED, reasoning_delta("hm"), text_delta("Hi"), FAILED])
    assert chunks[1:] == [
        b'event: msg\ndata: {"thought":"hm"}\n\n',
        b'event: msg\ndata: {"data":"Hi"}\n\n',
        b'event: error\ndata: {"code":"upstream_truncated","message":"it broke off"}\n\n',
        b"data: stop\n\n",
    ]
