"""The settings: names, types and defaults. config/hub.example.toml describes each setting."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hub.core.fair_queue import DEFAULT_QUEUE
from hub.core.public_addresses import find_url_problem
from hub.core.webhooks import MAX_SECRETS, find_secret_problem
from hub.core.webhooks import EventName as WebhookEvent
from hub.settings import patterns
from hub.settings.masking import is_url, mask_url
from hub.settings.presets import PresetName, apply_preset

PREFIX: Final = "HUB_"
FUNCTION_KIND: Final = "function"
QUEUE_KIND: Final = "queue"
A2A_KIND: Final = "a2a"
INTERRUPTIBLE_KINDS: Final = ("ag_ui", "ai_sdk")
AGENT_KINDS: Final = (*INTERRUPTIBLE_KINDS, A2A_KIND)
MIN_SECRET_BYTES: Final = 32
MIN_API_KEY_CHARS: Final = 16
"""A shorter API key is accepted, with a warning."""
MAX_WINDOW_CHARACTERS: Final = 10_000

HeaderBytes = Annotated[int, Field(ge=1024, le=1024 * 1024)]
Origin = Annotated[str, Field(pattern=patterns.ORIGIN)]
Port = Annotated[int, Field(ge=0, le=65535)]
TopicPattern = Annotated[str, Field(pattern=patterns.TOPIC)]
QueueName = Annotated[str, Field(pattern=patterns.QUEUE)]


def _check_length(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"the secret has fewer than {MIN_SECRET_BYTES} bytes")
    return secret


HmacSecret = Annotated[SecretStr, AfterValidator(_check_length)]


class Section(BaseModel):
    """A table of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Public(Section):
    """The listener for browsers and apps."""

    host: str = "127.0.0.1"
    port: Port = 8080
    grpc_port: Port | None = None
    demo_page: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[Origin, ...] = ()
    max_header_bytes: HeaderBytes = 8190
    keepalive_seconds: PositiveFloat = 75.0


class Internal(Section):
    """The listener for backends, operators and probes. Never expose it."""

    host: str = "127.0.0.1"
    port: Port = 8081
    grpc_port: Port | None = None
    allow_public: bool = False
    socket: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    max_header_bytes: HeaderBytes = 8190
    keepalive_seconds: PositiveFloat = 75.0


def _check_redis_url(url: str) -> str:
    if not is_url(url):
        raise ValueError(
            "the URL cannot be parsed; in its password, write %2F for /, %3F for ?, %23 for # and "
            "%40 for @"
        )
    return url


class Redis(Section):
    """The broker: one server (`redis://`, `rediss://`, `unix://`), Sentinel
    (`redis+sentinel://host,host/service`) or a Cluster (`redis+cluster://host,host`); `valkey`
    means the same as `redis`.
    """

    url: Annotated[str, AfterValidator(_check_redis_url)] = Field(
        "redis://127.0.0.1:6379/0", pattern=patterns.BROKER_URL
    )
    password_file: str | None = None
    password_command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    prefix: str = Field("", pattern=patterns.KEY_PREFIX)
    timeout_seconds: PositiveFloat = 1.5
    wait_replicas: NonNegativeInt = 0

    @property
    def url_without_password(self) -> str:
        """The URL without login and query values; only a mask if it cannot be parsed."""
        return mask_url(self.url)


class ChannelRetention(Section):
    """How much of one channel can be replayed. The limit that is reached first applies."""

    max_events: PositiveInt = 10_000
    max_bytes: PositiveInt = 4 * 1024 * 1024
    ttl_seconds: PositiveFloat = 3600.0


class Log(Section):
    """How much of each kind of channel is kept, and how long positions and publish ids are."""

    user: ChannelRetention = ChannelRetention()
    topic: ChannelRetention = ChannelRetention()
    all: ChannelRetention = ChannelRetention()
    position_ttl_seconds: PositiveFloat = 7 * 86400.0
    idempotency_seconds: PositiveFloat = 600.0


