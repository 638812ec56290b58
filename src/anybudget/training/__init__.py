"""Training: path samplers, the shared loop, supernets and stand-alone networks."""
