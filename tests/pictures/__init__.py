"""The pictures of README and documents: `scripts/pictures` makes them from the running pages."""