class Stream(Section):
    """The connections of clients: heartbeats, limits and buffers."""

    heartbeat_seconds: PositiveFloat = 8.0
    min_heartbeat_seconds: PositiveFloat = 1.0
    retry_ms: PositiveInt = 3000
    max_topics: PositiveInt = 32
    outbox_max_events: PositiveInt = 256
    outbox_max_bytes: PositiveInt = 256 * 1024
    write_buffer_bytes: PositiveInt = 64 * 1024
    send_buffer_bytes: PositiveInt = 128 * 1024
    tcp_user_timeout_seconds: PositiveFloat | None = 30.0
    max_connections: PositiveInt | None = 18_000
    max_per_user: PositiveInt | None = 32
    max_joins_per_second: PositiveFloat | None = 2000.0
    max_new_topics_per_minute: PositiveInt | None = 500
    max_per_address: PositiveInt | None = None
    max_age_seconds: PositiveFloat | None = None
    expiry_notice_seconds: float = Field(30.0, ge=0)
    shape: str | None = None


class OutputTemplate(Section):
    """The events of an answer for clients of older servers: docs/clients/output-templates.md."""

    cumulative: bool = False
    opening: Any = None
    text: Any = "{text}"
    reasoning: Any = None
    tool_calls: Any = None
    error: Any = None
    end: Any = None
    events: dict[
        Literal["opening", "text", "reasoning", "tool_calls", "error", "end"],
        Annotated[str, Field(pattern=patterns.EVENT_NAME)],
    ] = {}


class Presence(Section):
    """The topics that announce which users join and leave. `*` at the end matches any rest."""

    topics: tuple[TopicPattern, ...] = ()


class Publish(Section):
    """The limits of publishing."""

    max_body_bytes: PositiveInt = 1024 * 1024
    max_data_bytes: PositiveInt = 256 * 1024
    max_recipients: PositiveInt = 1000
    max_per_second: PositiveFloat | None = None


class Inbox(Section):
    """The limits of users' inboxes."""

    max_items: int = Field(200, ge=1, le=1000)
    max_item_bytes: PositiveInt = 16 * 1024
    ttl_seconds: PositiveFloat = 30 * 86400.0
    max_topics: PositiveInt = 32
    settings_ttl_seconds: PositiveFloat = 365 * 86400.0


class Generations(Section):
    """The limits of generations: requests and answers."""

    ttl_seconds: PositiveFloat = 3600.0
    max_prompt_bytes: PositiveInt = 256 * 1024
    max_part_bytes: PositiveInt = 64 * 1024
    max_record_bytes: PositiveInt = 2 * 1024 * 1024
    max_attempts: PositiveInt = 3
    flush_seconds: float = Field(0.025, ge=0)
    max_running_per_user: PositiveInt = 4
    max_queued_per_user: PositiveInt = 20
    max_waiting_per_user: PositiveInt = 100
    max_stored_bytes_per_user: PositiveInt | None = 64 * 1024 * 1024
    max_queued_seconds: PositiveFloat = 600.0
    usage_seconds: PositiveFloat = 35 * 86400.0


class Deliveries(Section):
    """What is stored of webhooks and pushes until they are sent."""

    max_per_lane: PositiveInt = 1000
    max_partition_bytes: PositiveInt = 16 * 1024 * 1024
    max_partition_dead_letters: PositiveInt = 1000
    dead_letter_seconds: PositiveFloat = 7 * 86400.0
    retry_seconds: PositiveFloat = 86400.0
    min_retry_seconds: PositiveFloat = 2.0
    max_retry_seconds: PositiveFloat = 900.0
    poll_seconds: PositiveFloat = 1.0
    timeout_seconds: PositiveFloat = 15.0
    concurrency: PositiveInt = 64


