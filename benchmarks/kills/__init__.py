"""Random kills: a full `pulumi up`, something of it killed at a random moment, and what the next `up` makes of it."""
