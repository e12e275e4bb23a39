from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OnBusy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_BUSY_ALLOW: _ClassVar[OnBusy]
    ON_BUSY_REJECT: _ClassVar[OnBusy]
    ON_BUSY_ENQUEUE: _ClassVar[OnBusy]
    ON_BUSY_INTERRUPT: _ClassVar[OnBusy]
    ON_BUSY_STEER: _ClassVar[OnBusy]

class OnDisconnect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_DISCONNECT_CONTINUE: _ClassVar[OnDisconnect]
    ON_DISCONNECT_STOP: _ClassVar[OnDisconnect]

class Urgency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    URGENCY_NORMAL: _ClassVar[Urgency]
    URGENCY_VERY_LOW: _ClassVar[Urgency]
    URGENCY_LOW: _ClassVar[Urgency]
    URGENCY_HIGH: _ClassVar[Urgency]
ON_BUSY_ALLOW: OnBusy
ON_BUSY_REJECT: OnBusy
ON_BUSY_ENQUEUE: OnBusy
ON_BUSY_INTERRUPT: OnBusy
ON_BUSY_STEER: OnBusy
ON_DISCONNECT_CONTINUE: OnDisconnect
ON_DISCONNECT_STOP: OnDisconnect
URGENCY_NORMAL: Urgency
URGENCY_VERY_LOW: Urgency
URGENCY_LOW: Urgency
URGENCY_HIGH: Urgency

class ConnectRequest(_message.Message):
    __slots__ = ("user", "topics", "cursor")
    USER_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    user: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    cursor: str
    def __init__(self, user: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., cursor: _Optional[str] = ...) -> None: ...

class Events(_message.Message):
    __slots__ = ("events", "heartbeat")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    heartbeat: Heartbeat
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "event", "channel", "data", "retry_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    RETRY_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    event: str
    channel: str
    data: str
    retry_ms: int
    def __init__(self, id: _Optional[str] = ..., event: _Optional[str] = ..., channel: _Optional[str] = ..., data: _Optional[str] = ..., retry_ms: _Optional[int] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("user", "prompt", "messages", "model", "upstream", "params", "metadata", "id", "on_disconnect", "chat", "on_busy", "topic", "notify")
    USER_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ON_DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    ON_BUSY_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    NOTIFY_FIELD_NUMBER: _ClassVar[int]
    user: str
    prompt: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    model: str
    upstream: str
    params: str
    metadata: str
    id: str
    on_disconnect: OnDisconnect
    chat: str
    on_busy: OnBusy
    topic: str
    notify: bool
    def __init__(self, user: _Optional[str] = ..., prompt: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., model: _Optional[str] = ..., upstream: _Optional[str] = ..., params: _Optional[str] = ..., metadata: _Optional[str] = ..., id: _Optional[str] = ..., on_disconnect: _Optional[_Union[OnDisconnect, str]] = ..., chat: _Optional[str] = ..., on_busy: _Optional[_Union[OnBusy, str]] = ..., topic: _Optional[str] = ..., notify: _Optional[bool] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "content", "content_json", "name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning_details")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_JSON_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_ID_FIELD_NUMBER: _ClassVar[int]
    REASONING_CONTENT_FIELD_NUMBER: _ClassVar[int]
    REASONING_DETAILS_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    content_json: str
    name: str
    tool_calls: str
    tool_call_id: str
    reasoning_content: str
    reasoning_details: str
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ..., content_json: _Optional[str] = ..., name: _Optional[str] = ..., tool_calls: _Optional[str] = ..., tool_call_id: _Optional[str] = ..., reasoning_content: _Optional[str] = ..., reasoning_details: _Optional[str] = ...) -> None: ...

class StopRequest(_message.Message):
    __slots__ = ("user", "generation")
    USER_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    user: str
    generation: str
    def __init__(self, user: _Optional[str] = ..., generation: _Optional[str] = ...) -> None: ...

class StopResponse(_message.Message):
    __slots__ = ("generation", "status")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    generation: str
    status: str
    def __init__(self, generation: _Optional[str] = ..., status: _Optional[str] = ...) -> None: ...