class WebhookEndpoint(Section):
    """A receiver of webhooks."""

    url: str
    secrets: Annotated[tuple[SecretStr, ...], Field(min_length=1, max_length=MAX_SECRETS)]
    events: tuple[WebhookEvent, ...] = ()
    include: Literal["record"] | None = None
    allow_private: bool = False

    @field_validator("secrets")
    @classmethod
    def _check_secrets(cls, given: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in given:
            problem = find_secret_problem(secret.get_secret_value())
            if problem is not None:
                raise ValueError(f"a secret {problem}")
        return given

    @model_validator(mode="after")
    def _check_url(self) -> WebhookEndpoint:
        problem = find_url_problem(self.url, allow_private=self.allow_private)
        if problem is not None:
            raise ValueError(f"the URL {problem}")
        return self


class Worker(Section):
    """The background process that relays the answers of upstreams."""

    concurrency: PositiveInt = 100
    lease_seconds: PositiveFloat = 12.0
    drain_seconds: float = Field(20.0, ge=0)
    queues: tuple[QueueName, ...] = (DEFAULT_QUEUE,)
    version: Annotated[str, Field(pattern=patterns.VERSION)] = ""
    host: str = "127.0.0.1"
    port: Port | None = None


class Outbox(Section):
    """The table of a PostgreSQL database from which workers publish: docs/guides/outbox.md.

    It needs `ssehub[outbox]`, and is off without `dsn`.
    """

    dsn: str | None = Field(None, pattern=patterns.POSTGRES_URL)
    password_file: str | None = None
    table_schema: str = Field("public", pattern=patterns.SQL_NAME)
    table: str = Field("hub_outbox", pattern=patterns.SQL_NAME)
    partitions: int = Field(8, ge=1, le=64)
    batch_size: int = Field(512, ge=1, le=10_000)
    poll_seconds: PositiveFloat = 2.0
    dedupe_seconds: PositiveFloat = 86400.0

    @property
    def shown_dsn(self) -> str:
        """The URL without login and query values; only a mask if it cannot be parsed."""
        return mask_url(self.dsn or "")


class Producers(Section):
    """The processes of a worker that run the application's functions."""

    processes: PositiveInt = 1
    guard_processes: PositiveInt = 1
    spare_processes: PositiveInt = 2
    stop_timeout_seconds: PositiveFloat = 10.0
    block_warning_seconds: PositiveFloat = 1.0
    block_limit_seconds: PositiveFloat = 30.0
    show_errors: bool = False
    max_waiting_claims: PositiveInt = 1000
    max_waiting_claims_per_key: PositiveInt = 100


class Push(Section):
    """Push notifications to devices without a connection: see docs/guides/push.md."""

    public_key: str | None = None
    private_key: SecretStr | None = None
    private_key_file: Path | None = None
    subject: str | None = Field(None, pattern=patterns.CONTACT)
    after_seconds: float = Field(10.0, ge=0, le=86400.0)
    ttl_seconds: float = Field(86400.0, ge=0, le=28 * 86400.0)
    subscription_ttl_seconds: PositiveFloat = 180 * 86400.0
    max_subscriptions_per_user: int = Field(20, ge=1, le=1000)
    max_topic_users: PositiveInt = 100_000
    timeout_seconds: PositiveFloat = 10.0
    allow_private: bool = False

    @property
    def is_set(self) -> bool:
        """Whether there is a key."""
        return self.private_key is not None or self.private_key_file is not None


class Node(Section):
    """The serving process. `hub serve --workers` sets `metrics_dir`, a directory through which the
    processes that share the ports exchange their metrics.
    """

    name: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    drain_wait_seconds: float = Field(0.0, ge=0)
    metrics_dir: Path | None = None
    drain_seconds: float = Field(5.0, ge=0)


class Envelope(Section):
    """The request and response format of your own backend: see docs/guides/upstreams.md."""

    method: Literal["POST", "GET"] = "POST"
    path: str = ""
    request: dict[str, Any] = {"prompt": "{prompt}"}
    framing: Literal["sse", "ndjson", "text"] = "sse"
    json_data: bool = True
    data_space: Literal["strip", "keep"] = "strip"
    text: str = "data"
    text_mode: Literal["delta", "cumulative"] = "delta"
    ok_field: str = ""
    ok_values: tuple[bool | int | str, ...] = ()
    end_field: str = ""
    end_values: tuple[bool | int | str, ...] = ()
    end_texts: tuple[str, ...] = ("[DONE]",)
    end_events: tuple[str, ...] = ()
    end_of_stream: bool = False
    error_events: tuple[str, ...] = ()
    error_field: str = ""


class Guard(Section):
    """The check of an upstream's answers before they are shown: see docs/guides/guards.md."""

    target: Annotated[str, Field(pattern=patterns.FUNCTION)] | None = None
    url: str | None = Field(None, pattern=patterns.HTTP_URL)
    api_key: SecretStr | None = None
    headers: dict[str, str] = {}
    checks: Annotated[tuple[Literal["text", "reasoning"], ...], Field(min_length=1)] = (
        "text",
        "reasoning",
    )
    hold_back_characters: int = Field(64, ge=0, le=MAX_WINDOW_CHARACTERS)
    check_every_characters: int = Field(1, ge=1, le=MAX_WINDOW_CHARACTERS)
    timeout_seconds: PositiveFloat = 5.0
    on_slow: Literal["wait", "pass"] = "wait"
    max_wait_seconds: PositiveFloat = 60.0
    on_error: Literal["end", "pass"] = "end"

    @property
    def is_set(self) -> bool:
        """Whether there is a guard."""
        return self.target is not None or self.url is not None


UpstreamKind = Literal[
    "openai",
    "openai-responses",
    "anthropic",
    "ollama",
    "dashscope",
    "ag_ui",
    "ai_sdk",
    "a2a",
    "envelope",
    "function",
    "queue",
]


def _check_base_url(url: str, info: ValidationInfo) -> str:
    """Return the URL. Only functions and queues have none: theirs is empty."""
    kind = info.data.get("kind")
    if kind == QUEUE_KIND and url:
        raise ValueError('kind = "queue" has no base_url; remove it')
    if kind == FUNCTION_KIND and url:
        raise ValueError('kind = "function" has a target and no base_url; remove it')
    if kind in (FUNCTION_KIND, QUEUE_KIND):
        return url
    if not url:
        raise PydanticCustomError("missing", "Field required")
    if re.match(patterns.HTTP_URL, url) is None:
        raise ValueError(patterns.REQUIREMENTS[patterns.HTTP_URL])
    return url


def _check_target(target: str | None, info: ValidationInfo) -> str | None:
    is_function = info.data.get("kind") == FUNCTION_KIND
    if is_function and target is None:
        raise ValueError('kind = "function" needs it: module:name, for example answers:support')
    if target is not None and not is_function:
        raise ValueError('it is for kind = "function" only')
    return target


class Upstream(Section):
    """An LLM endpoint, or a function of your own. A limit without a value is off."""

    preset: PresetName | None = None
    kind: UpstreamKind = "openai"
    target: Annotated[str, Field(pattern=patterns.FUNCTION)] | None = Field(
        None, validate_default=True
    )
    base_url: str = Field("", validate_default=True)
    api_key: SecretStr | None = None
    api_key_header: str | None = Field(None, pattern=patterns.HEADER_NAME)
    context_key: HmacSecret | None = None
    default_model: str | None = None
    models: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    body: dict[str, Any] = {}
    omit: tuple[str, ...] = ()
    rename: dict[str, str] = {}
    roles: dict[str, str] = {}
    stream: bool = True
    background: bool = False
    continue_with: Literal["prefix", "final_message"] | None = None
    continue_models: tuple[str, ...] = ()
    envelope: Envelope = Envelope()
    connect_seconds: PositiveFloat | None = 10.0
    first_byte_seconds: PositiveFloat | None = 120.0
    idle_seconds: PositiveFloat | None = 120.0
    total_seconds: PositiveFloat | None = None
    input_timeout_seconds: float = Field(86400.0, gt=0, le=366 * 86400.0)
    max_event_bytes: PositiveInt = 1024 * 1024
    proxy: str | None = Field(None, pattern=patterns.HTTP_URL)
    verify_tls: bool = True
    retries: int = Field(2, ge=0)
    max_retry_after_seconds: PositiveFloat = 20.0
    fallbacks: tuple[str, ...] = ()
    circuit_failure_threshold: PositiveInt = 5
    circuit_open_seconds: PositiveFloat = 30.0
    max_running: PositiveInt | None = None
    max_queued: PositiveInt | None = 10_000
    queue: QueueName = DEFAULT_QUEUE
    isolation: Literal["none", "run"] = "none"
    version_policy: Literal["any", "pinned"] = "any"
    guard: Guard = Guard()

    _target = field_validator("target")(_check_target)
    _base_url = field_validator("base_url")(_check_base_url)

    @property
    def is_queue(self) -> bool:
        """Whether external producers claim its jobs."""
        return self.kind == QUEUE_KIND

    @property
    def is_endpoint(self) -> bool:
        """Whether it is an LLM endpoint."""
        return not self.is_function and not self.is_queue

    @property
    def has_models(self) -> bool:
        """Whether requests choose one of its models: those to an agent or own code do not."""
        return self.is_endpoint and self.kind not in AGENT_KINDS

    @property
    def remembers_chats(self) -> bool:
        """Whether it gets what it has stored with the answer before in the same chat."""
        return self.kind == A2A_KIND

    @property
    def keeps_tasks(self) -> bool:
        """Whether a task stays open there while an answer waits for a person."""
        return self.kind == A2A_KIND

    def find_queue(self, name: str) -> str:
        """Return the name of the queue of its jobs. name: that of the upstream."""
        has_own = self.is_queue and "queue" not in self.model_fields_set
        return name if has_own else self.queue

    @property
    def is_function(self) -> bool:
        """Whether it is a function of the application, and not an LLM endpoint."""
        return self.kind == FUNCTION_KIND

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, table: Any) -> Any:
        return apply_preset(table) if isinstance(table, dict) else table


