"""Surfaces: one answer in the words of clients that people already have, one file each."""
