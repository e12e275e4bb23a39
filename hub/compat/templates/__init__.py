"""Output templates from the settings: encoder and selection by `?shape=`."""
