"""The WebSocket mode of /v1/responses: the messages of one client.

Source: as in websocket_view.py. `response.create` has the fields of POST /v1/responses. Messages
are handled one after another; the next one begins when the response before it has ended.

A response with `store: false` can be continued only on its own connection, which remembers the
newest one. A continuation that fails makes the connection forget it. `generate: false` prepares a
response without an answer, so that the next message has less to send; it is remembered likewise.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Final

import msgspec
import structlog

from hub.api.authentication import Identity
from hub.api.generation_requests import GenerateBody
from hub.api.json_decoding import convert_json, decode_json
from hub.api.problems import describe_error
from hub.compat.openai_responses.earlier_answers import RESPONSE_PREFIX, EarlierAnswers
from hub.compat.openai_responses.input_items import messages_without_instructions
from hub.compat.openai_responses.requests import NATIVE_KIND, read_responses
from hub.compat.openai_responses.websocket_view import MessageEncoder, ResponsesView, error_frame
from hub.compat.requests import CompatRequests
from hub.core.event import encode_json
from hub.core.generation import Generation, GenerationRequest, Message, new_generation_id
from hub.engine.streams.connection import Connection
from hub.engine.tasks import BackgroundTasks
from hub.error_codes import INTERNAL_ERROR, TOO_MANY_MESSAGES, UNSUPPORTED_PARAMETER
from hub.errors import BadRequest, CallerError, HubError, TooManyRequests

_MAX_WAITING_MESSAGES: Final = 16
_HTTP_FIELDS: Final = ("type", "stream", "stream_options", "background", "generate")
_log = structlog.get_logger(__name__)


class ClientMessage(msgspec.Struct, frozen=True):
    """The fields of a message that a request over HTTP does not have, or has no use for here."""

    type: str
    generate: bool | None = None
    background: bool | None = None


class ResponsesSession:
    """Handles the messages of one client.

    max_waiting_bytes: the size of all messages that wait for the response before them.
    """

    def __init__(
        self,
        compat: CompatRequests,
        earlier_answers: EarlierAnswers,
        identity: Identity,
        view: ResponsesView,
        connection: Connection,
        *,
        max_waiting_bytes: int,
    ) -> None:
        self._compat = compat
        self._earlier_answers = earlier_answers
        self._identity = identity
        self._user = identity.user
        self._view = view
        self._connection = connection
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[bytes] = deque()
        self._is_busy = False  # whether a message is handled, or its response is not complete
        self._background_tasks = BackgroundTasks()
        self._newest = ""  # the id of the response that this connection remembers
        self._prepared: list[Message] | None = None  # its messages, if it was only prepared
        view.on_turn_end = self._on_turn_end

    def on_message(self, message: bytes) -> None:
        """Handle a message as soon as the response before it has ended."""
        waiting_bytes = sum(map(len, self._waiting)) + len(message)
        is_full = len(self._waiting) >= _MAX_WAITING_MESSAGES
        if self._is_busy and (is_full or waiting_bytes > self._max_waiting_bytes):
            self._refuse(
                TooManyRequests(
                    "too many messages at once; wait for the end of the response",
                    code=TOO_MANY_MESSAGES,
                    limit="messages",
                    retry_after_seconds=1,
                )
            )
            return
        self._waiting.append(message)
        if not self._is_busy:
            self._handle_next()

    def _handle_next(self) -> None:
        self._is_busy = bool(self._waiting) and self._connection.close_reason is None
        if self._is_busy:
            self._background_tasks.run("response", self._handle(self._waiting.popleft()))

    def _on_turn_end(self, encoder: MessageEncoder) -> None:
        name = f"{RESPONSE_PREFIX}{encoder.record.id}"
        if encoder.answer.status == "done":
            self._newest, self._prepared = name, None
        else:
            self._forget(encoder.record.request.metadata.get("previous_response_id"))
        self._connection.on_client_disconnect = None
        self._handle_next()

    def _forget(self, response: Any) -> None:
        if response == self._newest:
            self._newest, self._prepared = "", None

    async def _handle(self, message: bytes) -> None:
        await self._connection.wait_open()  # the events of the response are not missed
        if self._connection.close_reason is not None:
            return  # the client sends the message again
        raw: dict[str, Any] = {}
        try:
            raw = decode_json(message, dict[str, Any])
            await self._create(raw)
            return
        except HubError as error:
            self._refuse(error)
        except Exception:  # noqa: BLE001 - the last resort: logged, and the client gets an error
            _log.exception("responses.message_failed")
            detail = "the hub could not handle this message; see its log"
            self._connection.send_frame(error_frame(500, detail, code=INTERNAL_ERROR.name))
        self._view.cancel()
        self._forget(raw.get("previous_response_id"))
        self._handle_next()

    def _refuse(self, error: HubError) -> None:
        if isinstance(error, TooManyRequests):
            self._compat.count_refusal(error.limit)
        if not isinstance(error, CallerError):
            _log.warning("message.failed", error=str(error))
        known = describe_error(error)
        self._connection.send_frame(
            error_frame(known.status, known.detail, code=known.code, param=known.path)
        )

    async def _create(self, raw: dict[str, Any]) -> None:
        """Start the response that a message asks for. Raise CallerError, DependencyError."""
        head = convert_json(raw, ClientMessage)
        if head.type != "response.create":
            raise BadRequest("type must be response.create", path="type")
        if head.background:
            raise BadRequest(
                "a response over WebSocket is always streamed; remove background",
                code=UNSUPPORTED_PARAMETER,
                path="background",
            )
        raw = {name: value for name, value in raw.items() if name not in _HTTP_FIELDS}
        generate = await self._read(raw)
        if head.generate is False:
            self._prepare(generate)
            return
        stops = generate.stops_on_disconnect()
        self._view.expect()
        created = await self._compat.start_for(self._identity, generate)
        with self._compat.guard(created.generation, self._user, stops=stops) as guard:
            record = await self._compat.generations.find(created.generation, self._user)
            if self._connection.close_reason is None:
                guard.watch(self._connection)
                self._connection.send_frame(self._view.begin(record))

    async def _read(self, raw: dict[str, Any]) -> GenerateBody:
        """Return the generation that a message requests. Raise CallerError."""
        is_native = self._compat.has_kind(NATIVE_KIND, raw)
        name, prepared = raw.get("previous_response_id"), self._prepared
        if prepared is not None and name == self._newest:
            new = {**raw, "previous_response_id": None}
            resolved, _ = await self._earlier_answers.resolve(new, self._user, own=self._newest)
            resolved["previous_response_id"] = name
            return read_responses(resolved, prepared, is_native=is_native)[1]
        resolved, earlier = await self._earlier_answers.resolve(raw, self._user, own=self._newest)
        return read_responses(resolved, earlier, is_native=is_native)[1]

    def _prepare(self, generate: GenerateBody) -> None:
        """Send an empty response, and remember the messages for the next message."""
        request = GenerationRequest(
            generate.messages or [], "", generate.model or "", generate.params, generate.metadata
        )
        record = Generation(
            id=new_generation_id(0), user=self._user, request=request, requested_at=time.time()
        )
        encoder = MessageEncoder(record)
        done = {"generation": record.id, "usage": {"prompt_tokens": 0, "completion_tokens": 0}}
        frames = [*encoder.start(), *encoder.feed("generation.done", encode_json(done))]
        self._connection.send_frame(b"".join(frames))
        self._newest = f"{RESPONSE_PREFIX}{record.id}"
        self._prepared = messages_without_instructions(record)
        self._handle_next()
