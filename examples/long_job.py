"""A long job: it shows its progress on every screen and notifies the user at the end.

    hub dev
    python examples/long_job.py alice

Progress events are ephemeral: only connected clients receive them, and they are never replayed. The
last event is stored in the log, so that a user who was away receives it later. To see it, run: hub
tail alice --cursor start
"""

from __future__ import annotations

import os
import sys
import time
import uuid

from hub_client import HubClientError, RetryPolicy, SyncHubClient

INTERNAL = os.environ.get("HUB_CLIENT__INTERNAL_URL", "http://127.0.0.1:8081")
STEPS = 20


def export(hub: SyncHubClient, user: str, job: str) -> None:
    """Do the work. The job does not fail when its progress cannot be published."""
    for step in range(1, STEPS + 1):
        time.sleep(0.05)  # the work
        try:
            progress = {"job": job, "percent": 100 * step // STEPS}
            hub.publish({"user": user}, "export.progress", progress, ephemeral=True)
        except HubClientError as error:
            print("cannot publish the progress:", error, file=sys.stderr)


def main(user: str) -> None:
    """Run the job and publish its end once: the job's id is the idempotency key."""
    job = uuid.uuid4().hex[:8]
    key = os.environ.get("HUB_CLIENT__KEY")
    with SyncHubClient(INTERNAL, key, retry=RetryPolicy(max_attempts=1, timeout_seconds=2)) as hub:
        export(hub, user, job)
    with SyncHubClient(INTERNAL, key) as hub:  # the default retries: this one must arrive
        ready = {"job": job, "title": "Your export is ready", "url": f"/exports/{job}"}
        published = hub.publish({"user": user}, "export.ready", ready, idempotency_key=job)
    print(f"notified {user} of job {job}: the cursor is {published[0].cursor}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "alice")
