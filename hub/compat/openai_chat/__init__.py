"""OpenAI Chat Completions: encoder and routes."""