class PublishRequest(_message.Message):
    __slots__ = ("user", "users", "topic", "all", "event", "data", "id", "ephemeral", "ttl_seconds", "inbox", "push")
    USER_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INBOX_FIELD_NUMBER: _ClassVar[int]
    PUSH_FIELD_NUMBER: _ClassVar[int]
    user: str
    users: Users
    topic: str
    all: bool
    event: str
    data: str
    id: str
    ephemeral: bool
    ttl_seconds: float
    inbox: InboxOptions
    push: PushMessage
    def __init__(self, user: _Optional[str] = ..., users: _Optional[_Union[Users, _Mapping]] = ..., topic: _Optional[str] = ..., all: _Optional[bool] = ..., event: _Optional[str] = ..., data: _Optional[str] = ..., id: _Optional[str] = ..., ephemeral: _Optional[bool] = ..., ttl_seconds: _Optional[float] = ..., inbox: _Optional[_Union[InboxOptions, _Mapping]] = ..., push: _Optional[_Union[PushMessage, _Mapping]] = ...) -> None: ...

class InboxOptions(_message.Message):
    __slots__ = ("category", "key", "expires_seconds", "required")
    CATEGORY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    category: str
    key: str
    expires_seconds: float
    required: bool
    def __init__(self, category: _Optional[str] = ..., key: _Optional[str] = ..., expires_seconds: _Optional[float] = ..., required: _Optional[bool] = ...) -> None: ...

class PushMessage(_message.Message):
    __slots__ = ("title", "body", "url", "tag", "icon", "urgency", "ttl_seconds")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    ICON_FIELD_NUMBER: _ClassVar[int]
    URGENCY_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    title: str
    body: str
    url: str
    tag: str
    icon: str
    urgency: Urgency
    ttl_seconds: float
    def __init__(self, title: _Optional[str] = ..., body: _Optional[str] = ..., url: _Optional[str] = ..., tag: _Optional[str] = ..., icon: _Optional[str] = ..., urgency: _Optional[_Union[Urgency, str]] = ..., ttl_seconds: _Optional[float] = ...) -> None: ...

class Users(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ids: _Optional[_Iterable[str]] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("published",)
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    published: _containers.RepeatedCompositeFieldContainer[Published]
    def __init__(self, published: _Optional[_Iterable[_Union[Published, _Mapping]]] = ...) -> None: ...

class Published(_message.Message):
    __slots__ = ("channel", "cursor", "duplicate", "replicas", "item")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    channel: str
    cursor: str
    duplicate: bool
    replicas: int
    item: str
    def __init__(self, channel: _Optional[str] = ..., cursor: _Optional[str] = ..., duplicate: _Optional[bool] = ..., replicas: _Optional[int] = ..., item: _Optional[str] = ...) -> None: ...

class StartExternalRequest(_message.Message):
    __slots__ = ("user", "topic", "model", "metadata", "chat", "on_busy", "id", "lease_seconds", "prompt", "messages", "params", "notify")
    USER_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    ON_BUSY_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    NOTIFY_FIELD_NUMBER: _ClassVar[int]
    user: str
    topic: str
    model: str
    metadata: str
    chat: str
    on_busy: OnBusy
    id: str
    lease_seconds: float
    prompt: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    params: str
    notify: bool
    def __init__(self, user: _Optional[str] = ..., topic: _Optional[str] = ..., model: _Optional[str] = ..., metadata: _Optional[str] = ..., chat: _Optional[str] = ..., on_busy: _Optional[_Union[OnBusy, str]] = ..., id: _Optional[str] = ..., lease_seconds: _Optional[float] = ..., prompt: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., params: _Optional[str] = ..., notify: _Optional[bool] = ...) -> None: ...

class StartExternalResponse(_message.Message):
    __slots__ = ("generation", "attempt", "lease", "lease_seconds", "cursor", "previous", "checkpoint", "inputs", "steering", "steering_taken")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    STEERING_FIELD_NUMBER: _ClassVar[int]
    STEERING_TAKEN_FIELD_NUMBER: _ClassVar[int]
    generation: str
    attempt: int
    lease: str
    lease_seconds: float
    cursor: str
    previous: str
    checkpoint: str
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    steering: _containers.RepeatedCompositeFieldContainer[Steering]
    steering_taken: int
    def __init__(self, generation: _Optional[str] = ..., attempt: _Optional[int] = ..., lease: _Optional[str] = ..., lease_seconds: _Optional[float] = ..., cursor: _Optional[str] = ..., previous: _Optional[str] = ..., checkpoint: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., steering: _Optional[_Iterable[_Union[Steering, _Mapping]]] = ..., steering_taken: _Optional[int] = ...) -> None: ...

class PostPartsRequest(_message.Message):
    __slots__ = ("generation", "lease", "parts")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    generation: str
    lease: str
    parts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, generation: _Optional[str] = ..., lease: _Optional[str] = ..., parts: _Optional[_Iterable[str]] = ...) -> None: ...

