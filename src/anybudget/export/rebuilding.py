"""The blocks of a network from its description: `network.json`, and the metadata of exported files."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from pydantic import ValidationError

from anybudget.errors import AnyBudgetError, ConfigError, RunError, shorten
from anybudget.spaces import SPACES, BlockSpec, derive
from anybudget.spaces.blocks import ActivationName
from anybudget.storage.records import Described, Network, ZooBuilt

FORMAT, VERSION = "anybudget network", 1

OfZoo = Callable[[ZooBuilt], tuple[BlockSpec, ...]]
"""Gives the blocks of a network of the zoo, a room that lies above this one."""


def _no_zoo(_network: ZooBuilt) -> tuple[BlockSpec, ...]:
    raise ConfigError("a network of the zoo, which anybudget.load builds")


def specs_of(network: Described, where: str, way_out: str, of_zoo: OfZoo = _no_zoo) -> tuple[BlockSpec, ...]:
    """The blocks that a description describes.

    Args:
        network: the description.
        where: it stands, in messages.
        way_out: how messages end.
        of_zoo: gives the blocks of a network of the zoo; without it these are refused.

    Raises:
        RunError: it describes no network of this version of anybudget.
    """
    try:
        if (network.format, network.version) != (FORMAT, VERSION):
            raise ConfigError("no network of this version of anybudget")
        return _of_space(network) if isinstance(network, Network) else of_zoo(network)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        said = f"space.{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    except (AnyBudgetError, ValueError, TypeError, ArithmeticError, KeyError) as error:
        said = str(error)
    raise RunError(f"{where}: damaged: {shorten(said, 400)}; {way_out}")


def _of_space(network: Network) -> tuple[BlockSpec, ...]:
    settings = dict(network.space)
    kind = SPACES[str(settings.pop("name", ""))]
    space = kind(kind.settings_type.model_validate(settings))
    space.validate(network.architecture)
    blocks = space.block_specs(network.architecture)
    return derive(
        blocks,
        activation=cast(ActivationName | None, network.activation or None),
        se_reduction=network.se_reduction,
    )
