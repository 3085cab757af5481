"""The real parts: the servers that Regcred talks to. The demo and the tests start and stop them.

Tests and the demo use `realparts.stack.Stack`. On the command line, use `python -m realparts up|down|status`.
"""
