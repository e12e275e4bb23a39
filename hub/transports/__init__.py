"""The transports, one a file: an event encoder, and a writer if it needs its own."""
