"""OpenAI Responses: encoder, response object and routes."""
