"""The metrics of nodes, workers and their parts."""
