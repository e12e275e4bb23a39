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

class OnDisconnect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_DISCONNECT_CONTINUE: _ClassVar[OnDisconnect]
    ON_DISCONNECT_STOP: _ClassVar[OnDisconnect]
ON_BUSY_ALLOW: OnBusy
ON_BUSY_REJECT: OnBusy
ON_BUSY_ENQUEUE: OnBusy
ON_BUSY_INTERRUPT: OnBusy
ON_DISCONNECT_CONTINUE: OnDisconnect
ON_DISCONNECT_STOP: OnDisconnect

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
    __slots__ = ("user", "prompt", "messages", "model", "upstream", "params", "metadata", "id", "on_disconnect", "chat", "on_busy", "topic")
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
    def __init__(self, user: _Optional[str] = ..., prompt: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., model: _Optional[str] = ..., upstream: _Optional[str] = ..., params: _Optional[str] = ..., metadata: _Optional[str] = ..., id: _Optional[str] = ..., on_disconnect: _Optional[_Union[OnDisconnect, str]] = ..., chat: _Optional[str] = ..., on_busy: _Optional[_Union[OnBusy, str]] = ..., topic: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("user", "users", "topic", "all", "event", "data", "id", "ephemeral", "ttl_seconds")
    USER_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    user: str
    users: Users
    topic: str
    all: bool
    event: str
    data: str
    id: str
    ephemeral: bool
    ttl_seconds: float
    def __init__(self, user: _Optional[str] = ..., users: _Optional[_Union[Users, _Mapping]] = ..., topic: _Optional[str] = ..., all: _Optional[bool] = ..., event: _Optional[str] = ..., data: _Optional[str] = ..., id: _Optional[str] = ..., ephemeral: _Optional[bool] = ..., ttl_seconds: _Optional[float] = ...) -> None: ...

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
    __slots__ = ("channel", "cursor", "duplicate", "replicas")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    channel: str
    cursor: str
    duplicate: bool
    replicas: int
    def __init__(self, channel: _Optional[str] = ..., cursor: _Optional[str] = ..., duplicate: _Optional[bool] = ..., replicas: _Optional[int] = ...) -> None: ...
