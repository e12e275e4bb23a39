"""Functions of the application that produce answers, as the worker sees them."""
