"""Torch modules: plain networks, supernets and the frozen mixtures of their paths."""

from collections.abc import Callable

from anybudget.errors import ConfigError
from anybudget.nets.base import Path, RelaxedSupernet, Supernet
from anybudget.nets.blocks import build_network
from anybudget.nets.cells import CellSupernet
from anybudget.nets.choice import ChoiceBlockSupernet
from anybudget.nets.quantised import QuantisedLayer
from anybudget.nets.sliced import SlicedSupernet
from anybudget.nets.split import SplitBottleneck
from anybudget.nets.unified import UnifiedSupernet
from anybudget.registry import Registry
from anybudget.spaces import SearchSpace

SUPERNETS: Registry[Callable[..., Supernet]] = Registry(
    "supernet",
    "anybudget.supernets",
    {
        "unified": "anybudget.nets.unified:UnifiedSupernet",
        "choice-blocks": "anybudget.nets.choice:ChoiceBlockSupernet",
        "sliced": "anybudget.nets.sliced:SlicedSupernet",
        "cell": "anybudget.nets.cells:CellSupernet",
    },
)
"""Every registered supernet by the name that spaces give as their `supernet`; each is made from a space."""


def build_supernet(space: SearchSpace) -> Supernet:
    """A freshly initialised supernet of `space`, drawn from torch's default random generator.

    Raises:
        ConfigError: the space names no supernet, or one that is not registered.

    Example:
        >>> import torch
        >>> from anybudget.spaces import UnifiedSettings, UnifiedSpace, stages
        >>> shapes = {"input_size": 8, "input_channels": 1, "classes": 3, "stem_width": 4}
        >>> space = UnifiedSpace(UnifiedSettings(**shapes, stages=stages((4, 2, 1))))
        >>> supernet = build_supernet(space)
        >>> path = space.from_kernels([[3, 5], [3, 3, 7]])
        >>> supernet(torch.rand(2, 1, 8, 8), path).shape
        torch.Size([2, 3])
    """
    name = getattr(space, "supernet", None)
    if name is None:
        raise ConfigError(
            f"the search space {space.name!r} names no supernet; set `supernet` in its class to one of "
            f"{', '.join(SUPERNETS)}"
        )
    return SUPERNETS[name](space)


__all__ = [
    "SUPERNETS",
    "CellSupernet",
    "ChoiceBlockSupernet",
    "Path",
    "QuantisedLayer",
    "RelaxedSupernet",
    "SlicedSupernet",
    "SplitBottleneck",
    "Supernet",
    "UnifiedSupernet",
    "build_network",
    "build_supernet",
]
