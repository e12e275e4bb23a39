"""The gRPC services over hub.api: the same streams, generations and publishing as over HTTP.

They need `ssehub[grpc]`, so only hub/wiring/grpc.py may import this package.

hub.proto           the services and messages; scripts/generate-grpc makes hub_pb2*.py from it
public.py           hub.v1.Hub, for users
internal.py         hub.v1.HubInternal, for backends, with producers.py for external producers
event_streams.py    streams of events, of both services
request_context.py  a call as authentication and limits read it
statuses.py         errors and close reasons as gRPC statuses
health.py           grpc.health.v1
serving.py          the server: its options, ports and shutdown
"""
