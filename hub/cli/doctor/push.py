"""Checks of push notifications: do the keys fit, has the node the same ones, can workers send?

workers.py says whether workers send them. A worker with keys and without the extra `push` ends with
a sentence.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

import aiohttp

from hub.cli.doctor.probe import CheckResult, fail, ok, warn
from hub.errors import OperatorError
from hub.settings import Settings
from hub.wiring.push import read_push_public_key

_CHECK: Final = "push"


async def check_push(session: aiohttp.ClientSession, settings: Settings) -> list[CheckResult]:
    """Check the table [push], if it has a key."""
    try:
        public_key = read_push_public_key(settings.push)
    except OperatorError as error:
        return [fail(_CHECK, str(error), "make a pair of keys: `hub keys vapid`")]
    if public_key is None:
        return []
    results = [ok(_CHECK, f"the keys fit; browsers get the public key {public_key}")]
    status, of_node = await _key_of_node(session, settings)
    if status == 404:
        message = "the node that runs has no keys: browsers cannot subscribe"
        results = [warn(_CHECK, message, "start the node with the same [push] as the workers")]
    elif of_node is not None and of_node != public_key:
        message = f"the node that runs has other keys, with the public key {of_node}"
        advice = "give all nodes and workers the same [push], and restart them"
        results = [fail(_CHECK, message, advice)]
    if find_spec("pywebpush") is None:
        message = "the extra `push` is not installed here, so a worker with these settings ends"
        results.append(warn(_CHECK, message, "where workers run, install ssehub[push]"))
    return results


async def _key_of_node(
    session: aiohttp.ClientSession, settings: Settings
) -> tuple[int, str | None]:
    """Return the status of the running node's GET /push/key, and the key. 0 without a response."""
    public = settings.public
    scheme = "http" if public.tls_cert is None else "https"
    url = f"{scheme}://{public.host}:{public.port}/push/key"
    try:
        # The certificate is for the public name of the hub, not for this address.
        async with session.get(url, ssl=False) as response:
            body = await response.json(content_type=None)
            if response.status == 200:
                return 200, str(body["public_key"])
            is_hub = body["code"] == "push_not_configured"
            return (404 if is_hub else 0), None
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError):
        return 0, None  # check_listeners says what responds there
