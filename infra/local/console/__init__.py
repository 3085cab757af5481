"""The console with the demo's data, for `make console`, `make screenshots` and the browser tests."""
