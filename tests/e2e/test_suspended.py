"""Suspended answers survive the loss of every process, and hold nothing meanwhile."""

from __future__ import annotations

from pathlib import Path

from tests.soak import suspended


async def test_suspended_answers_survive_every_process(short_path: Path) -> None:
    """Nodes, worker and Valkey are killed; two nodes give each value at once; the worker is killed
    again. Each of 100 answers ends once, with the value that counts.
    """
    figures, problems = await suspended.run(100, short_path)
    assert problems == []
    assert (figures.jobs, figures.running, figures.connections) == (0, 0, 0)
