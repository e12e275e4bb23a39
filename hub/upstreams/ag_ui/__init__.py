"""AG-UI: the endpoint of an agent."""
