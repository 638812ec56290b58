"""Milliseconds of networks on a device: measuring them, a model of them, and what may be promised."""
