"""What containers print: kept per task, searchable, followed live."""
