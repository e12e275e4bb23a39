"""Every setting, read once at the start and frozen.

Sources, each overriding the one before: the defaults here, a TOML file, `HUB_…` variables (`__`
between the levels: HUB_REDIS__URL), flags. An unknown key is an error that names it. This module
and logs.py are the only readers of the environment.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import pydantic
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from hub.errors import OperatorError

PREFIX: Final = "HUB_"
DEFAULT_FILE: Final = Path("config/hub.toml")
MIN_SECRET_BYTES: Final = 32
_NOT_SETTINGS: Final = {"HUB_CONFIG", "HUB_PYTHON"}  # where the file is; scripts/* read the other

_UPSTREAM_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CREDENTIALS: Final = re.compile(r"://[^/@\s]+@")

Port = Annotated[int, Field(ge=0, le=65535)]
QueueName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]


def mask_credentials(text: str) -> str:
    """The text with the user and password of a URL in it masked."""
    return _CREDENTIALS.sub("://***@", text)


class Section(BaseModel):
    """A table of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Public(Section):
    """The listener that browsers and apps reach."""

    host: str = "127.0.0.1"
    port: Port = 8080
    demo_page: bool = False
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[Annotated[str, Field(pattern=r"^https?://[^/]+$")], ...] = ()


class Internal(Section):
    """The listener for backends, operators and probes. Never expose it."""

    host: str = "127.0.0.1"
    port: Port = 8081
    exposed: bool = False


class Redis(Section):
    """The broker: one server (redis://, rediss://, unix://), Sentinel (redis+sentinel://host,host/
    service) or a Cluster (redis+cluster://host,host).
    """

    url: str = Field(
        "redis://127.0.0.1:6379/0", pattern=r"^(rediss?(\+sentinel|\+cluster)?|unix)://"
    )
    timeout_seconds: PositiveFloat = 1.5

    @property
    def place(self) -> str:
        """The URL as it may be shown: without a password."""
        return mask_credentials(self.url)


class Keep(Section):
    """How much of one channel can be replayed: the bound that is reached first counts."""

    max_events: PositiveInt = 10_000
    max_bytes: PositiveInt = 4 * 1024 * 1024
    ttl_seconds: PositiveFloat = 3600.0


class Log(Section):
    """What of the past is kept: of the channels of each kind, and of positions and publishes."""

    user: Keep = Keep()
    topic: Keep = Keep()
    everyone: Keep = Keep()
    position_ttl_seconds: PositiveFloat = 7 * 86400.0
    idempotency_seconds: PositiveFloat = 600.0


class Stream(Section):
    """What one connection gets and may take."""

    heartbeat_seconds: PositiveFloat = 8.0
    retry_ms: PositiveInt = 3000
    max_topics: PositiveInt = 32
    outbox_max_events: PositiveInt = 256
    outbox_max_bytes: PositiveInt = 256 * 1024
    write_buffer_bytes: PositiveInt = 64 * 1024
    send_buffer_bytes: PositiveInt = 128 * 1024
    tcp_user_timeout_seconds: PositiveFloat | None = 30.0
    max_connections: PositiveInt | None = 18_000
    max_per_user: PositiveInt | None = 32
    max_per_address: PositiveInt | None = None
    max_age_seconds: PositiveFloat | None = None
    expiry_notice_seconds: float = Field(30.0, ge=0)


class Publish(Section):
    """Limits of publishing."""

    max_body_bytes: PositiveInt = 1024 * 1024
    max_data_bytes: PositiveInt = 256 * 1024
    max_recipients: PositiveInt = 1000
    max_per_second: PositiveFloat | None = None


class Generations(Section):
    """Limits of questions and answers."""

    ttl_seconds: PositiveFloat = 3600.0
    max_prompt_bytes: PositiveInt = 256 * 1024
    max_text_bytes: PositiveInt = 1024 * 1024
    max_attempts: PositiveInt = 3
    flush_seconds: float = Field(0.025, ge=0)
    max_running_per_user: PositiveInt = 4
    max_queued_per_user: PositiveInt = 20
    max_queued_seconds: PositiveFloat = 600.0
    usage_seconds: PositiveFloat = 35 * 86400.0


class Worker(Section):
    """The background process that relays answers."""

    concurrency: PositiveInt = 100
    lease_seconds: PositiveFloat = 12.0
    drain_seconds: float = Field(20.0, ge=0)
    queues: tuple[QueueName, ...] = ("default",)
    host: str = "127.0.0.1"
    port: Port | None = None


class Node(Section):
    """The serving process."""

    name: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    drain_wait_seconds: float = Field(0.0, ge=0)
    drain_seconds: float = Field(5.0, ge=0)


