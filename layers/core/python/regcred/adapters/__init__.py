"""Real services behind the interfaces of the verbs: SQS, EventBridge, and identities from AWS STS."""
