"""Batch normalisation over the batches of several processes, as if they were one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from anybudget.nets.norms import over_batch_with
from anybudget.runtime.distributed import Processes


@contextmanager
def synchronised(module: nn.Module, processes: Processes) -> Iterator[None]:
    """Within, training forwards of all norms in `module` normalise by the batch of all processes together.

    With one process nothing changes. Not `torch.nn.SyncBatchNorm`, which has no CPU version and knows neither norms of
    shared weights nor slices.
    """
    if processes.count == 1:
        yield
        return
    with over_batch_with(module, _over_all_processes):
        yield


def _over_all_processes(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return cast(tuple[Tensor, Tensor, Tensor], _SynchronisedNorm.apply(x, weight, bias, eps))  # type: ignore[no-untyped-call]


class _SynchronisedNorm(torch.autograd.Function):
    """Batch norm of `[N, C, H, W]` by mean and variance over the batches of all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised batch, and the mean and unbiased variance `[C]` of all processes' batches."""
        wide = x.float()
        local = torch.cat([wide.sum((0, 2, 3)), wide.new_tensor([x.numel() / x.shape[1]])])
        torch.distributed.all_reduce(local)
        count = local[-1]
        mean = local[:-1] / count
        centred = wide - mean[:, None, None]
        squares = (centred * centred).sum((0, 2, 3))
        torch.distributed.all_reduce(squares)
        inverse, variance = torch.rsqrt(squares / count + eps), squares / (count - 1).clamp_min(1)
        ctx.save_for_backward(centred, weight, inverse, count)
        ctx.mark_non_differentiable(mean, variance)
        out = centred * (weight * inverse)[:, None, None] + bias[:, None, None]
        return out.to(x.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of the input over all processes, and of weight and bias over this one's batch."""
        centred, weight, inverse, count = ctx.saved_tensors
        gradient = gradients[0].float()
        total, along = gradient.sum((0, 2, 3)), (gradient * centred).sum((0, 2, 3))
        everywhere = torch.cat([total, along])
        torch.distributed.all_reduce(everywhere)
        all_total, all_along = everywhere.split(len(total))
        slope = inverse * inverse * all_along / count
        inner = gradient - (all_total / count)[:, None, None] - centred * slope[:, None, None]
        return (inner * (weight * inverse)[:, None, None]).to(gradients[0].dtype), along * inverse, total, None
