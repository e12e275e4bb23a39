"""What a pipeline knows of its server's history, and when it asks for it."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from hub.backends.redis.client.server_history import ServerHistory

REPLID = "0123456789abcdef" + 24 * "0"
INFO = f"# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_replid:{REPLID}\r\n".encode()
TIME = [b"1700000000", b"123456"]
KNOWN = "0123456789abcdef 1700000000123 1700000000223 run"


def send(history: ServerHistory, times: int, now: float) -> None:
    for _ in range(times):
        history.argument(now)


def test_history_is_passed_on_for_a_short_time_after_it_was_asked_for() -> None:
    """Its age counts from the moment of the question, not of the reply."""
    history = ServerHistory("run")
    assert history.argument(1.0) == "run"
    history.learn(1.0, TIME, INFO)
    assert history.argument(1.049) == KNOWN
    assert history.argument(1.051) == "run"


@pytest.mark.parametrize(
    ("time", "replication"),
    [
        (TIME, INFO.replace(b"master\r", b"slave\r")),
        (TIME, b"role:master\r\n"),
        (TIME, ResponseError("NOPERM")),
        (ResponseError("NOPERM"), INFO),
        (TIME, ConnectionError("lost")),
    ],
)
def test_only_a_primary_that_answers_is_believed(time: object, replication: object) -> None:
    """A replica reports the history of its primary, which ends when it is promoted."""
    history = ServerHistory("run")
    history.learn(1.0, time, replication)
    assert history.argument(1.0) == "run"


def test_only_many_scripts_ask() -> None:
    """A few scripts read the history themselves, also if there are many intervals with a few."""
    history = ServerHistory("run")
    requests = []
    for n in range(40):
        send(history, 1, 10 + n / 50)
        requests.append(history.should_ask(10 + n / 50))
    assert not any(requests)
    for n in range(40):
        send(history, 1, 20 + n / 400)
        requests.append(history.should_ask(20 + n / 400))
    assert 2 <= sum(requests) <= 5


def test_scripts_before_a_pause_do_not_count() -> None:
    """After a pause nothing is known of the rate."""
    history = ServerHistory("run")
    send(history, 50, 1.0)
    history.should_ask(1.0)
    send(history, 50, 1.01)
    assert not history.should_ask(9.0)
