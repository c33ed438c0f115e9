"""Flag catalogues: every option of each pinned engine, extracted from its real release."""
