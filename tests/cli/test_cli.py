"""The command line: its output, its exit codes, and that it never prints a traceback."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.forked_hub import hub_program
from tests.topologies import free_ports

SECRET = "s3cret-" * 6
KEYS = '[{"key":"k3y-of-a-backend","scopes":["publish"]}]'
COMMANDS = [
    "dev", "serve", "worker", "upstream", "publish", "tail", "ask", "inbox", "token", "config",
    "doctor", "openapi",
]  # fmt: skip


def hub(*args: str, folder: Path, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    done = subprocess.run(
        [hub_program(), *args],
        capture_output=True,
        text=True,
        cwd=folder,
        input=stdin,
        env={**clean, "TMPDIR": str(folder), **env},
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def unused_url() -> str:
    """Return a URL at which nothing listens."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, tmp_path: Path) -> None:
    """The help of each command has an example."""
    shown = hub(command, "--help", folder=tmp_path)
    assert shown.returncode == 0
    assert f"hub {command}" in shown.stdout.partition("Example:")[2]


def test_help_lists_the_commands_in_whole_sentences(tmp_path: Path) -> None:
    """The list of commands truncates no help text."""
    shown = hub("--help", folder=tmp_path)
    assert all(command in shown.stdout for command in COMMANDS)
    assert "..." not in shown.stdout.partition("Commands:")[2]


def test_import_is_light() -> None:
    """`import hub` imports none of the heavy packages."""
    code = (
        "import sys, hub; print([m for m in ('aiohttp', 'redis', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("args", "env", "code", "message"),
    [
        (["serve"], {}, 2, "hub: set auth.hmac_secret (HUB_AUTH__HMAC_SECRET) and auth.api_keys"),
        (["worker"], {}, 2, "hub: set auth.hmac_secret"),
        (["serve"], {"HUB_PUBLIK__PORT": "1"}, 2, "there is no setting publik"),
        (["config"], {"HUB_PUBLIC__PORT": "x"}, 2, "the setting public.port (HUB_PUBLIC__PORT)"),
        (["config", "--config", "none.toml"], {}, 2, "there is no settings file none.toml"),
        (["token", "alice"], {}, 2, "hub: set auth.hmac_secret"),
        (["token", "a b"], {"HUB_AUTH__HMAC_SECRET": SECRET}, 1, "a user id has"),
        (
            ["token", "a", "--ttl", "x"],
            {"HUB_AUTH__HMAC_SECRET": SECRET},
            1,
            "--ttl must be a number",
        ),
        (["publish", "a", "--data", "{n:1}"], {}, 1, "--data is not JSON"),
        (["publish", "--data", "1"], {}, 1, "give exactly one recipient"),
        (["publish", "a", "--topic", "b"], {}, 1, "give exactly one recipient"),
        (["publish", "a", "--internal-url", unused_url()], {}, 1, "cannot reach the hub at"),
        (["ask", "a", "hi", "--url", unused_url()], {}, 1, "cannot reach the hub at"),
        (["tail", "a", "--url", "http://h:x"], {}, 2, "client.url must be an http://"),
        (["doctor", "--url", "http://h:x"], {}, 2, "--url must be an http://"),
        (["upstream", "--fault", "x"], {}, 2, "there is no fault 'x'"),
        (["nonsense"], {}, 2, "No such command"),
        (["dev", "--port", "x"], {}, 2, "--port"),
    ],
)
def test_wrong_use(
    args: list[str], env: dict[str, str], code: int, message: str, tmp_path: Path
) -> None:
    """A usage error prints one sentence to standard error and sets the exit code."""
    done = hub(*args, folder=tmp_path, **env)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    if done.stderr.startswith("hub: "):
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_unreachable_broker(command: str, tmp_path: Path) -> None:
    """The error has exit code 3, names the setting, and does not show the password."""
    url = unused_url().replace("http://", "redis://user:pa55@")
    env = {"HUB_AUTH__HMAC_SECRET": SECRET, "HUB_AUTH__API_KEYS": KEYS, "HUB_REDIS__URL": url}
    done = hub(command, folder=tmp_path, **env)
    assert done.returncode == 3
    assert "no Redis or Valkey at redis://***@127.0.0.1" in done.stderr
    assert "HUB_REDIS__URL" in done.stderr
    assert "pa55" not in done.stderr


def test_taken_port_of_serve(tmp_path: Path, valkey: Any) -> None:
    """The error has exit code 2 and names the setting of the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        env = {
            "HUB_AUTH__DISABLED": "true",
            "HUB_REDIS__URL": valkey.url,
            "HUB_PUBLIC__PORT": str(taken.getsockname()[1]),
            "HUB_INTERNAL__PORT": "0",
        }
        done = hub("serve", folder=tmp_path, **env)
    assert done.returncode == 2
    assert "(public.port): " in done.stderr.splitlines()[-1]


def test_token_is_good(tmp_path: Path) -> None:
    """The token has the requested subject, lifetime and topics."""
    env = {"HUB_AUTH__HMAC_SECRET": SECRET, "HUB_AUTH__AUDIENCE": "app"}
    printed = hub("token", "alice", "--ttl", "30m", "--topics", "a,b.*", folder=tmp_path, **env)
    claims = jwt.decode(printed.stdout.strip(), SECRET, algorithms=["HS256"], audience="app")
    assert (claims["sub"], claims["topics"]) == ("alice", ["a", "b.*"])
    assert claims["exp"] - claims["iat"] == 1800


def test_config_masks_secrets_and_shows_origins(tmp_path: Path) -> None:
    """Each value has its origin, and no secret is shown."""
    env = {
        "HUB_AUTH__HMAC_SECRET": SECRET,
        "HUB_AUTH__API_KEYS": KEYS,
        "HUB_PUBLIC__PORT": "9000",
        "HUB_REDIS__URL": "redis://user:pa55@db:6379/0",
    }
    for shown in (
        hub("config", folder=tmp_path, **env),
        hub("config", "--json", folder=tmp_path, **env),
    ):
        assert shown.returncode == 0
        assert not any(word in shown.stdout for word in (SECRET, "k3y-of", "pa55"))
    rows = {row["setting"]: row for row in json.loads(shown.stdout)}
    assert (rows["public.port"]["value"], rows["public.port"]["from"]) == (9000, "HUB_PUBLIC__PORT")
    assert rows["internal.port"]["from"] == "default"


def test_doctor_names_each_fault(tmp_path: Path) -> None:
    """Missing keys, an absent broker and an absent upstream fail, each with advice."""
    env = {
        "HUB_REDIS__URL": unused_url().replace("http", "redis"),
        "HUB_UPSTREAMS__MAIN__BASE_URL": unused_url(),
    }
    done = hub("doctor", "--json", folder=tmp_path, **env)
    rows = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 3
    assert {name for name, row in rows.items() if row["status"] == "fail"} == {
        "keys", "broker", "upstream main",
    }  # fmt: skip
    assert all(row["advice"] for row in rows.values() if row["status"] != "ok")


def test_doctor_passes_a_good_set_up(tmp_path: Path, valkey: Any) -> None:
    """A good set-up has exit code 0."""
    env = {
        "HUB_AUTH__HMAC_SECRET": secrets.token_urlsafe(32),
        "HUB_AUTH__API_KEYS": KEYS,
        "HUB_REDIS__URL": valkey.url,
        "HUB_PUBLIC__PORT": unused_url().rpartition(":")[2],
        "HUB_INTERNAL__PORT": unused_url().rpartition(":")[2],
    }
    done = hub("doctor", folder=tmp_path, **env)
    assert done.returncode == 0, done.stdout
    assert "Valkey 9" in done.stdout
