"""Secrets in settings: shown nowhere, whatever characters they have and wherever they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hub.cli.app import app
from hub.cli.doctor.broker import check_broker
from hub.cli.doctor.upstreams import check_upstreams
from hub.errors import BrokerUnavailable, OperatorError
from hub.settings import Settings, load_settings, mask_settings, mask_url, mask_urls
from hub.settings.masking import MASK, is_url
from hub.wiring.backend import open_backend

SECRET: Final = "S3CRET"
SECRETS: Final = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x17F), min_size=0, max_size=6
).map(lambda text: f"{SECRET}{text}{SECRET}")
TEMPLATES: Final = [
    "redis://:{}@host:6379/0",
    "redis://user:{}@host",
    "redis://{}@host:6379",
    "rediss://user:{}@a:1,b:2/0",
    "redis+sentinel://user:{}@a:26379,b:26379/mymaster",
    "redis+cluster://:{}@a,b",
    "unix://user:{}@/run/redis.sock",
    "redis://host?password={}",
    "redis://host:6379/0?db=1&password={}&sentinel_password={}",
    "unix:///run/redis.sock?password={}",
    "https://user:{}@llm.example/v1",
    "https://llm.example/v1?key={}",
    "https://llm.example/v1?a=b&{}==",
    "http://{}:{}@proxy:3128",
]


@pytest.mark.parametrize("template", TEMPLATES)
@given(secret=SECRETS)
def test_no_part_of_a_secret_is_shown(template: str, secret: str) -> None:
    """Plain or percent-encoded, whatever the characters are."""
    for text in (secret.replace("=", "-"), quote(secret, safe="")):
        url = template.format(*[text] * template.count("{}"))
        assert SECRET not in mask_url(url)
        if not any(char.isspace() for char in url):  # where it ends in a sentence
            assert SECRET not in mask_urls(f"cannot connect to {url}: refused")


@given(
    rest=SECRETS,
    char=st.sampled_from("/?#@"),
    template=st.sampled_from([s for s in TEMPLATES if "@" in s]),
)
def test_odd_passwords_hide_the_whole_url(rest: str, char: str, template: str) -> None:
    """With a character that ends the login for some parser, nothing of the secret is shown."""
    secret = f"{SECRET}{char}{rest}"
    url = template.format(*[secret] * template.count("{}"))
    assert SECRET not in mask_url(url)
    assert mask_url(url) == MASK or mask_url(url).count("@") == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://u:p@[::1]:6379/0", "redis://***@[::1]:6379/0"),
        ("redis+sentinel://a:1,b:2/master", "redis+sentinel://a:1,b:2/master"),
        ("unix:///run/r.sock?db=1", "unix:///run/r.sock?db=***"),
        ("https://h/v1?api-version=1&x", "https://h/v1?api-version=***&***"),
        ("redis://:a/b@host:6379", "***"),
        ("redis://:12345/b@host", "***"),
        ("redis://:a#b@host", "***"),
        ("redis://:a?b@host", "***"),
        ("redis://user:6379?b@host", "***"),
        ("redis://:a b@host", "***"),
        ("password", "***"),
        ("", "***"),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    """The scheme, the hosts and the path, if there is only one way to read the URL."""
    assert mask_url(url) == shown


def everywhere(secret: str) -> dict[str, Any]:
    """Return settings with a secret in every place that can hold one."""
    key = secret * 8
    issuer = {"issuer": "i", "hmac_secret": key, "jwks_url": f"https://id/jwks?key={secret}"}
    upstream = {
        "base_url": f"https://u:{secret}@llm/v1?api-version=1&key={secret}",
        "api_key": secret,
        "headers": {"X-Key": secret},
        "body": {"user": secret, "deep": {"list": [secret, {"a": secret}], "n": 1}},
        "proxy": f"http://u:{secret}@proxy:1",
        "kind": "envelope",
        "envelope": {"path": f"/chat?key={secret}", "request": {"q": "{prompt}", "k": secret}},
    }
    return {
        "redis": {
            "url": f"redis://u:{secret}@h/0?password={secret}&sentinel_password={secret}",
            "password_command": ["curl", "-H", secret, f"https://vault/{secret}"],
        },
        "upstreams": {"main": upstream},
        "auth": {
            "hmac_secret": key,
            "callback_url": f"https://u:{secret}@app/who?key={secret}",
            "jwks_url": f"https://id/jwks?key={secret}",
            "api_keys": [{"key": secret, "scopes": ["publish"]}],
            "issuers": [issuer],
        },
        "tracing": {"endpoint": f"https://u:{secret}@otel?key={secret}"},
        "client": {"token": secret, "key": secret, "url": f"http://u:{secret}@hub"},
    }


def test_dump_has_no_secret() -> None:
    """Every place of the settings is masked, and what is no secret is shown."""
    masked = mask_settings(Settings(**everywhere(SECRET)).model_dump(mode="json"))
    assert SECRET not in json.dumps(masked)
    main = masked["upstreams"]["main"]
    assert main["headers"] == {"X-Key": "***"}
    assert main["body"] == {"user": "***", "deep": {"list": ["***", {"a": "***"}], "n": "***"}}
    assert main["envelope"]["request"] == {"q": "{prompt}", "k": "***"}
    assert main["base_url"] == "https://***@llm/v1?api-version=***&key=***"
    assert masked["redis"]["password_command"] == ["curl", "***", "***", "***"]
    assert masked["public"]["port"] == 8080


@pytest.mark.parametrize("arguments", [["config"], ["config", "--json"]])
def test_config_command(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hub config` prints no secret."""
    monkeypatch.chdir(tmp_path)
    settings = everywhere(SECRET)
    del settings["auth"]["issuers"]  # hub config refuses them beside a callback
    for section, table in settings.items():
        monkeypatch.setenv(f"HUB_{section.upper()}", json.dumps(table))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "upstreams.main.headers.X-Key" in result.output
    assert SECRET not in result.output


