"""Benchmarks: plain scripts on the real parts, started by `make bench`. Nothing here is a test."""
