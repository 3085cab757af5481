"""A simulation of a fleet of registries over days.

Dispatch and rotate are real; Vault, queue and vendors are in memory. Vendors and Vault have outages, vendors
throttle, and messages get lost or are delivered twice. The goal: no credential expires if, after
`refresh_at`, its vendor and Vault were both reachable for a continuous quarter of its life.
"""
