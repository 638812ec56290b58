"""Owns the choice of the device that networks run on."""

from __future__ import annotations

import torch

from anybudget.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """The torch device of that name; `auto` takes the accelerator if there is one.

    Raises:
        ConfigError: the name is no device, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device: {name!r} cannot be used here ({reason}); use auto or cpu") from None
    return device
