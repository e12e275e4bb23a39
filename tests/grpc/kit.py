"""A hub with gRPC listeners, and clients for them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import jwt
import pytest
from google.rpc.status_pb2 import Status
from grpc.aio import AioRpcError

from hub.api.api_keys import ApiKey, ApiKeys, hash_key
from hub.api.authentication import JwtAuthenticator
from hub.api.origins import AllowedOrigins
from hub.api.tokens import FixedKeys
from hub.api.verifying_keys import secret_key
from hub.grpc import hub_pb2 as pb
from hub.grpc.hub_pb2_grpc import HubInternalStub, HubStub
from hub.wiring.tracing import Tracing
from tests.defaults import token_reader
from tests.http.kit import Hub, running_hub

SECRET = "s" * 64
KEYS = ApiKeys(
    [
        ApiKey("shop", hash_key("shop-key"), frozenset({"publish"})),
        ApiKey("looker", hash_key("read-key"), frozenset({"read"})),
        ApiKey("maker", hash_key("produce-key"), frozenset({"produce"})),
    ]
)


def bearer(credential: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {credential}")]


def token(user: str = "alice", **claims: Any) -> list[tuple[str, str]]:
    return bearer(jwt.encode({"sub": user, "exp": time.time() + 3600, **claims}, SECRET))


class Kit:
    """A hub with tokens and keys, and a client of each of its listeners."""

    def __init__(self, hub: Hub, public: grpc.aio.Channel, internal: grpc.aio.Channel) -> None:
        self.hub = hub
        self.channel = public
        self.internal_channel = internal
        self.public = HubStub(public)
        self.internal = HubInternalStub(internal)

    async def publish(self, text: str, user: str = "alice") -> None:
        await self.internal.Publish(
            pb.PublishRequest(user=user, data=json.dumps(text, ensure_ascii=False)),
            metadata=bearer("shop-key"),
        )

    async def until_empty(self) -> None:
        """Wait until no stream is left."""
        async with asyncio.timeout(60):
            while len(self.hub.node.connections):
                await asyncio.sleep(0.01)


class Reading:
    """Reads the events of a stream one by one."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.messages = 0
        self._ready: list[pb.Event] = []

    async def next(self) -> pb.Event:
        """Return the next event. Raise EOFError after OK, AioRpcError after an error."""
        while not self._ready:
            events = await self.call.read()
            if events is grpc.aio.EOF:
                raise EOFError
            self.messages += 1
            self._ready += events.events
        return self._ready.pop(0)


async def fails(call: Any) -> AioRpcError:
    """Return the error of a unary or streaming call."""
    with pytest.raises(AioRpcError) as raised:
        if isinstance(call, Reading):
            await call.next()
        elif hasattr(call, "read"):
            await call.read()
        else:
            await call
    return raised.value


def details_of(error: AioRpcError) -> Status:
    return Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])


@asynccontextmanager
async def grpc_kit(
    tracing: Tracing | None = None, tables: Mapping[str, Any] | None = None
) -> AsyncIterator[Kit]:
    """Run a hub and connect a client to each listener. tables: as for `running_hub`."""
    async with (
        running_hub(jwt_authenticator(), KEYS, tracing=tracing, tables=tables) as hub,
        hub.serving_grpc(),
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.grpc_port}") as public,
        grpc.aio.insecure_channel(f"127.0.0.1:{hub.grpc_internal_port}") as internal,
    ):
        yield Kit(hub, public, internal)


def jwt_authenticator() -> JwtAuthenticator:
    return JwtAuthenticator(token_reader([FixedKeys([secret_key(SECRET)])]), AllowedOrigins([]))
