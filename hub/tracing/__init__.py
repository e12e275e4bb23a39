"""Spans for OpenTelemetry: wrappers around the hub's own parts, put on where `tracing.endpoint` is
set. Only this package imports opentelemetry (the extra `otel`), and only wiring imports it.

Rules:
1. No attribute holds a payload, a prompt or an answer, a user's id, a topic's name, a token or a
   URL; no error's text, which may quote one of them.
2. A stream is no span: a request's span ends where the answer's headers leave.
3. Number and size of what is kept are bounded: what the collector does not take is dropped.
"""
