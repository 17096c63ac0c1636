"""What threads as data cost: `make bench-data`."""
