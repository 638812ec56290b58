"""Chooses the device that networks run on."""

from __future__ import annotations

import torch

from anybudget.errors import ConfigError, shorten, shown


def pick_device(name: str) -> torch.device:
    """The torch device of that name; `auto` takes the accelerator if there is one.

    Raises:
        ConfigError: the name is no device, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the device `meta` has tensors, but no numbers in them
    except (RuntimeError, AssertionError) as error:
        reason = shorten(str(error), 200)
        raise ConfigError(f"device: {shown(name)} cannot be used here ({reason}); use auto or cpu") from None
    return device
