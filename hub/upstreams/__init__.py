"""LLM endpoints: one wire format a file, and what asking over HTTP has in common in http.py."""
