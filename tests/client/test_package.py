"""The names of the client's package, and the same names in hub.client."""

from __future__ import annotations

import subprocess
import sys

import hub.client
import hub_client


def test_every_name_exists_in_both_packages() -> None:
    """hub.client has the names of hub_client, and they are the same objects."""
    assert set(hub_client._MODULES) == set(hub_client.__all__)
    for name in hub_client.__all__:
        assert getattr(hub.client, name) is getattr(hub_client, name)
    assert not hasattr(hub.client, "Nothing")
    assert not hasattr(hub_client, "Nothing")


def test_the_decoder_imports_nothing_else_of_the_client() -> None:
    """hub.core, which does no I/O, uses the decoder."""
    code = """
import sys
import hub.core.sse_decoder
print(sorted(name for name in sys.modules if name.startswith("hub_client")))
print({"aiohttp", "asyncio", "http.client", "socket"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["['hub_client', 'hub_client.sse_decoder']", "set()"]
