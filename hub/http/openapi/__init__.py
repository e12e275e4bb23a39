"""The OpenAPI document, made from the operations of the routes and their types."""
