"""The real parts: the servers Regcred talks to, built once, started and stopped for the demo and the tests.

`realparts.stack.Stack` is what tests and the demo use; `python -m realparts up|down|status` is the same by
hand.
"""
