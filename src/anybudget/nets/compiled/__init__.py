"""Kernels in C for training on the CPU: compiled where a compiler is found, PyTorch's own elsewhere."""
