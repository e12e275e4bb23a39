"""What an upstream says about its error: its words, its status and its codes, without secrets."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

_MAX_ERROR_CHARS: Final = 300
_MAX_QUOTE_CHARS: Final = 100
_MAX_DEPTH: Final = 5  # of messages within messages
_RETRYABLE_STATUSES: Final = frozenset({408, 429})
_PERMANENT_STATUSES: Final = frozenset({501, 505})  # the others of 5xx may pass, as 529 and 520 do
_MIN_SECRET_CHARS: Final = 8
_OPENAI_KEY: Final = re.compile(r"\bsk-[\w.*-]{6,}")  # also when it is half masked
# The header `Hub-Context`, and other JSON Web Tokens: the base64 of `{"` begins with eyJ.
_TOKEN: Final = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*){0,2}")
_SECRET_NAME: Final = re.compile(r"key|token|secret|password|auth|sign|credential", re.IGNORECASE)
_MAX_NAME_CHARS: Final = 100  # of a code and a field that an upstream reports
_STATUS_BY_TYPE: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
}
"""The statuses of the error types of OpenAI and Anthropic, for errors inside a stream."""
_STATUS_FIELDS: Final = ("status", "status_code", "statusCode", "http_status", "code")
_HTTP_ERROR: Final = re.compile(r"[45]\d\d")
# The fields that hold an error's words, in vendors' and frameworks' JSON. What is more specific
# comes first: Spring's `error` is only the name of the status if there is a `message`.
_MESSAGE_FIELDS: Final = (
    *("message", "Message", "msg", "error_message", "errorMessage", "error_msg", "errMsg"),
    *("errmsg", "error_description", "detail", "details", "error", "errors", "err", "reason"),
)


def is_retryable(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status in _RETRYABLE_STATUSES or (status >= 500 and status not in _PERMANENT_STATUSES)


class ErrorReport(NamedTuple):
    """What the JSON of an error says beside its text.

    status: the HTTP status, which many servers repeat as `code` or `status`, and which the error
    types of OpenAI and Anthropic imply. code: a word such as `context_length_exceeded`. param: the
    field of the request that the upstream blames.
    """

    status: int | None = None
    code: str | None = None
    param: str | None = None

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later; without a status it may."""
        return self.status is None or is_retryable(self.status)


def read_error_report(data: bytes | str, secrets: Collection[str] = ()) -> ErrorReport:
    """Return what an error's JSON reports; nothing for data of another form."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return ErrorReport()
    inner = value.get("error") if isinstance(value, dict) else None
    tables = [each for each in (inner, value) if isinstance(each, dict)]
    codes = (str(table.get(name)) for table in tables for name in _STATUS_FIELDS)
    statuses = [int(code) for code in codes if _HTTP_ERROR.fullmatch(code)]
    types = (str(table.get("type")) for table in tables)
    statuses += [_STATUS_BY_TYPE[each] for each in types if each in _STATUS_BY_TYPE]
    return ErrorReport(
        next(iter(statuses), None),
        _reported_name(tables, "code", secrets),
        _reported_name(tables, "param", secrets),
    )


def _reported_name(
    tables: Sequence[Mapping[str, Any]], field: str, secrets: Collection[str]
) -> str | None:
    """Return a short word that an error has in a field; a number in text is not a word."""
    values = [table[field] for table in tables if isinstance(table.get(field), str)]
    names = (_mask(value, secrets)[:_MAX_NAME_CHARS] for value in values)
    return next((name for name in names if name and not name.isdigit()), None)


def extract_error_text(body: bytes | str, secrets: Collection[str] = ()) -> str:
    """Return the message of an error body: one line of at most 300 characters, without secrets.

    JSON is searched for the fields that hold messages, such as OpenAI's
    `{"error": {"message": …}}` or FastAPI's `{"detail": [{"loc": …, "msg": …}]}`. Text that is not
    JSON is returned as it is, except HTML. Other JSON gives an empty string.
    """
    try:
        text = _find_message(msgspec.json.decode(body))
    except RecursionError:
        return ""
    except msgspec.DecodeError:
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    text = _mask(text, secrets)
    return "" if text.startswith("<") else text[:_MAX_ERROR_CHARS]


def quote_start(data: bytes | str, secrets: Collection[str] = ()) -> str:
    """Return the first characters of data that could not be read, in quotation marks.

    Secrets are masked. The result is empty for empty data.
    """
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    text = _mask(text, secrets)
    if len(text) > _MAX_QUOTE_CHARS:
        text = text[: _MAX_QUOTE_CHARS - 1] + "…"
    return f"“{text}”" if text else ""


def _find_message(value: Any, depth: int = 0) -> str:
    """Return the words of an error in decoded JSON, "" if there are none."""
    if isinstance(value, str):
        return value
    if depth < _MAX_DEPTH and isinstance(value, list):
        return "; ".join(filter(None, (_find_message(each, depth + 1) for each in value[:3])))
    if depth >= _MAX_DEPTH or not isinstance(value, dict):
        return ""
    messages = (_find_message(value[name], depth + 1) for name in _MESSAGE_FIELDS if name in value)
    text = next(filter(None, messages), "")
    path = value.get("loc")  # FastAPI: the path of the field that is wrong
    return f"{'.'.join(map(str, path))}: {text}" if text and isinstance(path, list) else text


def secret_values(
    headers: Mapping[str, str], url: str = "", body: Mapping[str, Any] | None = None
) -> Collection[str]:
    """Return the values of an endpoint's settings that may be secrets, longest first.

    These are the words of headers, the password and the query of the URL, and fields of the body
    whose name sounds like a secret. An upstream may echo them in an error, and no user may see
    them.
    """
    parts = urlsplit(url)
    words = " ".join(headers.values()).split()
    words += [parts.username or "", parts.password or ""]
    for name, value in parse_qsl(parts.query):
        words += [value] if name != "api-version" else []
    for name, value in (body or {}).items():
        words += [value] if isinstance(value, str) and _SECRET_NAME.search(name) else []
    words += [quoted for word in words if (quoted := quote(word, safe="")) != word]
    return sorted({word for word in words if len(word) >= _MIN_SECRET_CHARS}, key=len, reverse=True)


def _mask(text: str, secrets: Collection[str]) -> str:
    """Return the text on one line and without secrets.

    Mask before the text is cut, so that no half of a key remains.
    """
    text = "".join(char for char in " ".join(text.split()) if char.isprintable())
    for secret in secrets:
        text = text.replace(secret, "***")
    return _OPENAI_KEY.sub("***", _TOKEN.sub("***", text))
