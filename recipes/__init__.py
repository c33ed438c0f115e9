"""Recipes: one YAML per model, engine and GPU; `flags/` has the flag catalogues of the pinned engines."""
