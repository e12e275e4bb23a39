"""The soak test: publishers and clients under a schedule of faults, and a check of every delivery.

`scripts/soak` runs it.
"""
