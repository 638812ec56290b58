"""The architecture generator: its network, and how distributions over architectures are trained."""
