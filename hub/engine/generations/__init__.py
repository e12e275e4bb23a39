"""What nodes do with answers: start, find, show, stop and end them, and give their inputs."""
