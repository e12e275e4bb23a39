"""The log of the process: structlog and the standard library's logging, both to standard error.

Log events have constant dotted names and fields. They are JSON lines in production and columns on a
terminal. The hub's own events hold no secrets. Messages of libraries and of exceptions may contain
a URL of the settings, so logins and queries in them are masked.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Any, Final

import msgspec
import structlog

from hub.settings.masking import MASK, mask_urls

_LEVELS: Final = {"exception": "error", "warn": "warning"}  # of methods with other names
_QUERY: Final = re.compile(r"\?[^\s?=&]+=\S+")  # also of a path without its host


def configure(level: str, log_format: str, process: str) -> None:
    """Set up logging. Call it once in a process.

    log_format: `json`, `console`, or `auto`: columns on a terminal and JSON elsewhere.
    process: the kind of process, such as `node` or `worker`, which every line names.
    """
    columns = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f") if columns else _Timestamper(),
        _process_adder(process),
    ]
    # The hub's own lines are written to standard error directly: through the standard library's
    # logging a line costs three times as much, and each connection logs two lines. For the same
    # reason one processor makes a line of JSON.
    own: list[Any]
    rendered: list[Any]
    factory: Any
    if columns:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # If rich is installed, the default shows local variables, such as tokens and keys.
            exception_formatter=structlog.dev.plain_traceback,
        )
        rendered = [renderer]
        own = [*shared, structlog.processors.format_exc_info, _mask_exception, renderer]
        factory = structlog.WriteLoggerFactory(sys.stderr)
    else:
        own, rendered = [_json_renderer(process)], [structlog.processors.JSONRenderer()]
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=own,
        logger_factory=factory,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _mask_exception,
                _mask_message,
                *rendered,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.server").addFilter(_hide_malformed_request)
    for chatty in ("asyncio", "aiohttp.access", "urllib3"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))


def _hide_malformed_request(record: logging.LogRecord) -> bool:
    """Replace aiohttp's record of a malformed request, whose traceback contains the request's bytes
    and perhaps a token, by the name of the error.
    """
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__module__ == "aiohttp.http_exceptions":
        record.msg, record.args = f"request.malformed {type(error).__name__}", ()
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.INFO, "INFO"
        return logging.getLogger().isEnabledFor(logging.INFO)
    return True


def _mask_exception(logger: Any, method: str, event: Any) -> Any:
    if "exception" in event:
        event["exception"] = _mask(event["exception"])
    return event


def _mask_message(logger: Any, method: str, event: Any) -> Any:
    event["event"] = _mask(event["event"])
    return event


def _mask(text: str) -> str:
    """Return a text of a library without the logins and queries of the URLs in it."""
    return _QUERY.sub(f"?{MASK}", mask_urls(text))


class _Timestamper:
    """Adds the time: ISO 8601 in UTC with milliseconds. It formats the date once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def __call__(self, logger: Any, method: str, event: Any) -> Any:
        second, rest = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%FT%T", time.gmtime(second))
        event["timestamp"] = f"{self._text}.{rest // 1_000_000:03d}Z"
        return event


def _json_renderer(process: str) -> Any:
    """Return a processor that does what all of the others do, and makes a line of JSON."""
    add_time = _Timestamper()

    def render_json(logger: Any, method: str, event: Any) -> bytes:
        event["level"] = _LEVELS.get(method, method)
        add_time(logger, method, event)
        event["process"] = process
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, method, event)
            _mask_exception(logger, method, event)
        return msgspec.json.encode(event, enc_hook=str)

    return render_json


def _process_adder(process: str) -> Any:
    def add_process(logger: Any, method: str, event: Any) -> Any:
        event["process"] = process
        return event

    return add_process
