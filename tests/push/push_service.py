"""A push service that decrypts what it gets, and misbehaves on request.

The decryption is written from RFC 8291 and RFC 8188, and shares no code with the hub's encryption.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hub.core.push_subscription import decode_base64url, encode_base64url

CURVE = ec.SECP256R1()


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public key as an uncompressed point."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def derive(salt: bytes, key: bytes, info: bytes, length: int) -> bytes:
    """Run HKDF with SHA-256."""
    return HKDF(SHA256(), length, salt, info).derive(key)


def decrypt(body: bytes, key: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """Decrypt a message as a browser does: one record of aes128gcm."""
    salt, record_size, id_length = body[:16], int.from_bytes(body[16:20]), body[20]
    sender, record = body[21 : 21 + id_length], body[21 + id_length :]
    if len(record) > record_size:
        raise ValueError("more than one record")
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(CURVE, sender))
    info = b"WebPush: info\0" + public_bytes(key) + sender
    secret = derive(auth, shared, info, 32)
    content_key = derive(salt, secret, b"Content-Encoding: aes128gcm\0", 16)
    nonce = derive(salt, secret, b"Content-Encoding: nonce\0", 12)
    text = AESGCM(content_key).decrypt(nonce, record, None).rstrip(b"\0")
    if text[-1:] != b"\x02":
        raise ValueError("no last record")
    return text[:-1]


class Device:
    """A browser with a subscription.

    messages: the decrypted payloads that were accepted. headers: those of the last request.
    statuses: with which status the next requests are answered, before 201. retry_after: the header
    of error responses. max_bytes: larger bodies get 413.
    """

    def __init__(self, name: str, endpoint: str) -> None:
        self.name, self.endpoint = name, endpoint
        self.key = ec.generate_private_key(CURVE)
        self.auth = secrets.token_bytes(16)
        self.messages: list[dict[str, Any]] = []
        self.headers: Mapping[str, str] = {}
        self.requests = 0
        self.statuses: list[int] = []
        self.retry_after: str | None = None
        self.max_bytes = 4096

    def subscription(self) -> dict[str, Any]:
        """Return what PushSubscription.toJSON() returns."""
        keys = {
            "p256dh": encode_base64url(public_bytes(self.key)),
            "auth": encode_base64url(self.auth),
        }
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": keys}


class PushService:
    """The service. Made by open_push_service. on_message: called for each accepted message."""

    def __init__(self) -> None:
        self.origin = ""
        self.devices: dict[str, Device] = {}
        self.on_message: Callable[[Device], None] = lambda device: None

    def add_device(self, name: str) -> Device:
        """Return a new device."""
        self.devices[name] = Device(name, f"{self.origin}/push/{name}")
        return self.devices[name]

    async def receive(self, request: web.Request) -> web.Response:
        """Check a request as RFC 8030 and RFC 8292 say, decrypt it and keep it."""
        body = await request.read()
        device = self.devices.get(request.match_info["name"])
        if device is None:
            return web.Response(status=410)
        device.requests += 1
        device.headers = dict(request.headers)
        if device.statuses:
            headers = {"Location": "/push/other"}
            if device.retry_after is not None:
                headers["Retry-After"] = device.retry_after
            return web.Response(status=device.statuses.pop(0), headers=headers)
        if len(body) > device.max_bytes:
            return web.Response(status=413)
        self._check_headers(request)
        device.messages.append(json.loads(decrypt(body, device.key, device.auth)))
        self.on_message(device)
        return web.Response(status=201, headers={"Location": f"{self.origin}/message/1"})

    def _check_headers(self, request: web.Request) -> None:
        scheme, _, parameters = request.headers["Authorization"].partition(" ")
        fields = dict(each.strip().split("=", 1) for each in parameters.split(","))
        point = decode_base64url(fields["k"])
        key = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, point)
        claims = jwt.decode(fields["t"], key, algorithms=["ES256"], audience=self.origin)
        if scheme != "vapid" or not claims["sub"].startswith(("mailto:", "https:")):
            raise web.HTTPForbidden
        if request.headers["Content-Encoding"] != "aes128gcm" or int(request.headers["TTL"]) < 0:
            raise web.HTTPBadRequest


@asynccontextmanager
async def open_push_service() -> AsyncIterator[PushService]:
    """Serve a push service in this process."""
    service = PushService()
    app = web.Application()
    app.router.add_post("/push/{name}", service.receive)
    server = TestServer(app)
    await server.start_server()
    service.origin = str(server.make_url("")).rstrip("/")
    try:
        yield service
    finally:
        await server.close()


# A browser without a network cannot subscribe, so this push service is in the page.
_FAKE_PUSH_SERVICE = """
let subscription = null;
PushManager.prototype.getSubscription = async () => subscription;
PushManager.prototype.subscribe = async ({ applicationServerKey, userVisibleOnly }) => {
  if (window.pushFails) throw new DOMException("no push service", "AbortError");
  return (subscription = {
    options: { applicationServerKey: applicationServerKey.buffer, userVisibleOnly },
    toJSON: () => (%s),
    unsubscribe: async () => { subscription = null; return true; },
  });
};
"""


def fake_push_service(device: Device) -> str:
    """Return the script with which a page subscribes as this device, without a network."""
    return _FAKE_PUSH_SERVICE % json.dumps(device.subscription())
