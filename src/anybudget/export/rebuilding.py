"""The blocks of a network from its description: `network.json`, and the metadata of exported files."""

from __future__ import annotations

from typing import cast

from pydantic import ValidationError

from anybudget.errors import AnyBudgetError, ConfigError, RunError, shorten
from anybudget.spaces import SPACES, BlockSpec, derive
from anybudget.spaces.blocks import ActivationName
from anybudget.storage.records import Described, Network

FORMAT, VERSION = "anybudget network", 1


def specs_of(network: Described, where: str, way_out: str) -> tuple[BlockSpec, ...]:
    """The blocks that a description describes.

    Args:
        network: the description.
        where: it stands, in messages.
        way_out: how messages end.

    Raises:
        RunError: it describes no network of this version of anybudget.
    """
    try:
        if (network.format, network.version) != (FORMAT, VERSION):
            raise ConfigError("no network of this version of anybudget")
        if not isinstance(network, Network):
            raise ConfigError("a network of the zoo, which anybudget.load builds")
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
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        said = f"space.{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    except (AnyBudgetError, ValueError, TypeError, ArithmeticError, KeyError) as error:
        said = str(error)
    raise RunError(f"{where}: damaged: {shorten(said, 400)}; {way_out}")
