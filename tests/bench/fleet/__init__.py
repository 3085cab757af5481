"""A fleet of registries over simulated days: dispatch and rotate themselves, over a Vault, a queue and
vendors in memory.

Vendors and Vault go away and come back, vendors throttle, messages get lost and come twice. What must hold:
no credential expires if its vendor was reachable (and Vault was) for one window of a quarter of its life
after refresh_at.
"""
