"""The benchmark: the hub beside its peers and the floor, in one run. `scripts/bench [name]`."""
