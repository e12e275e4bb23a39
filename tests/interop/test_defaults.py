"""Check the library defaults that docs/clients/tested.md warns about."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import Any

import httpx
import pytest
import requests
from aiohttp.client import DEFAULT_TIMEOUT

from tests.conftest import missing
from tests.interop.programs import JARS


@pytest.mark.parametrize(
    ("decode", "lines"),
    [(True, ["a", "b", "c"]), (False, ["a\u2028b\u0085c".encode()])],
)
def test_requests_splits_decoded_lines(decode: bool, lines: list[Any]) -> None:
    """requests splits decoded lines at U+0085 and U+2028, but not bytes."""
    response = requests.Response()
    response.encoding = "utf-8"
    response.raw = BytesIO("a\u2028b\u0085c".encode())
    assert list(response.iter_lines(decode_unicode=decode)) == lines


def test_timeouts_of_python_clients() -> None:
    """httpx has a read timeout of 5 s, and aiohttp a total timeout of 300 s."""
    assert httpx.Client().timeout.read == 5
    assert DEFAULT_TIMEOUT.total == 300


def test_defaults_of_async_http_client() -> None:
    """AsyncHttpClient has a total timeout of 60 s and retries five times."""
    jar = JARS / "async-http-client.jar"
    if not jar.exists():
        missing("libasync-http-client-java")
    with zipfile.ZipFile(jar) as archive:
        text = archive.read("org/asynchttpclient/config/ahc-default.properties").decode()
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert settings["org.asynchttpclient.requestTimeout"] == "60000"
    assert settings["org.asynchttpclient.maxRequestRetry"] == "5"
