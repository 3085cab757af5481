"""The socket options of connections to a proxy."""

from __future__ import annotations

import socket

AT_ONCE = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""Send a body without waiting for the acknowledgement of the headers. Without these options, urllib3 waits
for it behind a proxy, which can take 40 ms."""
