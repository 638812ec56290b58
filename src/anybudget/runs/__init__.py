"""A run: its folder opened, its stages, what is at work in it."""
