"""Bytes in, bytes out: the route table, the adapter between HTTP and operations, keys, and the pages for people."""
