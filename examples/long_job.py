"""The progress of a long job: a bar that moves on every screen, and a notification that waits.

    hub dev
    python examples/long_job.py alice

Progress is ephemeral: who looks sees it move, and nobody is shown yesterday's 40 %. The end is kept
in the log: who was away is told when coming back. Look with: hub tail alice --cursor start
"""

from __future__ import annotations

import os
import sys
import time
import uuid

from hub.client import HubClientError, RetryPolicy, SyncHubClient

INTERNAL = os.environ.get("HUB_CLIENT__INTERNAL_URL", "http://127.0.0.1:8081")
STEPS = 20


def export(hub: SyncHubClient, user: str, job: str) -> None:
    """The job itself; it does not fail because somebody could not be told."""
    for step in range(1, STEPS + 1):
        time.sleep(0.05)  # the work
        try:
            progress = {"job": job, "percent": 100 * step // STEPS}
            hub.publish({"user": user}, "export.progress", progress, ephemeral=True)
        except HubClientError as error:
            print("progress was not shown:", error, file=sys.stderr)


def main(user: str) -> None:
    """Runs the job and tells its end once, under a key of the job's."""
    job = uuid.uuid4().hex[:8]
    key = os.environ.get("HUB_CLIENT__KEY")
    with SyncHubClient(INTERNAL, key, retry=RetryPolicy(max_attempts=1, timeout_seconds=2)) as hub:
        export(hub, user, job)
    with SyncHubClient(INTERNAL, key) as hub:  # with the usual patience: this one matters
        ready = {"job": job, "title": "Your export is ready", "url": f"/exports/{job}"}
        published = hub.publish({"user": user}, "export.ready", ready, idempotency_key=job)
    print(f"{user} was told of job {job} at {published[0].cursor}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "alice")
