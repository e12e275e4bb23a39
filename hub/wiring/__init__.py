"""The composition root: builds running parts from the settings. Only this package names adapters.

node          a node: listeners over node_parts
worker        a worker: the relay between the queue and the upstreams
simulated     the simulated LLM
backend       the backend of a process; the only module that chooses one
node_parts    what the listeners of a node are built from, and its background tasks
applications  the HTTP applications of a node; grpc its gRPC listeners; route_table their resources
auth, upstreams, tracing   the parts that settings switch on

Each kind of process has a module of its own, so that it loads only what it runs. Parts start in the
order of their dependencies and stop in reverse; every wait has a deadline.
"""
