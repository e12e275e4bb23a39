"""The queues: jobs for the workers. One technology a file."""
