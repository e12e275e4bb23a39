"""What the hub is compared with, written as its own documentation shows it."""
