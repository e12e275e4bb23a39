"""The gRPC server: its errors at the start, addresses, and the missing extra."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hub.engine.tasks import SystemClock
from hub.errors import OperatorError
from hub.grpc import public
from hub.grpc.health import Health
from hub.grpc.request_context import _parse_peer
from hub.grpc.serving import GrpcLimits, GrpcListenAddress, serve
from tests.http.kit import Hub, running_hub


async def served(hub: Hub, address: GrpcListenAddress, parts: AsyncExitStack) -> int:
    clock = SystemClock()
    health = Health(hub.backend.health, hub.node.connections, clock, [public.NAME])
    limits = GrpcLimits(max_message_bytes=1000, max_calls=None, peer_timeout_seconds=None)
    server = serve(public.NAME, hub.grpc.handlers(), address, limits, health=health, clock=clock)
    return await parts.enter_async_context(server)


async def test_port_that_is_taken() -> None:
    """A port in use is an error that names the setting, unless processes share the port."""
    async with AsyncExitStack() as parts:
        hub = await parts.enter_async_context(running_hub())
        address = GrpcListenAddress(host="127.0.0.1", port=0, setting="public.grpc_port")
        port = await served(hub, address, parts)
        again = GrpcListenAddress(host="127.0.0.1", port=port, setting="public.grpc_port")
        with pytest.raises(OperatorError, match=rf"127.0.0.1:{port} \(public.grpc_port\)"):
            await served(hub, again, parts)
        shared = GrpcListenAddress(host="127.0.0.1", port=0, setting="x", shared=True)
        port = await served(hub, shared, parts)
        also = GrpcListenAddress(host="127.0.0.1", port=port, setting="x", shared=True)
        assert await served(hub, also, parts) == port


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_bad_certificate(tmp_path: Path, content: str | None) -> None:
    """An unreadable certificate is an error before the server listens."""
    path = tmp_path / "cert.pem"
    if content is not None:
        path.write_text(content)
    address = GrpcListenAddress(
        host="127.0.0.1", port=0, setting="public.grpc_port", tls=(str(path), str(path))
    )
    async with AsyncExitStack() as parts:
        hub = await parts.enter_async_context(running_hub())
        with pytest.raises(OperatorError, match=r"public\.grpc_port"):
            await served(hub, address, parts)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_ipv6() -> None:
    """The server listens on an IPv6 address."""
    async with AsyncExitStack() as parts:
        hub = await parts.enter_async_context(running_hub())
        assert await served(hub, GrpcListenAddress(host="::1", port=0, setting="x"), parts) > 0


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("ipv6:[::1]:4711", "::1"),
        ("unix:", None),
    ],
)
def test_address_of_a_peer(peer: str, address: str | None) -> None:
    """The IP address is extracted from the name of a peer."""
    assert _parse_peer(peer) == address


def test_extra_that_is_not_installed(tmp_path: Path) -> None:
    """Without the extra, the process ends with one sentence and exit code 2."""
    (tmp_path / "grpc.py").write_text("raise ModuleNotFoundError(\"No module named 'grpc'\")\n")
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(tmp_path),
        "HUB_AUTH__DISABLED": "true",
        "HUB_REDIS__URL": "unix:///nowhere",
        "HUB_PUBLIC__GRPC_PORT": "9090",
    }
    done = subprocess.run(
        [sys.executable, "-m", "hub", "serve"],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "hub: public.grpc_port needs gRPC, which cannot be used here (No module named 'grpc'): "
        "install ssehub[grpc] (docs/reference/grpc.md)"
    )
