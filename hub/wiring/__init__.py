"""The composition root: settings become running parts. The only place that names adapters.

A process each, so that none loads what it does not run:

node.py       broker (log and bus) → fan-out, heartbeat wheel → two listeners
worker.py     broker (log only), queue, upstreams → relay
simulated.py  the simulated LLM
broker.py     what node and worker share: the link to Redis, the retention

Start order is dependency order; stop is its reverse, with a deadline at every wait.
"""
