"""The hub over gRPC: the same streams, questions and publishing, for clients of HTTP/2.

It needs the extra `grpc`, so nothing but wiring/grpc.py may import it.

hub.proto     what clients see; hub_pb2*.py are made from it by scripts/generate-grpc
public.py     hub.v1.Hub, for users; internal.py: hub.v1.HubInternal, for backends
calls.py      a call as a caller that the doors of hub.http know; statuses.py: errors as statuses
health.py     grpc.health.v1
serving.py    the server itself: its options, its ports, its end
"""
