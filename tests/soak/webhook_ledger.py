"""What a receiver of webhooks must get, and what it got.

The log of a user's channel is the truth: each end of an answer, and each change that has read items
of the inbox, needs its webhook. A webhook may arrive more than once; the order in which those of a
user arrive for the first time must be that of the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MAX_CASES = 10
Body = Mapping[str, Any]


def logged_name(event: str, data: Body) -> str | None:
    """Return what identifies an event of the log that needs a webhook; None if it needs none."""
    if event in ("generation.done", "generation.stopped", "generation.failed"):
        return f"{event} {data['generation']}"
    if event == "inbox.changed" and data["change"] == "read":
        return _read_name(data["items"])
    return None


def sent_name(body: Body) -> str:
    """Return what identifies the event of a webhook, as logged_name does."""
    data = body["data"]
    return _read_name(data["items"]) if body["type"] == "inbox.read" else (
        f"{body['type']} {data['generation']}"
    )  # fmt: skip


def _read_name(items: Iterable[str]) -> str:
    return f"inbox.read {' '.join(sorted(items))}"


class WebhookLedger:
    """The totals, and the violations by kind. cases: descriptions of the first ones."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.violations: Counter[str] = Counter(
            {"lost": 0, "not in the log": 0, "out of order": 0, "wrong record": 0, "two bodies": 0}
        )
        self.cases: list[str] = []

    @property
    def is_clean(self) -> bool:
        return not any(self.violations.values())

    def compare(
        self,
        logs: Mapping[str, Sequence[str]],
        received: Sequence[tuple[str, Body]],
        texts: Mapping[str, str],
    ) -> None:
        """Compare what was received with the logs.

        logs: by user, the names of the events, in their order. received: ids and bodies in the
        order of their arrival. texts: of the answers, by generation.
        """
        first: dict[str, Body] = {}
        for webhook, body in received:
            if webhook not in first:
                first[webhook] = body
            elif body != first[webhook]:
                self._add("two bodies", webhook)
        arrived: dict[str, list[str]] = {user: [] for user in logs}
        for body in first.values():
            arrived[body["data"]["user"]].append(sent_name(body))
            if body["type"] == "generation.done":
                self._check_record(body["data"], texts)
        for user, logged in logs.items():
            self._compare_user(user, logged, arrived[user])
        self.totals["events in the logs"] = sum(map(len, logs.values()))
        self.totals["webhooks"] = len(first)
        self.totals["webhooks that came again"] = len(received) - len(first)

    def _compare_user(self, user: str, logged: Sequence[str], arrived: Sequence[str]) -> None:
        for name in (Counter(logged) - Counter(arrived)).elements():
            self._add("lost", f"{user}: {name}")
        for name in (Counter(arrived) - Counter(logged)).elements():
            self._add("not in the log", f"{user}: {name}")
        indexes = {name: index for index, name in enumerate(logged)}
        newest = -1
        for name in arrived:
            index = indexes.get(name, newest)
            if index < newest:
                self._add("out of order", f"{user}: {name} after {logged[newest]}")
            newest = max(newest, index)

    def _check_record(self, data: Body, texts: Mapping[str, str]) -> None:
        record, expected = data["record"], texts.get(data["generation"])
        if record["status"] != "done" or record["text"] != expected:
            self._add("wrong record", f"{data['generation']}: {record['text']!r}, not {expected!r}")

    def _add(self, kind: str, what: str) -> None:
        self.violations[kind] += 1
        if len(self.cases) < _MAX_CASES:
            self.cases.append(f"{kind}: {what}")
