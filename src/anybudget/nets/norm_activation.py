"""Batch norm, activation and residual sum as one operator while networks are trained on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.compiled import kernels
from anybudget.nets.compiled.kernels import Activated, Running

_CODES: dict[type[nn.Module] | None, Activated] = {
    None: Activated.NONE,
    nn.Identity: Activated.NONE,
    nn.ReLU: Activated.RELU,
    nn.ReLU6: Activated.RELU6,
    nn.Hardswish: Activated.HARD_SWISH,
}

PLAIN: dict[Activated, Callable[[Tensor], Tensor]] = {
    Activated.NONE: lambda x: x,
    Activated.RELU: F.relu,
    Activated.RELU6: F.relu6,
    Activated.HARD_SWISH: F.hardswish,
}


def norm_activation(x: Tensor, norm: nn.Module, act: nn.Module | None = None, residual: Tensor | None = None) -> Tensor:
    """`act(norm(x)) + residual`, in one pass forward and one backward where a batch norm trains on the CPU.

    The modules are called as they are wherever compiled kernels cannot be used or somebody has hooked into them.

    Args:
        x: `[N, C, H, W]`.
        norm: any norm; batch norms that are plain ones are the ones that can be fused.
        act: an activation that follows it.
        residual: what is added, of the shape of `x`.
    """
    if trains_plainly(norm) and not is_hooked(norm, act):
        out = over_batch(x, Norm.of(norm), act, residual)
        if out is not None:
            return out
    out = norm(x)
    return finished(out, act, residual)


def finished(x: Tensor, act: nn.Module | None, residual: Tensor | None) -> Tensor:
    """`act(x) + residual`."""
    out = x if act is None else act(x)
    return out if residual is None else out + residual


class Norm(NamedTuple):
    """A norm by the moments of the batch: weight and bias `[C]`, and what follows its batches, if anything does."""

    weight: Tensor
    bias: Tensor
    eps: float
    follower: nn.BatchNorm2d | None = None

    @classmethod
    def of(cls, layer: nn.BatchNorm2d) -> Norm:
        """Of a plain layer in training mode."""
        return cls(layer.weight, layer.bias, layer.eps, layer if layer.track_running_stats else None)


def trains_plainly(layer: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether this is a plain batch norm that normalises by the batch."""
    return type(layer) is nn.BatchNorm2d and layer.training


def over_batch(x: Tensor, norm: Norm, act: nn.Module | None = None, residual: Tensor | None = None) -> Tensor | None:
    """`act(norm(x)) + residual`, fused; None where it cannot be."""
    if torch.compiler.is_compiling():
        return None
    code = code_of(act)
    if code is None or not kernels.is_dense(x) or not kernels.rows_of(x):
        return None
    trained = x.requires_grad or norm.weight.requires_grad or not torch.is_grad_enabled()
    if not trained or not kernels.usable(x, norm.weight, norm.bias):
        return None
    if residual is not None and not (
        residual.shape == x.shape and kernels.is_dense(residual) and kernels.usable(residual)
    ):
        return None
    running = None if norm.follower is None else followed(norm.follower)
    return cast(
        Tensor,
        _NormActivation.apply(x, norm.weight, norm.bias, residual, norm.eps, code, running),  # type: ignore[no-untyped-call]
    )


def code_of(act: nn.Module | None) -> Activated | None:
    """How the kernels call an activation; None if they do not know it."""
    return _CODES.get(None if act is None else type(act))


class _NormActivation(torch.autograd.Function):
    """The fused operator; gradients of gradients are taken of PyTorch's operations."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        eps: float,
        code: Activated,
        running: Running | None,
    ) -> Tensor:
        affine = (weight.contiguous(), bias.contiguous())
        out, moments = kernels.norm_forward(x, affine, residual, eps, code, running)
        ctx.save_for_backward(x, weight, bias, moments)
        ctx.eps, ctx.code = eps, code
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, moments = ctx.saved_tensors
        gradient = gradients[0]
        three: Sequence[Tensor | None]
        if torch.is_grad_enabled():  # the gradient will be differentiated itself
            out = PLAIN[ctx.code](F.batch_norm(x, None, None, weight, bias, training=True, eps=ctx.eps))
            wanted = [tensor for tensor in (x, weight, bias) if tensor.requires_grad]
            found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True))
            three = [next(found) if tensor.requires_grad else None for tensor in (x, weight, bias)]
        else:
            dense = gradient.contiguous(memory_format=torch.channels_last)
            three = kernels.norm_backward(dense, x, moments, ctx.eps, ctx.code)
        return (*three, gradient if ctx.needs_input_grad[3] else None, None, None, None)


def followed(norm: nn.BatchNorm2d) -> Running | None:
    """Count the batch, and say which statistics follow it and how far, as the norm itself would."""
    mean, variance, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if mean is None or variance is None or batches is None:
        return None
    batches.add_(1)
    return Running(mean, variance, 1.0 / float(batches) if norm.momentum is None else norm.momentum)


def is_hooked(*modules: nn.Module | None) -> bool:
    """Whether something waits for the forward or backward of one of these modules."""
    for module in modules:
        if module is not None and (
            module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        ):
            return True
    return False
