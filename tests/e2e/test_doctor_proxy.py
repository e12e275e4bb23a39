"""`hub doctor --url` from outside, through the real nginx, each directive of config/nginx.conf left
out once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from hub.cli.doctor import CheckResult, ProbeTarget, check_proxy
from tests.e2e.cluster import create_cluster
from tests.e2e.proxy import NGINX, NginxProxy
from tests.faults import FaultProxy
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
    "impatient": {"proxy_read_timeout": "600ms"},
    "old": dict.fromkeys([*GOOD][:3]),
    "closing": {"proxy_set_header Connection": "close"},
    "upgradeless": {"proxy_set_header Upgrade": None, "proxy_set_header Connection": '""'},
    "secretive": {"proxy_set_header X-Forwarded-For": None},
    "storing": {"proxy_hide_header": "Cache-Control", "add_header Cache-Control": "max-age=60"},
}
# What each shows: check, verdict, words of what is found, words of the advice.
SHOWS = {
    "good": [],
    "buffering": [
        ("stream", "fail", "held back: nothing of a stream came", "proxy_buffering off;"),
        ("websocket", "ok", "comes through", ""),
    ],
    "compressing": [("compression", "fail", "compressed (gzip)", "gzip off;")],
    "impatient": [
        ("heartbeats", "fail", "cut off after 0.", "proxy_read_timeout"),
        ("websocket", "warn", "cut off after 0.", "proxy_read_timeout"),
        ("long poll", "fail", "cut off after ", "longer than the wait"),
    ],
    "old": [
        ("proxy to node", "fail", "HTTP/1.0", "proxy_http_version 1.1;"),
        ("websocket", "warn", "without Upgrade", "Upgrade $http_upgrade;"),
    ],
    "closing": [
        ("proxy to node", "warn", "after each request", 'Connection "";'),
        ("websocket", "warn", "without Upgrade", "Upgrade $http_upgrade;"),
    ],
    "upgradeless": [("websocket", "warn", "without Upgrade", "Upgrade $http_upgrade;")],
    "secretive": [("proxy to node", "warn", "not told the client's", "X-Forwarded-For")],
    "storing": [("stream headers", "warn", "Cache-Control is max-age=60", "add_header")],
    "page": [("front", "fail", "an HTML page (200)", "location /sse/")],
    "moved": [("front", "fail", "redirected (301) to https://else.example/", "the URL")],
    "away": [("front", "fail", "the proxy answers 502", "proxy_pass")],
}


def faulty(text: str) -> str:
    """A location for each fault, and a listener without HTTP/2."""
    own = [
        'location /page/ { default_type text/html; return 200 "<p>Welcome</p>"; }',
        "location /moved/ { return 301 https://else.example/; }",
        "location /away/ { proxy_pass http://127.0.0.1:1/; }",
    ]
    for name, changed in LEFT_OUT.items():
        directives = {**GOOD, **changed}
        lines = "".join(f"{key} {value}; " for key, value in directives.items() if value)
        own.append(f"location /{name}/ {{ proxy_pass http://hub/; {lines}}}")
    return text.replace("location / {", "\n".join([*own, "location / {"]), 1)


async def looked_at(front: NginxProxy, place: str) -> dict[str, list[CheckResult]]:
    """The findings by check."""
    patience = 7.0 if place == "buffering" else 25.0  # it is only waited for what does not come
    visit = ProbeTarget(f"{front.url}/{place}", 3.0, timeout_seconds=patience, named="quiet")
    found: dict[str, list[CheckResult]] = {}
    for finding in await check_proxy(visit, trusted=front.certificate):
        found.setdefault(finding.check, []).append(finding)
    return found


@pytest.mark.alone
async def test_each_directive_that_is_missing(tmp_path: Path) -> None:
    """All faults in one nginx, looked at at once: each is named with what mends it, and what is
    well is said to be well; meanwhile the command itself, and fronts that are no nginx.
    """
    async with create_cluster() as cluster:
        cluster.set("STREAM__HEARTBEAT_SECONDS", "1")
        front = NginxProxy(cluster, tmp_path)
        try:
            await front.start(faulty)
            looks, _, _ = await asyncio.gather(
                asyncio.gather(*(looked_at(front, place) for place in SHOWS)),
                command_line(front),
                other_fronts(front),
            )
            for place, found in zip(SHOWS, looks, strict=True):
                for check, verdict, says, advice in SHOWS[place]:
                    shown = [f for f in found.get(check, []) if says in f.found]
                    assert shown, f"{place}, {check}: {found}"
                    assert (shown[0].verdict, advice in shown[0].advice) == (verdict, True)
                expected = {check for check, verdict, *_ in SHOWS[place] if verdict != "ok"}
                bad = {check for check in found for f in found[check] if f.verdict != "ok"}
                assert bad - {"tls"} == expected, (
                    f"{place}: {found}"
                )  # the certificate ends tomorrow
            assert looks[0].keys() == {
                "tls", "http version", "compression", "proxy to node", "stream", "heartbeats",
                "websocket", "long poll",
            }  # fmt: skip
        finally:
            await front.stop()


async def command_line(front: NginxProxy) -> None:
    """The command itself: what it prints, its exit codes, and test events."""
    environment = {**os.environ, "SSL_CERT_FILE": front.certificate}
    internal = ("--internal-url", front.cluster.internal_url)

    async def doctor(*words: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub", "doctor", "--seconds", "2.5", "--patience", "25", *words,
            stdout=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    good, bad, untrusted = await asyncio.gather(
        doctor("--url", f"{front.url}/good", *internal, "--json"),
        doctor("--url", f"{front.url}/compressing"),
        check_proxy(ProbeTarget(front.url, 1.0, timeout_seconds=25.0)),
    )
    assert good[0] == 0, good
    rows = {row["check"]: row for row in map(json.loads, good[1].splitlines())}
    assert rows["delay"]["verdict"] == "ok"
    assert rows["delay"]["found"].startswith("5 test events took ")
    assert bad[0] == 2
    assert "fail  compression: compressed (gzip)" in bad[1]
    assert "\n      → gzip off;" in bad[1]
    (distrusted,) = untrusted
    assert (distrusted.check, distrusted.verdict) == ("tls", "fail")
    assert "self-signed certificate" in distrusted.found
    assert "SSL_CERT_FILE" in distrusted.advice


async def other_fronts(front: NginxProxy) -> None:
    """A node by itself is in order; what delays each event is told by test events."""
    cluster, (closed,) = front.cluster, free_ports(1)
    async with FaultProxy(("127.0.0.1", cluster.port)) as slow:
        slow.latency_seconds = 0.6
        direct, late, nobody, secure = await asyncio.gather(
            *(
                check_proxy(
                    ProbeTarget(
                        url,
                        3.0,
                        internal_url=cluster.internal_url,
                        timeout_seconds=25.0,
                        named=f"look{n}",  # one's test events end another's polls
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
    assert [finding for finding in direct if finding.verdict != "ok"] == []
    (delay,) = (finding for finding in late if finding.check == "delay")
    assert (delay.verdict, "proxy_buffering off" in delay.advice) == ("fail", True)
    assert [(finding.check, finding.verdict) for finding in nobody] == [("front", "fail")]
    assert "does not speak TLS" in secure[0].found
    async with cluster.session.get(f"{cluster.url}/sse/connect/alice") as unasked:
        assert "Hub-Doctor-Report" not in unasked.headers