class ApiKey(Section):
    """A backend's key for the internal listener: the key itself or its SHA-256 in hexadecimal."""

    name: str = ""
    key: SecretStr | None = None
    sha256: str | None = Field(None, pattern=patterns.SHA256)
    scopes: tuple[Literal["publish", "read", "admin", "produce"], ...]


class Issuer(Section):
    """Who signs users' tokens: the keys, and what the tokens must contain."""

    issuer: str | None = None
    audience: str | None = None
    hmac_secret: HmacSecret | None = None
    public_keys: tuple[str, ...] = ()
    jwks_url: str | None = Field(None, pattern=patterns.HTTP_URL)
    user_claim: str = Field("sub", min_length=1)

    @property
    def has_keys(self) -> bool:
        """Whether there is any key to verify a token with."""
        return bool(self.hmac_secret or self.public_keys or self.jwks_url)


class Auth(Section):
    """How users and backends authenticate.

    The settings that an entry of `issuers` has as well describe one more issuer: of all tokens
    whose `iss` is `issuer`, or, without it, whose `iss` is not in `issuers`.
    """

    disabled: bool = False
    hmac_secret: HmacSecret | None = None
    public_keys: tuple[str, ...] = ()
    callback_url: str | None = Field(None, pattern=patterns.HTTP_URL)
    callback_timeout_seconds: PositiveFloat = 5.0
    jwks_url: str | None = Field(None, pattern=patterns.HTTP_URL)
    audience: str | None = None
    issuer: str | None = None
    user_claim: str = Field("sub", min_length=1)
    issuers: tuple[Issuer, ...] = ()
    leeway_seconds: float = Field(5.0, ge=0)
    require_scope: bool = False
    api_keys: tuple[ApiKey, ...] = ()

    @property
    def default_issuer(self) -> Issuer:
        """The issuer that the settings of this table describe."""
        return Issuer(**{name: getattr(self, name) for name in Issuer.model_fields})

    @property
    def all_issuers(self) -> tuple[Issuer, ...]:
        """The issuers that have keys."""
        return tuple(each for each in (self.default_issuer, *self.issuers) if each.has_keys)


