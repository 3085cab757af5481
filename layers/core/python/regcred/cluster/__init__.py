"""The place *cluster*: the grammar of annotations, the objects that sync reads, and the Kubernetes API."""
