"""AG-UI: encoder, request body and routes."""
