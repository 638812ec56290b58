"""Torch modules: plain networks, supernets and the frozen mixtures of their paths."""

from collections.abc import Callable

from anybudget.errors import ConfigError
from anybudget.nets.base import Path, RelaxedSupernet, Supernet
from anybudget.nets.blocks import build_network
from anybudget.nets.unified import UnifiedSupernet
from anybudget.spaces import SearchSpace, UnifiedSpace

SUPERNETS: dict[type[SearchSpace], Callable[..., Supernet]] = {UnifiedSpace: UnifiedSupernet}
"""The supernet class of every space."""


def build_supernet(space: SearchSpace) -> Supernet:
    """A freshly initialised supernet of `space`, drawn from torch's default random generator.

    Raises:
        ConfigError: no supernet is registered for the space.
    """
    try:
        return SUPERNETS[type(space)](space)
    except KeyError:
        raise ConfigError(f"no supernet is registered for the search space {space.name!r}") from None


__all__ = ["SUPERNETS", "Path", "RelaxedSupernet", "Supernet", "UnifiedSupernet", "build_network", "build_supernet"]