class Envelope(Section):
    """How an endpoint of one's own making is asked and read: see docs/upstreams.md."""

    method: Literal["POST", "GET"] = "POST"
    path: str = ""
    request: dict[str, Any] = {"prompt": "{prompt}"}
    framing: Literal["sse", "ndjson"] = "sse"
    json_data: bool = True
    text: str = "data"
    text_is: Literal["new", "everything"] = "new"
    ok_field: str = ""
    ok_values: tuple[str | int, ...] = ()
    end_field: str = ""
    end_values: tuple[bool | int | str, ...] = ()
    end_texts: tuple[str, ...] = ()
    end_events: tuple[str, ...] = ()
    end_of_stream: bool = False
    error_events: tuple[str, ...] = ()


UpstreamKind = Literal["openai", "openai-responses", "anthropic", "ollama", "dashscope", "envelope"]


class Upstream(Section):
    """An LLM endpoint. `models` empty: it takes any. `body`: fields of every request. `fallbacks`:
    the upstreams that are asked when this one fails before its first delta. `queue`: whose workers
    ask it. `max_running`, `max_queued`: of all users together; None: as many as there are.
    """

    kind: UpstreamKind = "openai"
    base_url: str = Field(pattern=r"^https?://")
    api_key: SecretStr | None = None
    default_model: str | None = None
    models: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    body: dict[str, Any] = {}
    envelope: Envelope = Envelope()
    connect_seconds: PositiveFloat | None = 10.0
    first_byte_seconds: PositiveFloat | None = 120.0
    idle_seconds: PositiveFloat | None = 120.0
    total_seconds: PositiveFloat | None = None
    max_event_bytes: PositiveInt = 1024 * 1024
    proxy: str | None = Field(None, pattern=r"^https?://")
    verify_tls: bool = True
    retries: int = Field(2, ge=0)
    most_retry_after_seconds: PositiveFloat = 20.0
    fallbacks: tuple[str, ...] = ()
    rest_after_failures: PositiveInt = 5
    rest_seconds: PositiveFloat = 30.0
    max_running: PositiveInt | None = None
    max_queued: PositiveInt | None = 10_000
    queue: QueueName = "default"


class ApiKey(Section):
    """A backend's key for the internal listener, or its SHA-256 in hexadecimal."""

    name: str = ""
    key: SecretStr | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Literal["publish", "read", "admin"], ...]


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"it has fewer than {MIN_SECRET_BYTES} bytes")
    return secret


class Auth(Section):
    """Who may do what. `open`: no token and no key, on loopback only, for development."""

    open: bool = False
    hmac_secret: Annotated[SecretStr, AfterValidator(_long_enough)] | None = None
    public_keys: tuple[str, ...] = ()
    jwks_url: str | None = Field(None, pattern=r"^https?://")
    audience: str | None = None
    issuer: str | None = None
    leeway_seconds: float = Field(5.0, ge=0)
    api_keys: tuple[ApiKey, ...] = ()


