"""OpenAI chat completions: encoder, request body and routes."""
