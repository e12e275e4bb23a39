"""The patterns of settings that are text, and what a message says about a value that is wrong."""

from __future__ import annotations

from typing import Final

# Also of apps: capacitor://localhost, tauri://localhost, chrome-extension://<id>, app://.
ORIGIN: Final = r"^[a-z][a-z0-9+.-]*://[^/\s]+$"
HTTP_URL: Final = r"^https?://"
BROKER_URL: Final = r"^((redis|valkey)s?(\+sentinel|\+cluster)?|unix)://"
POSTGRES_URL: Final = r"^postgres(ql)?://"
SQL_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_]{0,47}$"
KEY_PREFIX: Final = r"^[A-Za-z0-9._:/@-]{0,64}$"
TOPIC: Final = r"^([^\s,*]{1,255}\*?|\*)$"
QUEUE: Final = r"^[a-z0-9_-]{1,32}$"
VERSION: Final = r"^[A-Za-z0-9._-]{0,64}$"
EVENT_NAME: Final = r"^[A-Za-z0-9._:-]{1,128}$"
HEADER_NAME: Final = r"^[A-Za-z0-9_-]+$"
FUNCTION: Final = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"
CONTACT: Final = r"^(mailto:[^\s@]+@[^\s@]+|https://[^\s]+)$"
SHA256: Final = r"^[0-9a-f]{64}$"

REQUIREMENTS: Final = {
    ORIGIN: "an origin has a scheme and a host, and no path or slash after them, for example "
    "https://app.example.com or http://localhost:8001",
    HTTP_URL: "the URL must begin with http:// or https://",
    BROKER_URL: "the URL must begin with redis://, rediss://, redis+sentinel://, redis+cluster:// "
    "or unix://; valkey means the same as redis",
    POSTGRES_URL: "the URL must begin with postgresql:// or postgres://",
    SQL_NAME: "the name has 1 to 48 letters, digits and underscores, and does not begin with a "
    "digit",
    KEY_PREFIX: "the prefix has at most 64 characters: letters, digits and . _ : / @ -",
    TOPIC: "a topic has 1 to 255 characters without white space, commas and *; a * at its end "
    "matches any rest",
    QUEUE: "the name of a queue has 1 to 32 characters: a to z, 0 to 9, - and _",
    VERSION: "a version has at most 64 characters: letters, digits and . _ -",
    EVENT_NAME: "the name of an event has 1 to 128 characters: letters, digits and . _ : -",
    HEADER_NAME: "the name of a header has letters, digits, - and _ only",
    FUNCTION: "the target of a function is module:name, for example answers:support",
    CONTACT: "write mailto: and an e-mail address, or an https:// URL, for example "
    "mailto:ops@example.com",
    SHA256: "a SHA-256 has 64 digits: 0 to 9 and a to f",
}
