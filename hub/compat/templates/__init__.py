"""Output templates of the settings: encoder and selection."""
