"""What is given for deployment: each file is taken by its own tool, and names what exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from hub.settings import load_settings

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
BIN = Path(sys.executable).parent


def run(*command: str | Path) -> None:
    """Passes when the tool says that all is well."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile() -> None:
    """hadolint has nothing to say."""
    run(BIN / "hadolint", ROOT / "Dockerfile")


def test_compose_file() -> None:
    """It is what the Compose specification says."""
    run(
        BIN / "check-jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        CONFIG / "compose.yml",
    )


def test_nginx_of_compose_is_the_other_one() -> None:
    """But for names, paths and the head."""
    plain = (CONFIG / "nginx.conf").read_text()
    named = (CONFIG / "nginx.compose.conf").read_text()
    named = named.replace("node-1:8080", "127.0.0.1:8080").replace("node-2:8080", "127.0.0.1:8090")
    named = named.replace("/etc/nginx/tls/", "/etc/nginx/")
    assert named.partition("\nworker_processes")[2] == plain.partition("\nworker_processes")[2]


def test_kubernetes_manifest() -> None:
    """Every document is a resource as Kubernetes describes it."""
    run(BIN / "kubernetes-validate", "--strict", CONFIG / "kubernetes" / "hub.yml")


@pytest.mark.parametrize("unit", ["hub-node", "hub-worker"])
def test_systemd_unit(unit: str, tmp_path: Path) -> None:
    """systemd takes it, and finds little to warn of."""
    if shutil.which("systemd-analyze") is None:
        assert os.environ.get("CI") != "true"
        pytest.skip("needs systemd-analyze")
    text = (CONFIG / "systemd" / f"{unit}.service").read_text()
    file = tmp_path / f"{unit}.service"
    file.write_text(text.replace("/opt/hub/bin/hub", f'"{BIN / "hub"}"'))
    run("systemd-analyze", "verify", file)
    run("systemd-analyze", "security", "--offline=yes", "--threshold=25", file)


def settings_of_kubernetes() -> dict[str, str]:
    documents = list(yaml.safe_load_all((CONFIG / "kubernetes" / "hub.yml").read_text()))
    return dict(next(each for each in documents if each["kind"] == "ConfigMap")["data"])


def settings_of_compose() -> dict[str, str]:
    services = yaml.safe_load((CONFIG / "compose.yml").read_text())["services"]
    found: dict[str, str] = {}
    for name in ("node-1", "worker"):
        found |= services[name]["environment"]
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in found.items()}


def settings_of_image() -> dict[str, str]:
    text = (ROOT / "Dockerfile").read_text()
    return dict(re.findall(r"(HUB_\w+)=(\S+)", text))


@pytest.mark.parametrize("given", [settings_of_kubernetes, settings_of_compose, settings_of_image])
def test_settings_exist(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable is a setting, and its value is taken."""
    for name, value in given().items():
        if not value.startswith("${"):
            monkeypatch.setenv(name, value)
    load_settings(None, {})


def test_time_to_end() -> None:
    """Whoever stops the hub waits for longer than its drain."""
    environment = settings_of_kubernetes()
    drain = float(environment["HUB_NODE__DRAIN_WAIT_SECONDS"])
    drain += float(environment["HUB_NODE__DRAIN_SECONDS"])
    documents = list(yaml.safe_load_all((CONFIG / "kubernetes" / "hub.yml").read_text()))
    grace = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for each in documents
        if each["kind"] == "Deployment"
    }
    assert grace["hub-node"] > drain
    assert grace["hub-worker"] > float(environment["HUB_WORKER__DRAIN_SECONDS"])


@pytest.mark.parametrize("file", ["alerts.yml", "grafana.json"])
def test_metrics_exist(file: str) -> None:
    """Every metric that a rule or a panel names is in docs/metrics.md, which the code makes."""
    listed = (ROOT / "docs" / "metrics.md").read_text()
    known = set(re.findall(r"^\| `(hub_\w+)` \| (\w+)", listed, re.MULTILINE))
    names = {name for name, _ in known}
    names |= {f"{name}_bucket" for name, kind in known if kind == "histogram"}
    text = (CONFIG / file).read_text()
    used = set(re.findall(r"\bhub_\w+", text))
    assert len(used) > 8
    assert used <= names
    if file.endswith("json"):
        assert len(json.loads(text)["panels"]) > 10
    else:
        rules = yaml.safe_load(text)["groups"][0]["rules"]
        assert all({"alert", "expr", "for", "labels", "annotations"} <= set(rule) for rule in rules)


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Something that answers with that status; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
@pytest.mark.parametrize("setting", ["HUB_INTERNAL__PORT", "HUB_WORKER__PORT"])
def test_health_check(setting: str, status: int, code: int) -> None:
    """`hub healthcheck` says what the listener says, be it a node's or a worker's."""
    with answering(status) as port:
        env = {**os.environ, "HUB_INTERNAL__PORT": "1", setting: str(port)}
        done = subprocess.run([BIN / "hub", "healthcheck"], env=env, timeout=120, check=False)
    assert done.returncode == code
