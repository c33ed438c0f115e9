"""Bulk data over HTTP: function inputs and outputs too large for a message, blocks of volume files."""
