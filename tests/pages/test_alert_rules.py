"""The console judges by the alerts that are shipped: its rules are made from config/alerts.yml.

WRITE_DOCS=1 in the environment writes the module; without it, the test compares it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
MODULE: Final = ROOT / "hub" / "http" / "pages" / "console" / "alert_rules.js"
_COMPARISON: Final = re.compile(r"(>|==) ([\d.]+)$")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_HEAD: Final = """\
// The rules of config/alerts.yml. This file is made by tests/pages/test_alert_rules.py.

export const ALERT_RULES = """


def _seconds(text: str) -> int:
    return int(text[:-1]) * _UNIT_SECONDS[text[-1]]


def _rule(alert: dict[str, Any]) -> dict[str, Any]:
    comparison = _COMPARISON.search(alert["expr"])
    assert comparison is not None, alert["expr"]
    windows = set(re.findall(r"\[(\d+[smh])\]", alert["expr"]))
    assert len(windows) <= 1, alert["expr"]
    return {
        "name": alert["alert"],
        "operator": comparison[1],
        "threshold": float(comparison[2]),
        "windowSeconds": _seconds(windows.pop()) if windows else 0,
        "forSeconds": _seconds(alert["for"]),
        "severity": alert["labels"]["severity"],
        **alert["annotations"],
        "expr": alert["expr"],
    }


def test_rules_are_those_of_the_alerts() -> None:
    """Names, thresholds, windows, times, severities and texts are the same."""
    (group,) = yaml.safe_load((ROOT / "config" / "alerts.yml").read_text())["groups"]
    rules = [_rule(alert) for alert in group["rules"]]
    text = _HEAD + json.dumps(rules, indent=2, ensure_ascii=False) + ";\n"
    if os.environ.get("WRITE_DOCS"):
        MODULE.write_text(text)
    assert MODULE.read_text() == text, "run this test with WRITE_DOCS=1"
