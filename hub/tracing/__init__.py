"""Spans for OpenTelemetry: wrappers around parts of the hub, used when `tracing.endpoint` is set.

Only this package imports opentelemetry (the extra `otel`), and only wiring imports this package.

Rules:
1. No attribute holds a payload, a prompt, an answer, a user id, a topic name, a token, a URL, or
   the text of an error, which may quote one of them.
2. A stream is not a span: the span of a request ends when the response headers are sent.
3. Number and size of the spans in memory are bounded; spans that the collector does not take are
   dropped.
"""
