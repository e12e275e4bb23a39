"""AG-UI: the events of an answer, the run input and its routes."""