@pytest.mark.parametrize("char", list("/?#@ "))
def test_redis_password_that_is_not_encoded(
    char: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says how to write the password and shows nothing of it; encoded, it is accepted."""
    monkeypatch.chdir(tmp_path)
    password = f"{SECRET}{char}{SECRET}"
    monkeypatch.setenv("HUB_REDIS__URL", f"redis://user:{password}@host:6379/0")
    if char == "@":  # only the last one can end the login
        assert load_settings().settings.redis.url_without_password == "redis://***@host:6379/0"
        return
    with pytest.raises(OperatorError, match="write %2F for /") as caught:
        load_settings()
    assert SECRET not in str(caught.value)
    url = f"redis://user:{quote(password, safe='')}@host:6379/0"
    monkeypatch.setenv("HUB_REDIS__URL", url)
    assert load_settings().settings.redis.url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost", "rediss://u:p@redis.example:6380/3?ssl_cert_reqs=none",
        "redis+sentinel://a:1,b:2,[::1]:3/mymaster?sentinel_password=a@b/c",
        "redis+cluster://node-1.example,node_2:7000", "unix:///run/redis/redis.sock",
        "unix://u:p@/run/r.sock?db=1", "redis://:p%40ss@host?password=p@ss",
    ],
)  # fmt: skip
def test_urls_that_can_be_parsed(url: str) -> None:
    """Every form of URL that the documentation shows is accepted."""
    assert is_url(url)
    assert Settings(redis={"url": url}).redis.url == url


@pytest.mark.parametrize(
    "base_url",
    ["https://u:{}@127.0.0.1:9/v1", "http://127.0.0.1:9/v1?key={}", "http://u:{}/x@127.0.0.1:9/v1"],
)
async def test_doctor_shows_no_secret_of_an_upstream(base_url: str) -> None:
    """The checks name the address of an upstream that does not respond, without its secrets."""
    settings = Settings(
        upstreams={"main": {"base_url": base_url.format(SECRET), "headers": {"X-Key": SECRET}}}
    )
    async with aiohttp.ClientSession() as session:
        results = await check_upstreams(session, settings.upstreams)
    assert results[0].status != "ok"
    assert SECRET not in f"{results}"


@pytest.mark.parametrize("query", ["", "?password={0}", "?sentinel_password={0}&username={0}"])
async def test_broker_errors_show_no_secret(query: str) -> None:
    """Neither the doctor nor the error of a process that starts shows the password."""
    url = f"redis://u:{SECRET}@127.0.0.1:9/0" + query.format(SECRET)
    settings = Settings(redis={"url": url, "timeout_seconds": 0.5})
    assert SECRET not in f"{await check_broker(settings)}"
    with pytest.raises((BrokerUnavailable, OperatorError)) as caught:
        async with open_backend(settings, ["default"]):
            pass
    assert SECRET not in str(caught.value)
