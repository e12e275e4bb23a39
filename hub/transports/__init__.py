"""How connections look to clients: one transport a file, all of them over engine.Connection."""
