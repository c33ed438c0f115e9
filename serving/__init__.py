"""What runs inside the Modal containers: the pipeline jobs and the served engine."""
