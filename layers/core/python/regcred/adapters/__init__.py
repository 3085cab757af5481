"""Real services behind the interfaces of the verbs: SQS, EventBridge, and the identities that AWS STS gives."""
