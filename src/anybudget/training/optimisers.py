"""Optimisers by name: SGD and AdamW of PyTorch, and all of timm's where it is installed."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from anybudget.errors import ConfigError
from anybudget.runtime.optional import timm
from anybudget.training.optimiser_settings import OptimiserSettings

BUILT_IN = ("sgd", "adamw")
"""Optimisers that need no timm."""


def check_optimiser(settings: OptimiserSettings, table: str = "") -> None:
    """Check that the optimiser can be had, before any training.

    Args:
        settings: names it.
        table: the table of the recipe that does, for the message.

    Raises:
        ConfigError: timm is not installed, or knows no optimiser of this name.
    """
    if settings.optimiser in BUILT_IN:
        return
    asked = f"{table}.optimiser = {settings.optimiser!r}" if table else f"optimiser {settings.optimiser!r}"
    known = timm("optim", asked).list_optimizers()
    name = _timm_name(settings.optimiser)
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"{asked}: timm has no such optimiser; {hint}it has {', '.join(known)}")


def build_optimiser(model: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """The optimiser of a model's parameters.

    A parameter that has no gradient in a step, as those beside the path of a supernet, is left alone by all of them:
    no momentum and no weight decay moves it. Of a parameter that a path uses a slice of, the rest has the gradient 0
    and goes on as the optimiser says, in SGD with its momentum.

    Raises:
        ConfigError: see `check_optimiser`.

    Example:
        >>> settings = OptimiserSettings(batch_size=8, learning_rate=0.1, optimiser="adamw", decay_norms=False)
        >>> [len(group["params"]) for group in build_optimiser(nn.Linear(2, 2), settings).param_groups]
        [1, 1]
    """
    check_optimiser(settings)
    groups, rate, decay = _groups(model, settings), settings.rate, settings.weight_decay
    if settings.optimiser == "sgd":
        momentum, nesterov = settings.momentum, settings.nesterov
        return torch.optim.SGD(groups, lr=rate, momentum=momentum, weight_decay=decay, nesterov=nesterov)
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, eps=settings.epsilon or 1e-8)
    # timm's own rule for what has no weight decay is off: the groups say it.
    create = timm("optim", "an optimiser").create_optimizer_v2
    name, plain = _timm_name(settings.optimiser), {"momentum": settings.momentum, "filter_bias_and_bn": False}
    epsilon = {"eps": settings.epsilon} if settings.epsilon else {}
    try:
        built: torch.optim.Optimizer = create(groups, opt=name, lr=rate, weight_decay=decay, **plain, **epsilon)
    except (AssertionError, ImportError, RuntimeError, TypeError, ValueError) as error:
        # Such as one whose own library is missing, or which has no epsilon.
        said = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"optimiser {settings.optimiser!r}: timm cannot make it so: {said}") from None
    return built


class OptimiserState:
    """The state of an optimiser as a part of a checkpoint, laid out in memory as the parameters are.

    A checkpoint holds tensors in the plain layout; an optimiser that adds up a whole tensor, as LAMB does for its norm,
    would round otherwise after a resume.
    """

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self._optimiser = optimiser

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return self._optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Stateful`."""
        self._optimiser.load_state_dict(state)
        for parameter, kept in self._optimiser.state.items():
            for key, value in kept.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                    kept[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _groups(model: nn.Module, settings: OptimiserSettings) -> list[dict[str, Any]]:
    """The parameters, in groups of their own where some have no weight decay."""
    parameters = list(model.parameters())
    if settings.decay_norms:
        return [{"params": parameters}]
    plain = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
        {"params": plain, "weight_decay": 0.0},
    ]


def _timm_name(name: str) -> str:
    """As timm writes it, without hyphens."""
    return name.replace("-", "")
