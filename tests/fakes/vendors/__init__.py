"""Stand-ins for registry vendors, in this process, over real TLS.

Each is written from the vendor's source or documentation, which it cites, and refuses the requests that the
vendor refuses.
"""
