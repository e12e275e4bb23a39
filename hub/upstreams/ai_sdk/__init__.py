"""The AI SDK: an endpoint that answers with a UI message stream."""
