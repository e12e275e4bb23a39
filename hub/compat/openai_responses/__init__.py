"""OpenAI Responses: encoder, response object, request body and routes."""
