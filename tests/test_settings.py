"""Settings: the order of the sources, the checks, and the error sentences."""

from __future__ import annotations

import json
import re
import tomllib
import typing
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hub.cli.process_commands import ignored_auth
from hub.errors import OperatorError
from hub.settings import Settings, check_for_production, load_settings
from hub.settings.models import Upstream
from hub.settings.patterns import REQUIREMENTS

CONFIG = Path(__file__).parents[1] / "config"
SECRET = "s3cret-" * 6


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory, without a settings file."""
    monkeypatch.chdir(tmp_path)


def test_later_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag overrides a variable, which overrides a file; the source of each value is known."""
    file = tmp_path / "hub.toml"
    file.write_text('[public]\nport = 1\nhost = "::1"\n[internal]\nport = 1\n')
    monkeypatch.setenv("HUB_PUBLIC__PORT", "2")
    monkeypatch.setenv("HUB_INTERNAL__PORT", "2")
    settings, origins, _ = load_settings(file, {"internal.port": 3})
    assert (settings.public.host, settings.public.port, settings.internal.port) == ("::1", 2, 3)
    assert settings.stream.heartbeat_seconds == 8.0
    assert origins == {
        "public.host": str(file),
        "public.port": "HUB_PUBLIC__PORT",
        "internal.port": "--port",
    }


