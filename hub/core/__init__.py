"""Values and decisions: no await, no clock, no sockets. Tests only call functions."""
