"""The pages: each takes a visit and answers with a response."""
