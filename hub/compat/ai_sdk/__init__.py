"""The AI SDK's UI message stream: encoder, messages and routes."""
