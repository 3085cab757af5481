"""The place *cluster*: annotations, objects and Secrets (pure), and all calls to the Kubernetes API."""
