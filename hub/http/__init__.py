"""HTTP with aiohttp: listeners, routes by resource, errors, the OpenAPI document and the pages.

applications.py  the applications of the public, the internal and the worker's listener
server.py        listening sockets and aiohttp's server
routing.py       a route and its description, declared at its handler; openapi/ documents it
errors.py        errors as responses; cors.py: CORS headers; request_metrics.py: response counters
parameters.py    query parameters; json_body.py: JSON bodies
callback.py      authentication by the application; jwks.py: keys of an identity provider
streams.py       what connect.py, websocket.py and generations.py share to stream
                 Every other module holds the routes of one resource.
"""
