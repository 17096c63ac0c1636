"""What streamed runs cost: `make bench-runs`."""
