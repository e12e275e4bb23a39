"""Push messages, their payloads, and subscriptions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.push_message import (
    MAX_PAYLOAD_BYTES,
    PushMessage,
    check_message,
    encode_payload,
    topic_of_tag,
)
from hub.core.push_subscription import (
    decode_base64url,
    encode_base64url,
    subscription_id,
    web_push_subscription,
)
from hub.errors import BadRequest
from hub.push.vapid import generate_vapid_keys, load_vapid_keys

# Any text that JSON can carry: no surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
WILD = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from('"\\\n\x00é€👩\u200d🚒\u0301🏽'),
    ),
    max_size=9000,
)
P256DH = generate_vapid_keys().public_key
AUTH = encode_base64url(b"0" * 16)


@given(
    WILD,
    st.text(st.sampled_from('ab é€👍"'), min_size=1, max_size=200),
    st.integers(100, 5000),
)
def test_payload_fits(body: str, title: str, max_bytes: int) -> None:
    """A payload is JSON that fits, and its body is a prefix of the whole body."""
    message = PushMessage(title=title, body=body, tag="t")
    payload = encode_payload(message, "p", max_bytes=max_bytes)
    without_body = encode_payload(PushMessage(title=title, tag="t"), "p", max_bytes=max_bytes)
    assert len(payload) <= max(max_bytes, len(without_body))
    decoded = json.loads(payload)
    cut = decoded.pop("body", "")
    assert decoded == {"id": "p", "title": title, "tag": "t"}
    if cut != body:
        assert cut == "" or cut.endswith("…")
        assert body.startswith(cut.removesuffix("…"))


@given(TEXT, st.text(max_size=10))
def test_short_payload_is_whole(body: str, title: str) -> None:
    """A message that fits is not cut."""
    message = PushMessage(title=title, body=body)
    whole = json.loads(encode_payload(message, "p", max_bytes=10**6))
    assert whole.get("body", "") == body


@given(WILD)
def test_any_checked_message_fits(body: str) -> None:
    """Every message that passes the check fits into one push, with the longest of all fields."""
    message = PushMessage(
        title='"' * 200, body=body, url="/" + "u" * 1023, icon="/" + "é" * 511, tag='"' * 64
    )
    payload = encode_payload(check_message(message, path="push"), "p" * 100)
    assert len(payload) <= MAX_PAYLOAD_BYTES
    assert json.loads(payload)["url"] == message.url


@pytest.mark.parametrize("cluster", ["e\u0301", "👩\u200d🚒", "👍🏽", "\u0915\u093f"])
def test_characters_stay_whole(cluster: str) -> None:
    """A cut does not take a mark, a joiner or a skin tone from its character."""
    for size in range(120, 160):
        message = PushMessage(title="t", body=cluster * 100)
        cut = json.loads(encode_payload(message, "p", max_bytes=size))["body"]
        assert cut.removesuffix("…") == cluster * (cut.count(cluster[0]))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"title": ""}, "push.title"),
        ({"title": " \n"}, "push.title"),
        ({"title": "a" * 201}, "push.title"),
        ({"title": "a\0b"}, "push.title"),
        ({"title": "a", "tag": "t" * 65}, "push.tag"),
        ({"title": "a", "url": "javascript:alert(1)"}, "push.url"),
        ({"title": "a", "url": "JavaScript:alert(1)"}, "push.url"),
        ({"title": "a", "url": "java\tscript:alert(1)"}, "push.url"),
        ({"title": "a", "url": "data:text/html,x"}, "push.url"),
        ({"title": "a", "url": "https://a.example/ b"}, "push.url"),
        ({"title": "a", "url": "https://[a"}, "push.url"),
        ({"title": "a", "url": "/" + "é" * 512}, "push.url"),
        ({"title": "a", "icon": "blob:x"}, "push.icon"),
        ({"title": "a", "ttl_seconds": -1}, "push.ttl_seconds"),
        ({"title": "a", "ttl_seconds": 1e9}, "push.ttl_seconds"),
        ({"title": "a", "ttl_seconds": float("nan")}, "push.ttl_seconds"),
    ],
)
def test_refused_message(fields: dict[str, Any], path: str) -> None:
    """A message that breaks a rule is refused, and the error names the field."""
    with pytest.raises(BadRequest) as raised:
        check_message(PushMessage(**fields), path="push")
    assert raised.value.path == path


@pytest.mark.parametrize("url", ["", "/a?b=c#d", "a", "https://a.example/é", "http://a.example"])
def test_accepted_url(url: str) -> None:
    """Relative, http and https URLs are allowed."""
    check_message(PushMessage(title="a", url=url, icon=url), path="push")


@given(TEXT)
def test_topic_header(tag: str) -> None:
    """A topic is made of 32 characters that the header may have; only an empty tag has none."""
    topic = topic_of_tag(tag)
    if topic is None:
        assert not tag
    else:
        assert len(topic) == 32
        assert topic.replace("-", "").replace("_", "").isalnum()


@given(st.binary())
def test_base64url(value: bytes) -> None:
    """Base64url is decoded with and without padding."""
    text = encode_base64url(value)
    assert decode_base64url(text) == decode_base64url(text + "=" * (-len(text) % 4)) == value


@given(TEXT)
def test_base64url_of_any_text(text: str) -> None:
    """Other text is a ValueError, never another error."""
    try:
        assert encode_base64url(decode_base64url(text)) == text.rstrip("=")
    except ValueError:
        pass


def test_subscription() -> None:
    """A subscription has an id that the endpoint alone decides."""
    first = web_push_subscription("https://push.example/a", P256DH, AUTH, allow_private=False)
    padded = web_push_subscription(
        "https://push.example/a", P256DH + "=", AUTH + "==", allow_private=False
    )
    assert first == padded
    assert first.id == subscription_id("https://push.example/a")
    assert len(first.id) == 32


@pytest.mark.parametrize(
    ("endpoint", "p256dh", "auth", "path"),
    [
        ("http://push.example/a", P256DH, AUTH, "endpoint"),
        ("https://127.0.0.1/a", P256DH, AUTH, "endpoint"),
        ("https://push.example/a", "", AUTH, "keys.p256dh"),
        ("https://push.example/a", "!" * 87, AUTH, "keys.p256dh"),
        ("https://push.example/a", encode_base64url(b"\4" + b"\1" * 64), AUTH, "keys.p256dh"),
        ("https://push.example/a", encode_base64url(b"\2" + b"\1" * 32), AUTH, "keys.p256dh"),
        ("https://push.example/a", P256DH, encode_base64url(b"0" * 15), "keys.auth"),
        ("https://push.example/a", P256DH, "é", "keys.auth"),
    ],
    ids=["http", "private", "no key", "no base64", "no point", "compressed", "short", "no ascii"],
)
def test_refused_subscription(endpoint: str, p256dh: str, auth: str, path: str) -> None:
    """Endpoint and keys are checked before they are stored."""
    with pytest.raises(BadRequest) as raised:
        web_push_subscription(endpoint, p256dh, auth, allow_private=False)
    assert raised.value.path == path


def test_vapid_keys() -> None:
    """Keys are read from what was made, and other text is an error."""
    keys = generate_vapid_keys()
    assert load_vapid_keys(keys.private_key + "\n") == keys
    for text in ("", "abc", "é", keys.public_key, "-----BEGIN X-----", "A" * 43):
        with pytest.raises(ValueError):  # noqa: PT011
            load_vapid_keys(text)
