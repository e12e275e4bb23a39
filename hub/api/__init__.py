"""What HTTP, WebSocket and gRPC share, without an HTTP library.

authentication.py      which user a request belongs to, with tokens.py and origins.py
api_keys.py            which backend or operator sends it
publish_requests.py    checks, rate limits and results of publishing
generation_requests.py checks before a generation is queued, with stop_on_disconnect.py
producer_requests.py   checks of external producers, with job_requests.py, posted_parts.py,
                       streamed_posts.py and producer_responses.py
streams.py             what opens a stream
problems.py            errors as a status and a problem document
"""
