"""The place *cluster*: annotations, the plan (pure) and all calls to the Kubernetes API."""
