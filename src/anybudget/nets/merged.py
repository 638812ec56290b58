"""The frozen inverted bottleneck with a mixture of depthwise kernels, and the cheap gradients of the mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from anybudget.nets.blocks import activation
from anybudget.nets.compiled import kernels
from anybudget.nets.compiled.kernels import Activated, Frozen
from anybudget.nets.depthwise import depthwise_conv2d, input_gradient
from anybudget.nets.mixture import in_full
from anybudget.spaces.blocks import ActivationName

_CHUNK = 2**20
"""Numbers in what is convolved at a time when only inner products are wanted: 4 MiB."""

_CEILINGS: dict[ActivationName, float] = {"relu": float("inf"), "relu6": 6.0}
"""Activations that clamp to 0 and a ceiling, so that the output says where the gradient passes.

A shortcut: every other activation is run as the blocks run it, with gradients by autograd.
"""

_CODES: dict[ActivationName, Activated] = {"relu": Activated.RELU, "relu6": Activated.RELU6}


@dataclass(frozen=True)
class FrozenBottleneck:
    """Constants of an inverted bottleneck of `S` sub-blocks with `C` channels each; the norms are folded in.

    `kernels` `[S, K, C, k, k]` holds every kernel of every sub-block, zero-padded to the largest size; `sizes` are the
    true sizes and `biases` is `[S, K, C]`. `expand` is `[S * C, C_in, 1, 1]`, `project` `[C_out, S * C, 1, 1]`.
    """

    expand: Tensor
    expand_bias: Tensor
    kernels: Tensor
    biases: Tensor
    sizes: Sequence[int]
    stride: int
    project: Tensor
    activation: ActivationName

    def mixed(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The merged kernel `[S * C, 1, k, k]` and bias `[S * C]` for mixing weights `[S, K]`, also under autocast."""
        with in_full(weights):
            kernel = torch.einsum("sk,skcij->scij", weights, self.kernels).flatten(0, 1).unsqueeze(1)
            return kernel, torch.einsum("sk,skc->sc", weights, self.biases).flatten()

    def compiles(self, x: Tensor) -> bool:
        """Whether a compiled kernel computes it."""
        return (
            self.kernels.shape[-1] in kernels.SIZES
            and self.stride in kernels.STRIDES
            and kernels.is_dense(x)
            and kernels.usable(x, self.expand, self.kernels)
        )

    def compiled(self) -> Frozen:
        """What the compiled kernel takes of it."""
        return Frozen(
            self.expand.flatten(1).contiguous(),
            self.expand_bias,
            self.project.flatten(1).contiguous(),
            self.kernels.shape[-1],
            self.stride,
            _CODES[self.activation],
        )


def merged_bottleneck(x: Tensor, weights: Tensor, frozen: FrozenBottleneck) -> Tensor:
    """Expand, one merged depthwise convolution, project; activations after the first two.

    Args:
        x: `[N, C_in, H, W]`.
        weights: `[S, K]`, how much of each kernel every sub-block uses; gradients reach these and `x`.
        frozen: everything else.

    Returns:
        `[N, C_out, H / stride, W / stride]`, before the norm.
    """
    if frozen.activation in _CEILINGS:
        # Its backward is written out for one precision, whatever the rest of the training is computed in.
        dtype = frozen.expand.dtype
        with torch.autocast(x.device.type, enabled=False):
            x, weights = x.to(dtype), weights.to(dtype)
            operator = _CompiledBottleneck if frozen.compiles(x) else _MergedBottleneck
            return cast(Tensor, operator.apply(x, weights, frozen))  # type: ignore[no-untyped-call]
    act = activation(frozen.activation)
    kernel, bias = frozen.mixed(weights)
    hidden = act(F.conv2d(x, frozen.expand, frozen.expand_bias))
    return F.conv2d(act(depthwise_conv2d(hidden, kernel, bias, frozen.stride)), frozen.project)


