"""Apps: versions, deployment, history, rollback, and their end."""
