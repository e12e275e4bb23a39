"""What HTTP, WebSocket and gRPC share: authentication, API keys and generation requests."""
