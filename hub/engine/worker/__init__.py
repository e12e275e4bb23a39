"""The worker: takes jobs from the queue, and relays the streams of upstreams into channels."""
