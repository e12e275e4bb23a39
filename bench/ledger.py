"""What was published, compared with what the receivers got: nothing lost, twice or out of order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import msgspec

from bench.load import Row
from bench.receivers import KindReport, Report


class Account(msgspec.Struct, frozen=True):
    """One kind of events: how many were due at all receivers together, and what happened to them.

    published: the number of different events. expected: deliveries that are due, one for each event
    and receiver. unknown: deliveries of numbers that were never published.
    """

    published: int
    expected: int
    delivered: int
    duplicates: int
    out_of_order: int
    unknown: int

    @classmethod
    def of(cls, report: KindReport, *, published: int, receivers_per_event: int) -> Self:
        """Return the account of events each of which is due at this number of receivers."""
        return cls(
            published=published,
            expected=published * receivers_per_event,
            delivered=report.received,
            duplicates=report.duplicates,
            out_of_order=report.late,
            unknown=report.unknown,
        )

    @property
    def lost(self) -> int:
        """Deliveries that are due and did not arrive; negative if more arrived than are due."""
        return self.expected - self.delivered


class Ledger(msgspec.Struct, frozen=True):
    """The promise: each event once and in order, each answer ends once, and no cursor is reset."""

    broadcasts: Account
    parts: Account
    answers: int  # answers that were started
    done: int
    other_ends: int
    ended_again: int
    restarts: int
    resets: int

    @classmethod
    def close(
        cls, report: Report, *, broadcasts: int, streams: int, answers: int, parts_per_answer: int
    ) -> Self:
        """Compare the report of all receivers with what was published.

        broadcasts: events to all. streams: receivers. answers: users who each had one answer of
        `parts_per_answer` numbered parts.
        """
        return cls(
            broadcasts=Account.of(
                report.broadcasts, published=broadcasts, receivers_per_event=streams
            ),
            parts=Account.of(
                report.parts, published=answers * parts_per_answer, receivers_per_event=1
            ),
            answers=answers,
            done=report.done,
            other_ends=report.failed + report.stopped,
            ended_again=report.ended_again,
            restarts=report.restarts,
            resets=report.resets,
        )

    def violations(self) -> dict[str, int]:
        """Return the counts that must be 0."""
        accounts = (self.broadcasts, self.parts)
        return {
            "events lost": sum(abs(account.lost) for account in accounts),
            "events delivered twice": sum(account.duplicates for account in accounts),
            "events out of order": sum(account.out_of_order for account in accounts),
            "events that were never published": sum(account.unknown for account in accounts),
            "answers that are not done": abs(self.answers - self.done),
            "answers that failed or were stopped": self.other_ends,
            "answers that ended again": self.ended_again,
            "cursors reset": self.resets,
        }


def find_failures(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each row whose value is not what its column `must be` says.

    The column `missing`, if a row has one, must be 0.
    """
    wrong = [
        f"{row['figure']}: {row['value']}, must be {row['must be']}"
        for row in rows
        if row.get("must be", "") not in ("", row.get("value"))
    ]
    lossy = [row for row in rows if row.get("missing")]
    return wrong + [f"{next(iter(row.values()))}: {row['missing']} missing" for row in lossy]
