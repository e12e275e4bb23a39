"""The simulated LLM: a real HTTP server with built-in answers."""
