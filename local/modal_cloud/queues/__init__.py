"""modal.Queue: first-in-first-out values in partitions, kept on disk, each handed out once."""
