"""Servers to compare the hub with, each written as its own documentation shows it."""
