"""Joins the verbs to the real classes; each module loads only what its own edge needs."""