def test_default_file_and_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """config/hub.toml is read if it exists; HUB_CONFIG names another file."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "hub.toml").write_text("[public]\nport = 5\n")
    assert load_settings().settings.public.port == 5
    (tmp_path / "other.toml").write_text("[public]\nport = 6\n")
    monkeypatch.setenv("HUB_CONFIG", "other.toml")
    assert load_settings().settings.public.port == 6


def test_upstreams_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables alone can configure an upstream; its key is never shown."""
    monkeypatch.setenv("HUB_UPSTREAMS__MAIN__BASE_URL", "https://llm.example/v1")
    monkeypatch.setenv("HUB_UPSTREAMS__MAIN__API_KEY", SECRET)
    monkeypatch.setenv("HUB_UPSTREAMS__MAIN__MODELS", '["a","b"]')
    upstream = load_settings().settings.upstreams["main"]
    assert upstream.base_url == "https://llm.example/v1"
    assert upstream.models == ("a", "b")
    assert SECRET not in repr(upstream)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HUB_FOO": "1"}, "there is no setting foo (HUB_FOO)"),
        ({"HUB_REDIS__UREL": "x"}, "did you mean redis.url?"),
        ({"HUB_UPSTREAMS__A__BASE": "x"}, "did you mean upstreams.a.base_url?"),
        ({"HUB_PUBLIC__PORT": "x"}, "the setting public.port (HUB_PUBLIC__PORT) is wrong"),
        ({"HUB_PUBLIC__PORT": "70000"}, "less than or equal to 65535"),
        ({"HUB_AUTH__HMAC_SECRET": "short-secret"}, "fewer than 32 bytes"),
        ({"HUB_UPSTREAMS__A__API_KEY": SECRET}, "upstreams.a.base_url is wrong: Field required"),
        ({"HUB_UPSTREAMS__A__BASE_URL": "ftp://x"}, "upstreams.a.base_url"),
        (
            {"HUB_PUBLIC__ALLOWED_ORIGINS": '["http://localhost:8001/"]'},
            "(HUB_PUBLIC__ALLOWED_ORIGINS) is wrong: an origin has a scheme and a host",
        ),
        ({"HUB_REDIS__URL": "localhost:6379"}, "the URL must begin with redis://"),
        ({"HUB_DEFAULT_UPSTREAM": "nope"}, "names 'nope'"),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
                "HUB_UPSTREAMS__A__KIND": "envelope",
                "HUB_UPSTREAMS__A__STREAM": "false",
            },
            "upstreams.a.stream = false does not fit the kind envelope",
        ),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
                "HUB_UPSTREAMS__A__BACKGROUND": "true",
            },
            'upstreams.a.background is for kind = "openai-responses" with stream = true only',
        ),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
                "HUB_UPSTREAMS__A__KIND": "ollama",
                "HUB_UPSTREAMS__A__CONTINUE_WITH": "prefix",
            },
            'upstreams.a.continue_with = "prefix" is for kind = "openai" or "anthropic" only',
        ),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
                "HUB_UPSTREAMS__A__KIND": "anthropic",
                "HUB_UPSTREAMS__A__CONTINUE_WITH": "final_message",
            },
            'continue_with = "final_message" is for kind = "openai" only',
        ),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
                "HUB_UPSTREAMS__A__CONTINUE_MODELS": '["m"]',
            },
            "upstreams.a.continue_models needs continue_with",
        ),
        ({"HUB_UPSTREAMS__A__KIND": "function"}, 'a.target is wrong: kind = "function" needs it'),
        (
            {"HUB_UPSTREAMS__A__KIND": "function", "HUB_UPSTREAMS__A__TARGET": "answers"},
            "the target of a function is module:name",
        ),
        (
            {"HUB_UPSTREAMS__A__BASE_URL": "http://x", "HUB_UPSTREAMS__A__TARGET": "a:b"},
            'it is for kind = "function" only',
        ),
        (
            {
                "HUB_UPSTREAMS__A__KIND": "function",
                "HUB_UPSTREAMS__A__TARGET": "a:b",
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
            },
            "has a target and no base_url",
        ),
        (
            {
                "HUB_UPSTREAMS__A__KIND": "function",
                "HUB_UPSTREAMS__A__TARGET": "a:b",
                "HUB_UPSTREAMS__A__API_KEY": "x",
            },
            'upstreams.a.api_key does not fit kind = "function"',
        ),
        (
            {
                "HUB_UPSTREAMS__A__KIND": "function",
                "HUB_UPSTREAMS__A__TARGET": "a:b",
                "HUB_UPSTREAMS__B__BASE_URL": "http://x",
                "HUB_UPSTREAMS__B__FALLBACKS": '["a"]',
            },
            "'a', which is a function",
        ),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
                "HUB_UPSTREAMS__A__GUARD__TARGET": "a:b",
                "HUB_UPSTREAMS__A__GUARD__URL": "http://x",
            },
            "upstreams.a.guard needs exactly one of target and url",
        ),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
                "HUB_UPSTREAMS__A__GUARD__CHECKS": '["text"]',
            },
            "upstreams.a.guard needs exactly one of target and url",
        ),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
                "HUB_UPSTREAMS__A__GUARD__TARGET": "a:b",
                "HUB_UPSTREAMS__A__GUARD__API_KEY": "x",
            },
            "upstreams.a.guard.api_key is for a guard with url only",
        ),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "http://x",
                "HUB_UPSTREAMS__A__GUARD__TARGET": "a:b",
                "HUB_UPSTREAMS__A__GUARD__TIMEOUT_SECONDS": "61",
            },
            "upstreams.a.guard.max_wait_seconds must not be less than timeout_seconds",
        ),
        (
            {"HUB_UPSTREAMS__A__KIND": "queue", "HUB_UPSTREAMS__A__GUARD__TARGET": "a:b"},
            'upstreams.a.guard does not fit kind = "queue"',
        ),
        (
            {"HUB_UPSTREAMS__A__BASE_URL": "http://x", "HUB_UPSTREAMS__A__GUARD__CHECKS": "[]"},
            "upstreams.a.guard.checks",
        ),
        (
            {"HUB_UPSTREAMS__A__BASE_URL": "http://x", "HUB_UPSTREAMS__A__GUARD__TARGET": "a b"},
            "upstreams.a.guard.target",
        ),
        ({"HUB_PRODUCERS__PROCESSES": "0"}, "producers.processes"),
        ({"HUB_LOG__POSITION_TTL_SECONDS": "1"}, "at least 9/8 of log.user.ttl_seconds"),
        ({"HUB_AUTH__DISABLED": "1", "HUB_PUBLIC__HOST": "0.0.0.0"}, "for loopback only"),
        (
            {
                "HUB_INTERNAL__SOCKET": "/run/hub.sock",
                "HUB_INTERNAL__HOST": "0.0.0.0",
                "HUB_INTERNAL__GRPC_PORT": "9091",
            },
            "internal.allow_public = true",
        ),
        (
            {"HUB_REDIS__PASSWORD_FILE": "/f", "HUB_REDIS__PASSWORD_COMMAND": '["p"]'},
            "set either redis.password_file or redis.password_command, not both",
        ),
        ({"HUB_REDIS__PASSWORD_COMMAND": "[]"}, "redis.password_command"),
        ({"HUB_CONFIG": "none.toml"}, "there is no settings file none.toml"),
        ({"HUB_AUTH__API_KEYS": "[{"}, "auth"),
    ],
)
def test_wrong_setting(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one sentence that names the setting and never shows a secret."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OperatorError) as caught:
        load_settings()
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "short-secret" not in str(caught.value)


def list_settings(model: type[BaseModel] = Settings, above: str = "HUB_") -> Iterator[str]:
    """Yield the variable of each setting that is a list, those of an upstream `main` included."""
    for name, field in model.model_fields.items():
        variable, kind = f"{above}{name.upper()}", field.annotation
        if type(None) in typing.get_args(kind):
            kind = typing.get_args(kind)[0]
        if typing.get_origin(kind) is tuple:
            yield variable
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from list_settings(kind, f"{variable}__")
        elif name == "upstreams":
            yield from list_settings(Upstream, f"{variable}__MAIN__")


@pytest.mark.parametrize("variable", [*list_settings()])
@given(
    text=st.one_of(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
        st.sampled_from(
            ["https://a.example", "a,b", "[a]", "'[\"a\"]'", "{}", '"a"', "1", "null", "[]"]
        ),
    )
)
def test_list_in_a_variable(variable: str, text: str) -> None:
    """A list that is not JSON gets one sentence with the variable and the right form."""
    try:
        is_list = isinstance(json.loads(text), list)
    except ValueError:
        is_list = False
    with pytest.MonkeyPatch.context() as patch:
        if "__MAIN__" in variable:  # an upstream without its URL would be refused for that
            patch.setenv("HUB_UPSTREAMS__MAIN__BASE_URL", "https://llm.example")
        patch.setenv(variable, text)
        try:
            load_settings()
        except OperatorError as error:
            sentence = str(error)
            assert variable in sentence
            assert is_list or re.fullmatch(
                rf".*\({variable}\) must be a JSON list, .*='\[.*\]'", sentence
            )
        else:
            assert is_list


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("HUB_AUTH__API_KEYS", '["a-key"]', "HUB_AUTH__API_KEYS='[{"),
        ("HUB_AUTH__API_KEYS", '{"name": "shop"}', "HUB_AUTH__API_KEYS='[{"),
        ("HUB_UPSTREAMS__MAIN__HEADERS", "X-Key: 1", "HUB_UPSTREAMS__MAIN__HEADERS='{"),
        ("HUB_UPSTREAMS", "https://llm.example", "(HUB_UPSTREAMS) must be a JSON table"),
        ("HUB_UPSTREAMS__MAIN", "https://llm.example", "HUB_UPSTREAMS__MAIN__"),
        ("HUB_REDIS", "redis://broker", "set for example HUB_REDIS__URL"),
    ],
)
def test_table_in_a_variable(
    variable: str, text: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that names a table, or needs one, gets the right form."""
    monkeypatch.setenv(variable, text)
    with pytest.raises(OperatorError) as caught:
        load_settings()
    assert expected in str(caught.value)


def test_wrong_type_in_a_file(tmp_path: Path) -> None:
    """The error names types as TOML does, not as Python does."""
    file = tmp_path / "x.toml"
    file.write_text('[public]\nallowed_origins = "https://a.example"\n')
    with pytest.raises(OperatorError, match="should be a valid list"):
        load_settings(file)


def test_simulated_upstream_is_for_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for `hub dev` may name the simulated LLM; other commands read it, but do not serve."""
    monkeypatch.setenv("HUB_DEFAULT_UPSTREAM", "simulated")
    monkeypatch.setenv("HUB_UPSTREAMS__A__BASE_URL", "http://x")
    settings = load_settings().settings
    with pytest.raises(OperatorError, match="'simulated', which only `hub dev` has"):
        check_for_production(settings)


def test_wrong_file(tmp_path: Path) -> None:
    """The error names a file that is not TOML, and the unknown key of another one."""
    file = tmp_path / "x.toml"
    file.write_text("public = {")
    with pytest.raises(OperatorError, match=r"x\.toml cannot be read"):
        load_settings(file)
    file.write_text("[publik]\nport = 1\n")
    with pytest.raises(
        OperatorError, match=r"no setting publik \(.*x\.toml\); did you mean public"
    ):
        load_settings(file)


@pytest.mark.parametrize("space", ["\n", " ", "\t", "\r\n", "\u00a0", "\ufeff", " \n\n"])
def test_white_space_around_secrets(
    space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """White space around a secret, a key or a URL is ignored, with a warning that shows neither."""
    file = tmp_path / "hub.toml"
    padded = json.dumps(f"{space}{SECRET}{space}")
    url = json.dumps(f"https://llm.example/v1{space}")
    file.write_text(
        f"[auth]\nhmac_secret = {padded}\npublic_keys = [{padded}]\n"
        f"[[auth.api_keys]]\nkey = {padded}\nscopes = ['read']\n"
        f"[upstreams.main]\nbase_url = {url}\nheaders = {{X = {padded}}}\n"
        f"[upstreams.main.envelope]\nend_texts = [{padded}]\n"
    )
    monkeypatch.setenv("HUB_UPSTREAMS__MAIN__API_KEY", SECRET + space)
    monkeypatch.setenv("HUB_REDIS__URL", f"redis://:{SECRET}@host/0{space}")
    settings, _, warnings = load_settings(file)
    main, auth = settings.upstreams["main"], settings.auth
    secrets = [auth.hmac_secret, main.api_key, auth.api_keys[0].key]
    assert [each.get_secret_value() for each in secrets if each] == [SECRET] * 3
    assert auth.public_keys == (SECRET,)
    assert (main.base_url, main.headers) == ("https://llm.example/v1", {"X": SECRET})
    assert settings.redis.url == f"redis://:{SECRET}@host/0"
    assert main.envelope.end_texts == (f"{space}{SECRET}{space}",)  # text of the upstream
    assert len(warnings) == 7
    assert SECRET not in str(warnings)
    assert f"white space around upstreams.main.base_url ({file})" in str(warnings)
    assert "auth.hmac_secret" in str(warnings)
    assert "HUB_UPSTREAMS__MAIN__API_KEY" in str(warnings)


def test_no_warning_without_white_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean value, and white space inside of one, cause no warning."""
    monkeypatch.setenv("HUB_AUTH__HMAC_SECRET", SECRET + " " + SECRET)
    loaded = load_settings()
    assert loaded.warnings == []
    assert loaded.settings.auth.hmac_secret is not None
    assert loaded.settings.auth.hmac_secret.get_secret_value() == SECRET + " " + SECRET


@pytest.mark.parametrize(
    ("issuers", "expected"),
    [
        ([{"hmac_secret": SECRET}], "auth.issuers[0] needs issuer"),
        ([{"issuer": "a"}], "auth.issuers[0] needs hmac_secret, public_keys or jwks_url"),
        ([{"issuer": "a", "hmac_secret": SECRET}] * 2, "auth.issuers[1].issuer is set twice"),
        ([{"issuer": "me", "hmac_secret": SECRET}], "auth.issuers[0].issuer is set twice"),
    ],
)
def test_issuers_that_contradict(
    issuers: list[dict[str, str]], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each issuer has a name of its own, and keys."""
    monkeypatch.setenv("HUB_AUTH__ISSUERS", json.dumps(issuers))
    monkeypatch.setenv("HUB_AUTH__ISSUER", "me")
    monkeypatch.setenv("HUB_AUTH__HMAC_SECRET", SECRET)
    with pytest.raises(OperatorError) as caught:
        load_settings()
    assert expected in str(caught.value)


def test_ignored_auth_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hub dev` says which settings of [auth] it ignores, and says nothing without any."""
    assert ignored_auth(load_settings()) == ""
    file = tmp_path / "hub.toml"
    file.write_text("[auth]\nuser_claim = 'user'\n")
    monkeypatch.setenv("HUB_AUTH__HMAC_SECRET", SECRET)
    sentence = ignored_auth(load_settings(file))
    assert sentence.startswith("hub dev ignores [auth] (")
    assert str(file) in sentence
    assert "HUB_AUTH__HMAC_SECRET" in sentence
    assert SECRET not in sentence


def test_production_names_each_missing_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names both keys and their variables; auth.disabled needs neither."""
    with pytest.raises(OperatorError) as caught:
        check_for_production(load_settings().settings)
    assert "auth.hmac_secret (HUB_AUTH__HMAC_SECRET)" in str(caught.value)
    assert "auth.api_keys (HUB_AUTH__API_KEYS)" in str(caught.value)
    monkeypatch.setenv("HUB_AUTH__DISABLED", "true")
    check_for_production(load_settings().settings)


def test_example_file_shows_every_default() -> None:
    """config/hub.example.toml holds each setting with its default, and nothing else."""
    example = load_settings(CONFIG / "hub.example.toml").settings
    assert example == Settings().model_copy(update={"node": example.node})
    table = tomllib.loads((CONFIG / "hub.example.toml").read_text())
    text = (CONFIG / "hub.example.toml").read_text()
    for section, value in Settings().model_dump().items():
        if isinstance(value, dict) and section not in ("upstreams", "node"):
            for name in value:
                assert name in table.get(section, {}) or f"# {name} =" in text, f"{section}.{name}"


def test_production_file_needs_only_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """config/production.toml is complete once the secrets are in the environment."""
    monkeypatch.setenv("HUB_AUTH__HMAC_SECRET", SECRET)
    monkeypatch.setenv("HUB_AUTH__API_KEYS", '[{"key":"k","scopes":["publish"]}]')
    monkeypatch.setenv("HUB_UPSTREAMS__MAIN__API_KEY", "k")
    check_for_production(load_settings(CONFIG / "production.toml").settings)


# What kubelet sets for the Services `hub` and `hub-internal` of config/kubernetes/hub.yml.
SERVICE_VARIABLES = {
    "HUB_PORT": "tcp://10.0.0.1:80",
    "HUB_PORT_80_TCP": "tcp://10.0.0.1:80",
    "HUB_PORT_80_TCP_ADDR": "10.0.0.1",
    "HUB_PORT_80_TCP_PORT": "80",
    "HUB_PORT_80_TCP_PROTO": "tcp",
    "HUB_SERVICE_HOST": "10.0.0.1",
    "HUB_SERVICE_PORT": "80",
    "HUB_SERVICE_PORT_PUBLIC": "80",
    "HUB_INTERNAL_PORT": "tcp://10.0.0.2:8081",
    "HUB_INTERNAL_PORT_8081_TCP": "tcp://10.0.0.2:8081",
    "HUB_INTERNAL_PORT_8081_TCP_ADDR": "10.0.0.2",
    "HUB_INTERNAL_SERVICE_HOST": "10.0.0.2",
    "HUB_INTERNAL_SERVICE_PORT_INTERNAL": "8081",
    "HUB_PUBLIC_GRPC_PORT_9090_UDP": "udp://[fd00::1]:9090",
}


def test_variables_of_services_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """They look like settings; one warning names one of them, and the settings are read."""
    for name, value in {**SERVICE_VARIABLES, "HUB_PUBLIC__PORT": "5"}.items():
        monkeypatch.setenv(name, value)
    loaded = load_settings()
    assert loaded.settings.public.port == 5
    (warning,) = loaded.warnings
    assert warning.startswith("variables such as HUB_INTERNAL_PORT are ignored")


@pytest.mark.parametrize(
    ("name", "value"),
    [("HUB_PORT", "8080"), ("HUB_INTERNAL_PORT", "8081"), ("HUB_PUBLIC_HOST", "0.0.0.0")],
)
def test_misspelt_setting_is_no_service(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A variable with one underscore too few stays an error."""
    monkeypatch.setenv(name, value)
    with pytest.raises(OperatorError, match=f"there is no setting .*{name}"):
        load_settings()


def test_every_pattern_is_explained() -> None:
    """No message about a setting shows a regular expression instead of words."""
    schema = json.dumps(Settings.model_json_schema())
    patterns = {json.loads(text) for text in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', schema)}
    assert patterns == {*REQUIREMENTS}


CONTEXT_KEY = "c" * 40
UPSTREAM = {
    "HUB_UPSTREAMS__A__BASE_URL": "http://x",
    "HUB_UPSTREAMS__A__CONTEXT_KEY": CONTEXT_KEY,
}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"HUB_UPSTREAMS__A__CONTEXT_KEY": "short"}, "the secret has fewer than 32 bytes"),
        ({"HUB_AUTH__HMAC_SECRET": CONTEXT_KEY}, "auth.hmac_secret, which verifies users' tokens"),
        ({"HUB_AUTH__HMAC_SECRET": f"{CONTEXT_KEY}\n"}, "is the same as auth.hmac_secret"),
        (
            {"HUB_AUTH__ISSUERS": json.dumps([{"issuer": "i", "hmac_secret": CONTEXT_KEY}])},
            "is the same as auth.issuers[0].hmac_secret",
        ),
        (
            {"HUB_AUTH__API_KEYS": json.dumps([{"key": CONTEXT_KEY, "scopes": ["read"]}])},
            "is the same as the key auth.api_keys[0]",
        ),
        (
            {
                "HUB_AUTH__API_KEYS": json.dumps(
                    [{"sha256": sha256(CONTEXT_KEY.encode()).hexdigest(), "scopes": ["read"]}]
                )
            },
            "is the same as the key auth.api_keys[0]",
        ),
        ({"HUB_UPSTREAMS__A__API_KEY": CONTEXT_KEY}, "is the same as upstreams.a.api_key"),
        (
            {"HUB_UPSTREAMS__B__BASE_URL": "http://x", "HUB_UPSTREAMS__B__API_KEY": CONTEXT_KEY},
            "is the same as upstreams.b.api_key",
        ),
        (
            {"HUB_UPSTREAMS__A__HEADERS": '{"hub-CONTEXT": "x"}'},
            "upstreams.a.headers.hub-CONTEXT sets the header Hub-Context",
        ),
        (
            {"HUB_UPSTREAMS__A__API_KEY": "x", "HUB_UPSTREAMS__A__API_KEY_HEADER": "HUB-context"},
            "upstreams.a.api_key_header sets the header Hub-Context",
        ),
        (
            {"HUB_UPSTREAMS__A__CONTEXT_KEY": "-----BEGIN PRIVATE KEY-----\nMC4CAQ…"},
            "must be a secret text, not a public or private key",
        ),
        (
            {"HUB_UPSTREAMS__A__CONTEXT_KEY": f"ssh-ed25519 {'A' * 40} me"},
            "must be a secret text, not a public or private key",
        ),
        (
            {
                "HUB_UPSTREAMS__A__BASE_URL": "",
                "HUB_UPSTREAMS__A__KIND": "function",
                "HUB_UPSTREAMS__A__TARGET": "a:b",
            },
            'context_key does not fit kind = "function"',
        ),
    ],
)
def test_refused_context_keys(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that opens something else is refused, and so is another use of its header."""
    for name, value in {**UPSTREAM, **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OperatorError, match=re.escape(expected)) as caught:
        load_settings()
    assert CONTEXT_KEY not in str(caught.value)


def test_accepted_context_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstreams may share a key; without one, the header is the operator's own."""
    other = {"HUB_UPSTREAMS__B__BASE_URL": "http://x", "HUB_UPSTREAMS__C__BASE_URL": "http://x"}
    for name, value in {**UPSTREAM, **other}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HUB_UPSTREAMS__B__CONTEXT_KEY", CONTEXT_KEY + "\n")
    monkeypatch.setenv("HUB_UPSTREAMS__C__HEADERS", '{"Hub-Context": "x"}')
    monkeypatch.setenv("HUB_AUTH__HMAC_SECRET", SECRET)
    settings, _, warnings = load_settings()
    keys = [each.context_key for each in settings.upstreams.values()]
    assert [each and each.get_secret_value() for each in keys] == [CONTEXT_KEY, CONTEXT_KEY, None]
    assert len(warnings) == 1
    assert CONTEXT_KEY not in f"{warnings}{settings!r}"


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"base_url": "http://llm"}, "has no base_url"),
        ({"target": "a:b"}, 'for kind = "function" only'),
        ({"total_seconds": 1}, "total_seconds does not fit"),
        ({"queue": "default"}, "worker.queues names"),
        ({"queue": "gpu"}, "the upstream 'main' uses"),
    ],
)
def test_wrong_queue(tmp_path: Path, table: dict[str, object], reason: str) -> None:
    """A queue of external producers has settings of its own, and no worker reads it."""
    file = tmp_path / "hub.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    main = '[upstreams.main]\nbase_url = "http://llm"\nqueue = "gpu"\n'
    file.write_text("\n".join([main, '[upstreams.support]\nkind = "queue"', *lines]))
    with pytest.raises(OperatorError, match=re.escape(reason)):
        load_settings(file)


def test_queue_has_the_name_of_its_upstream(tmp_path: Path) -> None:
    """The queue of an upstream of the kind `queue` is its name, if that can be the name of one."""
    file = tmp_path / "hub.toml"
    file.write_text('[upstreams.support]\nkind = "queue"\n')
    assert load_settings(file).settings.upstreams["support"].find_queue("support") == "support"
    file.write_text('[upstreams."Big.Support"]\nkind = "queue"\n')
    with pytest.raises(OperatorError, match="cannot be the name of a queue"):
        load_settings(file)
    file.write_text('[upstreams."Big.Support"]\nkind = "queue"\nqueue = "big"\n')
    assert load_settings(file).settings.upstreams["Big.Support"].find_queue("Big.Support") == "big"
