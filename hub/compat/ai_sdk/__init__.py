"""The AI SDK's UI message stream: encoder, request body and routes."""
