"""The stand-ins for docker and others refuse what the real programs would refuse."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs import stand_ins
from tests.docs.snippets import ROOT

KEYS = '[{"name": "shop", "key": "%s", "scopes": ["publish"]}]' % ("k3" * 16)


@pytest.mark.parametrize(
    ("command", "is_good"),
    [
        ("docker run --rm nothing --version", False),
        ("docker push nothing", False),
        ("docker unknown", False),
        ("docker compose -f config/compose.yml up", False),  # without the secrets
        ("kubectl apply -f Dockerfile", False),
        ("kubectl rollout status deployment/nothing", False),
        ("kubectl create secret generic hub --from-literal=HUB_AUTH__API_KEYS=a-key", False),
        (
            (
                "kubectl create secret generic hub "
                f"--from-literal=HUB_AUTH__HMAC_SECRET={'5e' * 32} "
                f"--from-literal=HUB_AUTH__API_KEYS='{KEYS}'"
            ),
            True,
        ),
        ("sudo mkdir -p /etc/systemd/system", True),
        ("systemctl enable --now nothing", False),
        ("journalctl -u nothing -f", False),
    ],
)
def test_stand_in(command: str, is_good: bool, tmp_path: Path) -> None:
    """A command with a wrong name, file or setting fails."""
    stand_ins.install(tmp_path)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "STAND_INS": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) is is_good, done.stderr
    assert "Traceback" not in done.stderr or "OperatorError" in done.stderr
