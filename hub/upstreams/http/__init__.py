"""Upstreams over HTTP: requests, their errors, and answers that are continued or read again."""
