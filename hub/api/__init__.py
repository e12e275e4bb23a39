"""What HTTP, WebSocket and gRPC share, without an HTTP library.

authentication.py      which user a request belongs to, with tokens.py and origins.py
api_keys.py            which backend or operator sends it
publish_requests.py    checks, rate limits and results of publishing
generation_requests.py checks before a generation is queued, with stop_on_disconnect.py
streams.py             what opens a stream
problems.py            errors as a status and a problem document
"""
