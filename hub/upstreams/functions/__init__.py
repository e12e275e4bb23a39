"""The child processes of a worker that run functions of the application."""
