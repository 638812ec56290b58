"""Torch modules: plain networks, supernets and the frozen mixtures of their paths."""

from collections.abc import Callable

from anybudget.errors import ConfigError
from anybudget.nets.base import Path, RelaxedSupernet, Supernet
from anybudget.nets.blocks import build_network
from anybudget.nets.cells import CellSupernet
from anybudget.nets.choice import ChoiceBlockSupernet
from anybudget.nets.quantised import QuantisedLayer
from anybudget.nets.sliced import SlicedSupernet
from anybudget.nets.unified import UnifiedSupernet
from anybudget.spaces import ChoiceBlockSpace, NASBench201Space, SearchSpace, ShuffleNetChannelsSpace, UnifiedSpace

SUPERNETS: dict[type, Callable[..., Supernet]] = {
    UnifiedSpace: UnifiedSupernet,
    ChoiceBlockSpace: ChoiceBlockSupernet,
    ShuffleNetChannelsSpace: SlicedSupernet,
    NASBench201Space: CellSupernet,
}
"""The supernet class of every kind of space; a subclass has its nearest parent's."""


def build_supernet(space: SearchSpace) -> Supernet:
    """A freshly initialised supernet of `space`, drawn from torch's default random generator.

    Raises:
        ConfigError: no supernet is registered for the space.
    """
    for kind in type(space).__mro__:
        if kind in SUPERNETS:
            return SUPERNETS[kind](space)
    raise ConfigError(f"no supernet is registered for the search space {space.name!r}")


__all__ = [
    "SUPERNETS",
    "CellSupernet",
    "ChoiceBlockSupernet",
    "Path",
    "QuantisedLayer",
    "RelaxedSupernet",
    "SlicedSupernet",
    "Supernet",
    "UnifiedSupernet",
    "build_network",
    "build_supernet",
]
