"""OpenAI's chat completions and Responses, and the servers that speak the same."""
