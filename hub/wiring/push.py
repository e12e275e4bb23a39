"""Push notifications, if the settings have keys for them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from hub.core.push_subscription import WEB_PUSH
from hub.errors import OperatorError
from hub.http.outgoing import open_public_client
from hub.ports.push import PushChannel
from hub.push.vapid import VapidKeys, load_vapid_keys
from hub.settings import Push


def read_push_keys(push: Push) -> VapidKeys | None:
    """Return the keys of the settings, None without any. Raise OperatorError."""
    if push.private_key is not None:
        text, setting = push.private_key.get_secret_value(), "push.private_key"
    elif push.private_key_file is not None:
        setting = "push.private_key_file"
        try:
            text = push.private_key_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(
                f"{setting} cannot be read: {push.private_key_file}: {error}"
            ) from error
    else:
        return None
    try:
        keys = load_vapid_keys(text)
    except ValueError as error:
        raise OperatorError(
            f"{setting} is not a key for push notifications ({error}): `hub keys vapid` makes one"
        ) from error
    if push.public_key is not None and push.public_key.rstrip("=") != keys.public_key:
        raise OperatorError(
            f"push.public_key does not belong to {setting}; its public key is {keys.public_key}"
        )
    return keys


def read_push_public_key(push: Push) -> str | None:
    """Return the public key that browsers get, None without keys. Raise OperatorError."""
    keys = read_push_keys(push)
    return None if keys is None else keys.public_key


async def open_push_channels(push: Push, opened: AsyncExitStack) -> Mapping[str, PushChannel]:
    """Open the ways to send notifications, by their names; they close with `opened`.

    Return none if the settings have no keys. Raise OperatorError.
    """
    keys = read_push_keys(push)
    if keys is None:
        return {}
    channel_type = _import_channel()
    client = await opened.enter_async_context(
        open_public_client(
            allow_private=push.allow_private,
            timeout_seconds=push.timeout_seconds,
            max_connections=push.concurrency,
        )
    )
    return {WEB_PUSH: channel_type(client, keys, subject=push.subject)}


def _import_channel() -> Any:
    try:
        from hub.push.web_push import WebPushChannel
    except ImportError as error:
        raise OperatorError(
            f"the table push of the settings needs pywebpush, which cannot be used here ({error}): "
            "install ssehub[push] (docs/guides/push.md)"
        ) from error
    return WebPushChannel
