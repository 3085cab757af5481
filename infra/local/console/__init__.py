"""The console with the demo's data: what `make console` starts, and what the browser tests look at."""
