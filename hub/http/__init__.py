"""HTTP with aiohttp: listeners, routes, errors, the OpenAPI document and the pages.

applications.py  the applications of the public, the internal and the worker's listener
server.py        listening sockets and aiohttp's server
routes/          the handlers of the routes, by resource
routing.py       a route and its description, declared at its handler; openapi/ documents it
errors.py        errors as responses; cors.py: CORS headers; request_metrics.py: response counters
parameters.py    query parameters; json_body.py: JSON bodies
callback.py      authentication by the application; jwks.py: keys of an identity provider
streams.py       what the routes share that stream
"""
