"""The pages. Each takes a visit and returns a response."""
