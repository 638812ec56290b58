"""Scores of architectures with a supernet's weights."""
