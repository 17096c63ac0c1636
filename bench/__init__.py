"""Measures the server beside others, on SQLite and on PostgreSQL: `make bench`, `make bench-large`."""
