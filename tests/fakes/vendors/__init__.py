"""Stand-ins of registry vendors: as strict as the vendor about what they are sent, in this process, over real
TLS."""