class PostPartsResponse(_message.Message):
    __slots__ = ("ack", "stop", "inputs", "steering", "lease_seconds")
    ACK_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    STEERING_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ack: int
    stop: Stop
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    steering: _containers.RepeatedCompositeFieldContainer[Steering]
    lease_seconds: float
    def __init__(self, ack: _Optional[int] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., steering: _Optional[_Iterable[_Union[Steering, _Mapping]]] = ..., lease_seconds: _Optional[float] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("by",)
    BY_FIELD_NUMBER: _ClassVar[int]
    by: str
    def __init__(self, by: _Optional[str] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("n", "input", "value", "by", "expired")
    N_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    n: int
    input: str
    value: str
    by: str
    expired: bool
    def __init__(self, n: _Optional[int] = ..., input: _Optional[str] = ..., value: _Optional[str] = ..., by: _Optional[str] = ..., expired: _Optional[bool] = ...) -> None: ...

class Steering(_message.Message):
    __slots__ = ("n", "message", "by")
    N_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    n: int
    message: str
    by: str
    def __init__(self, n: _Optional[int] = ..., message: _Optional[str] = ..., by: _Optional[str] = ...) -> None: ...

class ClaimJobsRequest(_message.Message):
    __slots__ = ("queue", "max", "wait_seconds", "lease_seconds", "claim_id")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CLAIM_ID_FIELD_NUMBER: _ClassVar[int]
    queue: str
    max: int
    wait_seconds: float
    lease_seconds: float
    claim_id: str
    def __init__(self, queue: _Optional[str] = ..., max: _Optional[int] = ..., wait_seconds: _Optional[float] = ..., lease_seconds: _Optional[float] = ..., claim_id: _Optional[str] = ...) -> None: ...

class ClaimJobsResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("generation", "attempt", "lease", "lease_seconds", "user", "chat", "topic", "prompt", "messages", "model", "params", "metadata", "previous", "checkpoint", "inputs", "steering", "steering_taken")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    STEERING_FIELD_NUMBER: _ClassVar[int]
    STEERING_TAKEN_FIELD_NUMBER: _ClassVar[int]
    generation: str
    attempt: int
    lease: str
    lease_seconds: float
    user: str
    chat: str
    topic: str
    prompt: str
    messages: str
    model: str
    params: str
    metadata: str
    previous: str
    checkpoint: str
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    steering: _containers.RepeatedCompositeFieldContainer[Steering]
    steering_taken: int
    def __init__(self, generation: _Optional[str] = ..., attempt: _Optional[int] = ..., lease: _Optional[str] = ..., lease_seconds: _Optional[float] = ..., user: _Optional[str] = ..., chat: _Optional[str] = ..., topic: _Optional[str] = ..., prompt: _Optional[str] = ..., messages: _Optional[str] = ..., model: _Optional[str] = ..., params: _Optional[str] = ..., metadata: _Optional[str] = ..., previous: _Optional[str] = ..., checkpoint: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., steering: _Optional[_Iterable[_Union[Steering, _Mapping]]] = ..., steering_taken: _Optional[int] = ...) -> None: ...

class ReleaseLeaseRequest(_message.Message):
    __slots__ = ("generation", "lease")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    generation: str
    lease: str
    def __init__(self, generation: _Optional[str] = ..., lease: _Optional[str] = ...) -> None: ...

class ReleaseLeaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ControlRequest(_message.Message):
    __slots__ = ("generation", "lease")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    generation: str
    lease: str
    def __init__(self, generation: _Optional[str] = ..., lease: _Optional[str] = ...) -> None: ...
