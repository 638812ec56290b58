"""Training: path samplers, the resumable epoch loop, supernets, and networks on their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anybudget.registry import Registry

if TYPE_CHECKING:
    from anybudget.training.samplers import PathSampler

SAMPLERS: Registry[type[PathSampler]] = Registry(
    "path sampler",
    "anybudget.samplers",
    {
        "fair": "anybudget.training.samplers:FairSampler",
        "fair-canonical": "anybudget.training.samplers:CanonicalFairSampler",
        "uniform": "anybudget.training.samplers:UniformSampler",
        "greedy": "anybudget.training.greedy:GreedySampler",
    },
)
"""Every path sampler by name."""
