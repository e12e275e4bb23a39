"""Values and decisions: no await, no clock, no sockets. Everything here is tested by calling it."""
