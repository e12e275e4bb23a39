"""`hub doctor --url` through the real nginx, with each directive of config/nginx.conf left out."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from hub.cli.doctor import CheckResult, ProbeTarget, check_proxy
from tests.e2e.cluster import create_cluster
from tests.e2e.proxy import NGINX, NginxProxy
from tests.faults import FaultProxy
from tests.forked_hub import hub_program
from tests.topologies import free_ports

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

GOOD = {
    "proxy_http_version": "1.1",
    "proxy_set_header Upgrade": "$http_upgrade",
    "proxy_set_header Connection": "$connection_upgrade",
    "proxy_set_header X-Forwarded-For": "$remote_addr",
    "proxy_buffering": "off",
    "proxy_read_timeout": "60s",
}
LEFT_OUT: dict[str, dict[str, str | None]] = {
    "good": {},
    "buffering": {"proxy_buffering": "on", "proxy_ignore_headers": "X-Accel-Buffering"},
    "compressing": {"gzip": "on", "gzip_types": "text/event-stream", "gzip_min_length": "0"},
    "short-timeout": {"proxy_read_timeout": "600ms"},
    "http-1.0": {**dict.fromkeys([*GOOD][:3]), "proxy_http_version": "1.0"},
    "closing": {"proxy_set_header Connection": "close"},
    "without-upgrade": {"proxy_set_header Upgrade": None, "proxy_set_header Connection": '""'},
    "without-address": {"proxy_set_header X-Forwarded-For": None},
    "caching": {"proxy_hide_header": "Cache-Control", "add_header Cache-Control": "max-age=60"},
}
# The results for each location: check, status, part of the message, part of the advice.
EXPECTED = {
    "good": [],
    "buffering": [
        ("stream", "fail", "buffers the stream: nothing of it arrived", "proxy_buffering off;"),
        ("websocket", "ok", "the connection works", ""),
    ],
    "compressing": [("compression", "fail", "compressed (gzip)", "set gzip off;")],
    "short-timeout": [
        ("heartbeats", "fail", "cut off after 0.", "proxy_read_timeout"),
        ("websocket", "warn", "cut off after 0.", "proxy_read_timeout"),
        ("long poll", "fail", "cut off after ", "longer than the wait"),
    ],
    "http-1.0": [
        ("proxy to node", "fail", "uses HTTP/1.0", "proxy_http_version 1.1;"),
        ("websocket", "warn", "removes the headers Upgrade", "Upgrade $http_upgrade;"),
    ],
    "closing": [
        (
            "proxy to node",
            "warn",
            "a new connection to the node for each request",
            'Connection "";',
        ),
        ("websocket", "warn", "removes the headers Upgrade", "Upgrade $http_upgrade;"),
    ],
    "without-upgrade": [
        ("websocket", "warn", "removes the headers Upgrade", "Upgrade $http_upgrade;")
    ],
    "without-address": [
        ("proxy to node", "warn", "does not forward the client's address", "X-Forwarded-For")
    ],
    "caching": [("stream headers", "warn", "Cache-Control is max-age=60", "add_header")],
    "page": [("proxy", "fail", "an HTML page (200)", "location /sse/")],
    "moved": [("proxy", "fail", "redirects (301) to https://else.example/", "the URL")],
    "away": [("proxy", "fail", "the proxy responds with 502", "proxy_pass")],
}


def faulty(text: str) -> str:
    """Add a location for each fault to the configuration."""
    locations = [
        'location /page/ { default_type text/html; return 200 "<p>Welcome</p>"; }',
        "location /moved/ { return 301 https://else.example/; }",
        "location /away/ { proxy_pass http://127.0.0.1:1/; }",
    ]
    for name, changed in LEFT_OUT.items():
        directives = {**GOOD, **changed}
        lines = "".join(f"{key} {value}; " for key, value in directives.items() if value)
        locations.append(f"location /{name}/ {{ proxy_pass http://hub/; {lines}}}")
    return text.replace("location / {", "\n".join([*locations, "location / {"]), 1)


async def check_location(proxy: NginxProxy, name: str) -> dict[str, list[CheckResult]]:
    """Return the results by check."""
    timeout_seconds = 7.0 if name == "buffering" else 25.0  # only what never arrives waits for it
    target = ProbeTarget(
        f"{proxy.url}/{name}",
        3.0,
        timeout_seconds=timeout_seconds,
        default_user="quiet",
    )
    grouped: dict[str, list[CheckResult]] = {}
    for result in await check_proxy(target, ca_file=proxy.certificate):
        grouped.setdefault(result.check, []).append(result)
    return grouped


@pytest.mark.alone
async def test_each_directive_that_is_missing(tmp_path: Path) -> None:
    """Each fault has a result with the right advice, and what is right has no problem.

    All faults are locations of one nginx and are checked at once. The command itself and proxies
    other than nginx are checked at the same time.
    """
    async with create_cluster() as cluster:
        cluster.set("STREAM__HEARTBEAT_SECONDS", "1")
        proxy = NginxProxy(cluster, tmp_path)
        try:
            await proxy.start(faulty)
            results_by_location, _, _ = await asyncio.gather(
                asyncio.gather(*(check_location(proxy, name) for name in EXPECTED)),
                check_command_line(proxy),
                check_other_proxies(proxy),
            )
            for name, results in zip(EXPECTED, results_by_location, strict=True):
                for check, status, message, advice in EXPECTED[name]:
                    matching = [r for r in results.get(check, []) if message in r.message]
                    assert matching, f"{name}, {check}: {results}"
                    assert (matching[0].status, advice in matching[0].advice) == (status, True)
                expected = {check for check, status, *_ in EXPECTED[name] if status != "ok"}
                problems = {check for check in results for r in results[check] if r.status != "ok"}
                # The certificate of the tests expires soon: a warning of the check `tls`.
                assert problems - {"tls"} == expected, f"{name}: {results}"
            assert results_by_location[0].keys() == {
                "tls", "http version", "compression", "proxy to node", "stream", "heartbeats",
                "websocket", "long poll",
            }  # fmt: skip
        finally:
            await proxy.stop()


async def check_command_line(proxy: NginxProxy) -> None:
    """Check the output, the exit codes and the test events of the command."""
    environment = {**os.environ, "SSL_CERT_FILE": proxy.certificate}
    internal = ("--internal-url", proxy.cluster.internal_url)

    async def doctor(*words: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            hub_program(), "doctor", "--seconds", "2.5", "--timeout", "25", *words,
            stdout=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    good, bad, untrusted = await asyncio.gather(
        doctor("--url", f"{proxy.url}/good", *internal, "--json"),
        doctor("--url", f"{proxy.url}/compressing"),
        check_proxy(ProbeTarget(proxy.url, 1.0, timeout_seconds=25.0)),
    )
    assert good[0] == 0, good
    rows = {row["check"]: row for row in map(json.loads, good[1].splitlines())}
    assert rows["event delay"]["status"] == "ok"
    assert rows["event delay"]["message"].startswith("5 test events took ")
    assert bad[0] == 2
    assert "fail  compression: the stream is compressed (gzip)" in bad[1]
    assert "\n      → set gzip off;" in bad[1]
    (result,) = untrusted
    assert (result.check, result.status) == ("tls", "fail")
    assert "self-signed certificate" in result.message
    assert "SSL_CERT_FILE" in result.advice


async def check_other_proxies(proxy: NginxProxy) -> None:
    """A node without a proxy has no problem, and test events show a proxy that delays events."""
    cluster, (closed,) = proxy.cluster, free_ports(1)
    async with FaultProxy(("127.0.0.1", cluster.port)) as slow:
        slow.latency_seconds = 0.6
        direct, late, absent, secure = await asyncio.gather(
            *(
                check_proxy(
                    ProbeTarget(
                        url,
                        3.0,
                        internal_url=cluster.internal_url,
                        timeout_seconds=25.0,
                        default_user=f"user{n}",  # test events end the polls of the same user
                    )
                )
                for n, url in enumerate(
                    (
                        cluster.url,
                        f"http://127.0.0.1:{slow.port}",
                        f"http://127.0.0.1:{closed}",
                        cluster.url.replace("http", "https"),
                    )
                )
            )
        )
    assert [result for result in direct if result.status != "ok"] == []
    (delay,) = (result for result in late if result.check == "event delay")
    assert (delay.status, "proxy_buffering off" in delay.advice) == ("fail", True)
    assert [(result.check, result.status) for result in absent] == [("proxy", "fail")]
    assert "does not speak TLS" in secure[0].message
    async with cluster.session.get(f"{cluster.url}/sse/connect/alice") as response:
        assert "Hub-Doctor-Report" not in response.headers