class Logs(Section):
    """The log of the process, which goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Tracing(Section):
    """Spans for OpenTelemetry, sent with OTLP over HTTP. Tracing needs `ssehub[otel]`. A request
    with a `traceparent` header is traced if its caller traces it.
    """

    endpoint: str | None = Field(None, pattern=patterns.HTTP_URL)
    sample_ratio: float = Field(0.1, ge=0, le=1)


class Client(Section):
    """Where the client commands (`hub publish`, `hub tail`, `hub ask`) find the hub."""

    url: str = Field("http://127.0.0.1:8080", pattern=patterns.HTTP_URL)
    internal_url: str = Field("http://127.0.0.1:8081", pattern=patterns.HTTP_URL)
    token: SecretStr | None = None
    key: SecretStr | None = None


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter="__"
    )

    public: Public = Public()
    internal: Internal = Internal()
    redis: Redis = Redis()
    log: Log = Log()
    stream: Stream = Stream()
    presence: Presence = Presence()
    publish: Publish = Publish()
    inbox: Inbox = Inbox()
    shapes: dict[str, OutputTemplate] = {}
    generations: Generations = Generations()
    deliveries: Deliveries = Deliveries()
    webhooks: tuple[WebhookEndpoint, ...] = ()
    worker: Worker = Worker()
    producers: Producers = Producers()
    push: Push = Push()
    outbox: Outbox = Outbox()
    node: Node = Field(default_factory=Node)
    upstreams: dict[str, Upstream] = {}
    default_upstream: str | None = None
    auth: Auth = Auth()
    logs: Logs = Logs()
    tracing: Tracing = Tracing()
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
        """Read no source but the arguments: load_settings merges the sources and records them."""
        return (init_settings,)
