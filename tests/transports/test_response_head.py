"""The heads of responses."""

from __future__ import annotations

from functools import partial

import pytest

from hub.transports import response_head


def test_streams_of_one_second_share_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of heads that wait are one object; the next second has its own."""
    dates = iter([b"Date: %d\r\n" % second for second in (10, 10, 11)])
    monkeypatch.setattr(response_head, "encode_date", partial(next, dates))
    first, same, later = (
        response_head.encode_stream_head("HTTP/1.1 200 OK", ("Connection", "close"))
        for _ in range(3)
    )
    assert first is same
    assert first.endswith(b"\r\nDate: 10\r\n\r\n")
    assert later.endswith(b"\r\nDate: 11\r\n\r\n")
