"""Chooses the device that networks run on, and takes batches there."""

from __future__ import annotations

import torch
from torch import Tensor

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


def moved(batch: Tensor, device: torch.device) -> Tensor:
    """A batch in memory, on a device.

    A GPU gets it from pinned memory, so that it is copied while the GPU still computes on what came before.
    """
    if device.type == "cuda" and batch.device.type == "cpu":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)
