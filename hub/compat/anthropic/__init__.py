"""Anthropic's Messages: encoder, request body, errors and routes."""
