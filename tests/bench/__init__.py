"""Benchmarks: scripts that measure Regcred on real servers. `make bench` starts them."""