class Logs(Section):
    """What the process says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Client(Section):
    """Where the everyday commands (`hub publish`, `hub ask`, …) find the hub."""

    url: str = Field("http://127.0.0.1:8080", pattern=r"^https?://")
    internal_url: str = Field("http://127.0.0.1:8081", pattern=r"^https?://")
    token: SecretStr | None = None
    key: SecretStr | None = None


class Settings(BaseSettings):
    """All of them."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__"
    )

    public: Public = Public()
    internal: Internal = Internal()
    redis: Redis = Redis()
    log: Log = Log()
    stream: Stream = Stream()
    publish: Publish = Publish()
    generations: Generations = Generations()
    worker: Worker = Worker()
    node: Node = Field(default_factory=Node)
    upstreams: dict[str, Upstream] = {}
    default_upstream: str | None = None
    auth: Auth = Auth()
    logs: Logs = Logs()
    client: Client = Client()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load_settings` brings the sources together, so that it knows where a value is from."""
        return (init_settings,)


class Loaded(NamedTuple):
    """The settings, and for each that is not a default the place that set it, by dotted key."""

    settings: Settings
    origins: Mapping[str, str]


def load_settings(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Loaded:
    """Reads all sources. `flags` has dotted keys. Raises OperatorError in one sentence."""
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, value, origin in (*_from_file(file), *_from_environment(), *_from_flags(flags or {})):
        _check_known(key, origin)
        _put(merged, key, value)
        origins[".".join(key)] = origin
    try:
        settings = Settings(**merged)
    except pydantic.ValidationError as error:
        raise OperatorError(_sentence(error, origins)) from None
    _check_together(settings)
    return Loaded(settings, origins)


def check_for_production(settings: Settings) -> None:
    """Raises OperatorError that names each setting without which `serve` must not run."""
    if settings.auth.open:
        return
    missing = []
    if settings.auth.hmac_secret is None and not (
        settings.auth.public_keys or settings.auth.jwks_url
    ):
        missing.append("auth.hmac_secret (HUB_AUTH__HMAC_SECRET)")
    if not settings.auth.api_keys:
        missing.append("auth.api_keys (HUB_AUTH__API_KEYS)")
    if missing:
        raise OperatorError(f"set {' and '.join(missing)}; `hub dev` runs without")


def _check_together(settings: Settings) -> None:
    log = settings.log
    for kind, keep in (("user", log.user), ("topic", log.topic), ("everyone", log.everyone)):
        if log.position_ttl_seconds < keep.ttl_seconds * 9 / 8:
            raise OperatorError(f"log.position_ttl_seconds must outlast log.{kind}.ttl_seconds")
    name = settings.default_upstream
    if name is not None and name not in settings.upstreams:
        raise OperatorError(f"default_upstream names {name!r}, which is not among the upstreams")
    for name, upstream in settings.upstreams.items():
        if not _UPSTREAM_NAME.fullmatch(name):
            raise OperatorError(f"upstreams.{name}: a name has letters, digits, . _ and -")
        for other in upstream.fallbacks:
            if other not in settings.upstreams or other == name:
                raise OperatorError(
                    f"upstreams.{name}.fallbacks names {other!r}, which is not another upstream"
                )
    if settings.generations.max_queued_seconds >= settings.generations.ttl_seconds:
        raise OperatorError("generations.ttl_seconds must outlast generations.max_queued_seconds")
    for key in settings.auth.api_keys:
        if (key.key is None) is (key.sha256 is None):
            raise OperatorError("each of auth.api_keys has either a key or its sha256")
    if not settings.internal.exposed and not _is_private(settings.internal.host):
        raise OperatorError(
            f"internal.host is {settings.internal.host}, which others can reach: set "
            "internal.exposed = true if that is meant"
        )
    hosts = (settings.public.host, settings.internal.host)
    if settings.auth.open and not all(map(_is_loopback, hosts)):
        raise OperatorError("auth.open is for loopback only, and a listener is on another address")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_private(host: str) -> bool:
    """Whether only machines of the same network can reach it, as far as its text tells."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host != "" and not host.endswith(".") and "." not in host  # a name in a network
    return address.is_loopback or (address.is_private and not address.is_unspecified)


Given = tuple[tuple[str, ...], Any, str]


def _from_file(file: Path | None) -> Iterator[Given]:
    named = file or (Path(os.environ["HUB_CONFIG"]) if os.environ.get("HUB_CONFIG") else None)
    path = named or DEFAULT_FILE
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if named is not None:
            raise OperatorError(f"there is no settings file {path}") from None
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OperatorError(f"the settings file {path} cannot be read: {error}") from error
    yield from _leaves(table, (), str(path))


def _from_environment() -> Iterator[Given]:
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in _NOT_SETTINGS:
            _check_known(tuple(variable.removeprefix(PREFIX).lower().split("__")), variable)
    try:
        table = EnvSettingsSource(Settings)()
    except Exception as error:
        raise OperatorError(f"the environment's settings cannot be read: {error}") from error
    for key, value, _ in _leaves(table, (), ""):
        variable = PREFIX + "__".join(key).upper()
        yield key, value, variable if variable in os.environ else "environment"


def _from_flags(flags: Mapping[str, Any]) -> Iterator[Given]:
    for key, value in flags.items():
        yield tuple(key.split(".")), value, f"--{key.rpartition('.')[2].replace('_', '-')}"


def _leaves(table: Mapping[str, Any], above: tuple[str, ...], origin: str) -> Iterator[Given]:
    for name, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, name), origin)
        else:
            yield (*above, name), value, origin


def _check_known(key: tuple[str, ...], origin: str) -> None:
    """Raises OperatorError with the nearest name when there is no such setting."""
    model: Any = Settings
    for depth, name in enumerate(key):
        if model is None:
            return  # inside a value of its own shape: headers
        if model is dict:
            model = Upstream
            continue
        if name not in model.model_fields:
            dotted = ".".join(key[: depth + 1])
            near = difflib.get_close_matches(name, model.model_fields, n=1)
            hint = f"; did you mean {'.'.join((*key[:depth], near[0]))}?" if near else ""
            raise OperatorError(f"there is no setting {dotted} ({origin}){hint}")
        if name == "upstreams":
            model = dict
        else:
            inner = model.model_fields[name].annotation
            is_table = isinstance(inner, type) and issubclass(inner, BaseModel)
            model = inner if is_table else None


def _put(table: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    for name in key[:-1]:
        table = table.setdefault(name, {})
    table[key[-1]] = value


def _sentence(error: pydantic.ValidationError, origins: Mapping[str, str]) -> str:
    """The first fault: setting, where it was set, what is wrong; never the value."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    dotted = ".".join(str(part) for part in fault["loc"])
    near = (key for key in origins if dotted.startswith(key) or key.startswith(dotted))
    origin = next((origins[key] for key in near), None)
    what = fault["msg"].removeprefix("Value error, ")
    return f"the setting {dotted}{f' ({origin})' if origin else ''} is wrong: {what}"
