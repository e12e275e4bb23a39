"""Validate the deployment files with their own tools, and check the names that they use."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import tomllib
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
    """Run a command; fail with its output if it fails."""
    completed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_dockerfile() -> None:
    """hadolint reports nothing."""
    run(BIN / "hadolint", ROOT / "Dockerfile")


def test_image_has_all_packages() -> None:
    """The Dockerfile copies every package of the workspace, and .dockerignore lets it through."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = {"hub", *tomllib.load(file)["tool"]["uv"]["workspace"]["members"]}
    copied = re.findall(r"^COPY (\S+) \1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert packages == {*copied}
    assert packages <= {*allowed}


def test_compose_file() -> None:
    """The file is valid by the schema of the Compose specification."""
    run(
        BIN / "check-jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        CONFIG / "compose.yml",
    )


def test_nginx_file_of_compose_equals_the_plain_one() -> None:
    """The two files differ only in host names, paths and the head comment."""
    plain = (CONFIG / "nginx.conf").read_text()
    named = (CONFIG / "nginx.compose.conf").read_text()
    named = named.replace("node-1:8080", "127.0.0.1:8080").replace("node-2:8080", "127.0.0.1:8090")
    named = named.replace("/etc/nginx/tls/", "/etc/nginx/")
    assert named.partition("\nworker_processes")[2] == plain.partition("\nworker_processes")[2]


def test_nginx_site_equals_the_plain_file() -> None:
    """The file for conf.d has the content of the `http` block of the whole file."""
    plain = (CONFIG / "nginx.conf").read_text()
    block = plain.partition("\nhttp {\n")[2].removesuffix("}\n")
    site = (CONFIG / "nginx.site.conf").read_text()
    assert site.partition("\n\n")[2] == textwrap.dedent(block)


def test_nginx_file_with_an_application_has_the_lines_of_the_plain_one() -> None:
    """The file for an application and the hub has every directive of the file for the hub alone."""
    lines = [
        {line.strip() for line in (CONFIG / name).read_text().splitlines() if line.startswith(" ")}
        for name in ("nginx.conf", "nginx.app.conf")
    ]
    assert lines[0] <= lines[1]


def test_pods_have_no_service_variables() -> None:
    """Kubelet would set HUB_PORT and others for the Services of the manifest."""
    documents = yaml.safe_load_all((CONFIG / "kubernetes" / "hub.yml").read_text())
    pods = [each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment"]
    assert [pod["enableServiceLinks"] for pod in pods] == [False, False]


def test_kubernetes_manifest() -> None:
    """Every document in the manifest is valid by the schema of Kubernetes."""
    run(BIN / "kubernetes-validate", "--strict", CONFIG / "kubernetes" / "hub.yml")


@pytest.mark.parametrize("unit", ["hub-node", "hub-worker"])
def test_systemd_unit(unit: str, tmp_path: Path) -> None:
    """systemd-analyze accepts the unit, and its security score is good."""
    if shutil.which("systemd-analyze") is None:
        assert os.environ.get("CI") != "true"
        pytest.skip("needs systemd-analyze")
    text = (CONFIG / "systemd" / f"{unit}.service").read_text()
    file = tmp_path / f"{unit}.service"
    file.write_text(text.replace("/opt/hub/bin/hub", f'"{BIN / "hub"}"'))
    run("systemd-analyze", "verify", file)
    run("systemd-analyze", "security", "--offline=yes", "--threshold=25", file)


def read_kubernetes_settings() -> dict[str, str]:
    documents = list(yaml.safe_load_all((CONFIG / "kubernetes" / "hub.yml").read_text()))
    return dict(next(each for each in documents if each["kind"] == "ConfigMap")["data"])


def read_compose_settings() -> dict[str, str]:
    services = yaml.safe_load((CONFIG / "compose.yml").read_text())["services"]
    settings: dict[str, str] = {}
    for name in ("node-1", "worker"):
        settings |= services[name]["environment"]
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in settings.items()}


def read_image_settings() -> dict[str, str]:
    text = (ROOT / "Dockerfile").read_text()
    return dict(re.findall(r"(HUB_\w+)=(\S+)", text))


@pytest.mark.parametrize(
    "read_settings", [read_kubernetes_settings, read_compose_settings, read_image_settings]
)
def test_settings_exist(read_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable is a known setting with a valid value."""
    for name, value in read_settings().items():
        if not value.startswith("${"):
            monkeypatch.setenv(name, value)
    load_settings(None, {})


def test_grace_period_is_longer_than_the_drain() -> None:
    """Kubernetes waits longer for a stopping pod than the hub needs to drain."""
    environment = read_kubernetes_settings()
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


def test_autoscaler_uses_the_metrics_of_the_adapter() -> None:
    """The rules of prometheus-adapter provide each metric of the autoscaler, from a known one."""
    documents = list(yaml.safe_load_all((CONFIG / "kubernetes" / "hub.yml").read_text()))
    (scaler,) = (each for each in documents if each["kind"] == "HorizontalPodAutoscaler")
    used = [metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"]]
    values = yaml.safe_load((CONFIG / "kubernetes" / "metrics-adapter.yml").read_text())
    rules = values["rules"]["custom"]
    assert [rule["name"]["as"] for rule in rules] == used
    listed = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for rule in rules:
        series = rule["seriesQuery"].partition("{")[0]
        assert re.match(rule["name"]["matches"], series)
        assert f"| `{series.removesuffix('_bucket')}` |" in listed


def test_each_deployment_has_a_disruption_budget() -> None:
    """Kubernetes evicts one node and one worker at a time."""
    documents = list(yaml.safe_load_all((CONFIG / "kubernetes" / "hub.yml").read_text()))
    parts = {
        kind: [
            each["spec"]["selector"]["matchLabels"]["part"]
            for each in documents
            if each["kind"] == kind
        ]
        for kind in ("Deployment", "PodDisruptionBudget")
    }
    assert parts["Deployment"] == parts["PodDisruptionBudget"] == ["node", "worker"]


@pytest.mark.parametrize("file", ["alerts.yml", "grafana.json"])
def test_metrics_exist(file: str) -> None:
    """docs/reference/metrics.md lists every metric of the rules and the panels."""
    listed = (ROOT / "docs" / "reference" / "metrics.md").read_text()
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
def run_http_server(status: int) -> Iterator[int]:
    """Run an HTTP server that answers every request with a status; yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Write no log."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
@pytest.mark.parametrize("setting", ["HUB_INTERNAL__PORT", "HUB_WORKER__PORT"])
def test_health_check(setting: str, status: int, code: int) -> None:
    """The exit code of `hub healthcheck` follows the status of a node or of a worker."""
    with run_http_server(status) as port:
        env = {**os.environ, "HUB_INTERNAL__PORT": "1", setting: str(port)}
        completed = subprocess.run([BIN / "hub", "healthcheck"], env=env, timeout=120, check=False)
    assert completed.returncode == code
