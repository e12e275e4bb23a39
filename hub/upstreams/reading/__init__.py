"""Reads the events of a response, whatever is wrong with them, into stream parts."""
