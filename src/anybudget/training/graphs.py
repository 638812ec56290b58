"""Steps of one network on a CUDA device, launched as a graph: small networks wait for launches more than for work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from anybudget.nets.compiled.build import plain_operators

_LOG = logging.getLogger(__name__)


class GraphedForward:
    """A network whose forward and backward in training are captured once, and then launched as two CUDA graphs.

    Batches of the first one's shape are computed so, in float32 on a CUDA device; everything else is computed by the
    network itself, and so is everything if the capture fails, which is logged. Results are the network's: the same
    kernels run in the same order. A graph belongs to this object, and goes with it.

    What a forward returns is overwritten by the next one: run the backward before.

    Args:
        network: in training mode; it is left as it is.

    Example:
        >>> import torch
        >>> forward = GraphedForward(torch.nn.Linear(3, 2))
        >>> forward(torch.ones(4, 3)).shape  # on the CPU: the network itself
        torch.Size([4, 2])
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._shape: torch.Size | None = None
        self._graphed: Callable[[Tensor], Tensor] | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]` of images `[B, C, H, W]`."""
        if self._shape is None and self._suits(images):
            self._shape = images.shape
            self._graphed = _captured(self._network, images)
        if self._graphed is None or images.shape != self._shape or not self._suits(images):
            return _logits(self._network, images)
        return self._graphed(images)

    def _suits(self, images: Tensor) -> bool:
        computing = torch.is_grad_enabled() and self._network.training and not torch.is_autocast_enabled("cuda")
        return images.is_cuda and computing and not plain_operators()


class _Inner(nn.Module):
    """Holds the network, so that capturing replaces the forward of this module and not the network's own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return _logits(self.network, images)


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(images)
    return logits


def _captured(network: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor] | None:
    """The network as graphs for batches like this one; None if it cannot be captured. Its state is as before."""
    device = images.device
    state = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.cuda.get_rng_state(device)
    try:
        # Capturing runs the network a few times before, which moves running statistics and random numbers.
        graphed: Any = torch.cuda.make_graphed_callables(_Inner(network).train(), (images.detach().clone(),))
    except RuntimeError as error:
        _LOG.warning(
            "steps are launched kernel by kernel, which may be slower: the network cannot be captured as a CUDA graph "
            "(%s)",
            str(error).splitlines()[0],
        )
        return None
    finally:
        network.load_state_dict(state)
        torch.cuda.set_rng_state(random, device)
    return partial(_logits, graphed)