class _MergedBottleneck(torch.autograd.Function):
    """The whole bottleneck as one step of autograd.

    Nothing but the mixing weights and the input gets a gradient, so only the two activations are kept, and gradients
    are masked in place. The gradient of mixing weight [s, k] is the inner product of the merged convolution's gradient
    with what kernel k of sub-block s alone would give: one forward convolution per kernel size, at its true size. On
    the CPU the weight gradient of a 7x7 kernel takes several times as long as those together.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, frozen: FrozenBottleneck) -> Tensor:
        ceiling = _CEILINGS[frozen.activation]
        kernel, bias = frozen.mixed(weights)
        expanded = _clamp(F.conv2d(x, frozen.expand, frozen.expand_bias), ceiling)
        mixed = _clamp(depthwise_conv2d(expanded, kernel, bias, frozen.stride), ceiling)
        ctx.save_for_backward(expanded, mixed, kernel)
        ctx.frozen = frozen
        return F.conv2d(mixed, frozen.project)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        expanded, mixed, kernel = ctx.saved_tensors
        frozen: FrozenBottleneck = ctx.frozen
        ceiling = _CEILINGS[frozen.activation]
        of_mixed = _mask(F.conv2d(gradients[0], frozen.project.transpose(0, 1)), mixed, ceiling)
        of_x = of_weights = None
        if ctx.needs_input_grad[1]:
            of_weights = _weight_gradient(expanded, of_mixed, frozen)
        if ctx.needs_input_grad[0]:
            of_expanded = _mask(input_gradient(of_mixed, expanded, kernel, frozen.stride), expanded, ceiling)
            of_x = F.conv2d(of_expanded, frozen.expand.transpose(0, 1))
        return of_x, of_weights, None


class _CompiledBottleneck(torch.autograd.Function):
    """The same in one thread on the CPU: what lies between is computed anew, and never written to memory.

    The gradient of mixing weight [s, k] is the inner product of the merged kernel's gradient with kernel k of sub-block
    s.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, frozen: FrozenBottleneck) -> Tensor:
        kernel, bias = frozen.mixed(weights)
        kernel = kernel.contiguous()
        out, passed = kernels.merged_forward(x, kernel, bias, frozen.compiled(), any(ctx.needs_input_grad[:2]))
        ctx.save_for_backward(x, kernel, passed)
        ctx.frozen = frozen
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, kernel, passed = ctx.saved_tensors
        frozen: FrozenBottleneck = ctx.frozen
        dense = gradients[0].contiguous(memory_format=torch.channels_last)
        of_x, of_kernel, of_bias = kernels.merged_backward(
            dense, x, passed, kernel, frozen.compiled(), ctx.needs_input_grad[0]
        )
        shape = (frozen.kernels.shape[0], *frozen.kernels.shape[2:])
        of_weights = torch.einsum("scij,skcij->sk", of_kernel.view(shape), frozen.kernels)
        return of_x, of_weights + torch.einsum("sc,skc->sk", of_bias.view(shape[:2]), frozen.biases), None


def _clamp(x: Tensor, ceiling: float) -> Tensor:
    return x.relu_() if ceiling == float("inf") else x.clamp_(0.0, ceiling)


def _mask(gradient: Tensor, output: Tensor, ceiling: float) -> Tensor:
    """Zero `gradient` in place where the activation's output is clamped; the caller owns the buffer."""
    if ceiling == float("inf"):
        torch.ops.aten.threshold_backward.grad_input(gradient, output, 0.0, grad_input=gradient)
    else:
        torch.ops.aten.hardtanh_backward.grad_input(gradient, output, 0.0, ceiling, grad_input=gradient)
    return gradient


def _weight_gradient(x: Tensor, gradient: Tensor, frozen: FrozenBottleneck) -> Tensor:
    """Gradient of the mixing weights `[S, K]`, from the depthwise convolution's input and its output's gradient.

    A few images at a time: the convolutions are thrown away, and small ones stay in the cache and in memory that the
    allocator already has.
    """
    largest = frozen.kernels.shape[-1]
    kernels = [
        F.pad(frozen.kernels[:, index].flatten(0, 1).unsqueeze(1), [(size - largest) // 2] * 4)
        for index, size in enumerate(frozen.sizes)
    ]
    overlap = x.new_zeros(len(kernels), x.shape[1])
    total = x.new_zeros(x.shape[1])
    images = max(1, _CHUNK // (x.numel() // len(x)))
    for part, share in zip(x.split(images), gradient.split(images), strict=True):
        total += share.sum((0, 2, 3))
        for row, kernel in zip(overlap, kernels, strict=True):
            row += depthwise_conv2d(part, kernel, None, frozen.stride).mul_(share).sum((0, 2, 3))
    sub_blocks = len(frozen.kernels)
    by_kernel = overlap.view(len(kernels), sub_blocks, -1).sum(-1).T
    return by_kernel + (frozen.biases * total.view(sub_blocks, 1, -1)).sum(-1)
