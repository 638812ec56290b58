"""The plain PyTorch blocks and networks that block specifications describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, singledispatch
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from anybudget.errors import ConfigError, shown
from anybudget.nets.depthwise import DepthwiseConv2d
from anybudget.nets.expand_depthwise import expand_depthwise
from anybudget.nets.norm_activation import Norm, is_hooked, norm_activation, trains_plainly
from anybudget.nets.pointwise import PointwiseConv2d
from anybudget.spaces import BlockSpec, Branch, ClassifierSpec, ConvSpec, InvertedBottleneckSpec, SkipSpec
from anybudget.spaces.blocks import ActivationName, GateName
from anybudget.spaces.split import SplitBottleneckSpec

ModuleT = TypeVar("ModuleT", bound=nn.Module)


ACTIVATIONS: dict[ActivationName, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "hard_swish": partial(nn.Hardswish, inplace=True),
    "silu": partial(nn.SiLU, inplace=True),
}
"""What makes the layer of every activation, for blocks and mixtures alike."""


GATES: dict[GateName, Callable[[], nn.Module]] = {"hard_sigmoid": nn.Hardsigmoid, "sigmoid": nn.Sigmoid}
"""What makes the layer of every gate of squeeze-and-excitation."""


def activation(name: ActivationName) -> nn.Module:
    """A fresh activation layer, in place where it can be.

    Raises:
        ConfigError: there is no such activation.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(f"unknown activation {shown(name)}; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class ConvNormActivation(nn.Sequential):
    """Convolution without bias, batch norm, and an activation if one is named."""

    def __init__(self, conv: nn.Conv2d, act: ActivationName | None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.out_channels)
        if act is not None:
            self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]` through all layers in turn; the norm and the activation at once where that is faster."""
        layers = iter(self._modules.values())
        x = norm_activation(next(layers)(x), next(layers), next(layers) if "act" in self._modules else None)
        for layer in layers:
            x = layer(x)
        return x


class SqueezeExcite(nn.Module):
    """Channel gates computed from the average of every channel of all branches together.

    Source: MobileNetV3 (hard sigmoid gate behind a ReLU), as SGNAS §4.2.2 adds it to derived networks; EfficientNet
    (sigmoid behind the block's own activation).
    """

    def __init__(
        self, channels: int, squeezed: int, gate: GateName = "hard_sigmoid", act: ActivationName = "relu"
    ) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.restore = nn.Conv2d(squeezed, channels, 1)
        self.gate = GATES[gate]()
        self.act = activation("relu" if gate == "hard_sigmoid" else act)

    def forward(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """Scale each `[N, C_b, H, W]` by its gates."""
        pooled = torch.cat([branch.mean((2, 3), keepdim=True) for branch in branches], dim=1)
        gates = self.gate(self.restore(self.act(self.reduce(pooled))))
        widths = [branch.shape[1] for branch in branches]
        return [branch * gate for branch, gate in zip(branches, gates.split(widths, dim=1), strict=True)]


def squeeze_excite(spec: InvertedBottleneckSpec | SplitBottleneckSpec) -> SqueezeExcite | None:
    """What a block has of it; None where it has none."""
    if not spec.se_channels:
        return None
    return SqueezeExcite(spec.expanded_channels, spec.se_channels, spec.se_gate, spec.activation)


def pointwise(in_channels: int, out_channels: int, groups: int = 1) -> nn.Conv2d:
    """A 1x1 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=False)


class KernelBranch(nn.Module):
    """The part of an inverted bottleneck with one depthwise kernel size: its slice of all three convolutions."""

    def __init__(self, spec: InvertedBottleneckSpec, branch: Branch) -> None:
        super().__init__()
        channels, kernel = branch.channels, branch.kernel
        self.expand: nn.Module = nn.Identity()
        if spec.expand:
            self.expand = ConvNormActivation(pointwise(spec.in_channels, channels, spec.groups), spec.activation)
            if spec.groups > 1:
                self.expand.append(nn.ChannelShuffle(spec.groups))
        self.depthwise = ConvNormActivation(DepthwiseConv2d(channels, kernel, spec.stride), spec.activation)
        self.project = pointwise(channels, spec.out_channels, spec.groups)

    def hidden(self, x: Tensor) -> Tensor:
        """What is projected: `[N, C_in, H, W]` to `[N, C, H / stride, W / stride]`."""
        out = self._at_once(x)
        if out is None:
            return cast(Tensor, self.depthwise(self.expand(x)))
        return norm_activation(out, self.depthwise.norm, self.depthwise.act)

    def _at_once(self, x: Tensor) -> Tensor | None:
        """Up to the depthwise convolution, by one operator; None where the layers are to be called one by one."""
        if not isinstance(self.expand, ConvNormActivation) or len(self.expand) != 3:
            return None
        expand, norm, act = self.expand
        conv = cast(DepthwiseConv2d, self.depthwise.conv)
        if not trains_plainly(norm) or is_hooked(self.expand, *self.expand, self.depthwise, conv):
            return None
        weight = cast(nn.Conv2d, expand).weight
        return expand_depthwise(x, weight, Norm.of(norm), act, conv.weight, conv.stride[0])


class InvertedBottleneck(nn.Module):
    """An inverted bottleneck with one or more depthwise kernel sizes, computed as a sum of one branch per size.

    The sum equals splitting after the first pointwise convolution and concatenating before the second, and needs
    neither: no activation is sliced or copied.
    """

    def __init__(self, spec: InvertedBottleneckSpec) -> None:
        super().__init__()
        self.branches = nn.ModuleList(KernelBranch(spec, branch) for branch in spec.branches)
        self.se = squeeze_excite(spec)
        self.norm = nn.BatchNorm2d(spec.out_channels)
        self.residual = spec.residual

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]` to `[N, C_out, H / stride, W / stride]`."""
        branches = [cast(KernelBranch, branch) for branch in self.branches]
        hidden = [branch.hidden(x) for branch in branches]
        if self.se is not None:
            hidden = self.se(hidden)
        return self.project(hidden, x if self.residual else None)

    def project(self, hidden: Sequence[Tensor], residual: Tensor | None) -> Tensor:
        """The branches `[N, C_b, H, W]` through their last convolutions, added up, normalised, plus the residual."""
        branches = [cast(KernelBranch, branch) for branch in self.branches]
        out = branches[0].project(hidden[0])
        for branch, value in zip(branches[1:], hidden[1:], strict=True):
            out = out + branch.project(value)
        return norm_activation(out, self.norm, residual=residual)


class Classifier(nn.Module):
    """Global average pooling, a hidden layer where there is one, dropout and a linear layer."""

    def __init__(self, spec: ClassifierSpec) -> None:
        super().__init__()
        self.hidden: nn.Module = nn.Identity()
        if spec.activation is not None:
            self.hidden = nn.Sequential(nn.Linear(spec.in_features, spec.hidden), activation(spec.activation))
        self.dropout = nn.Dropout(spec.dropout)
        self.linear = nn.Linear(spec.hidden or spec.in_features, spec.classes)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` to logits `[N, classes]`."""
        return cast(Tensor, self.linear(self.dropout(self.hidden(x.mean((2, 3))))))


@runtime_checkable
class Stepped(Protocol):
    """A layer with quantiser steps that follow from its weights."""

    def reset_steps(self) -> None:
        """Set the steps for the present weights."""


@singledispatch
def make_block(spec: BlockSpec) -> nn.Module:
    """The module that `spec` describes, with PyTorch's own initialisation; each kind of block registers its own."""
    raise TypeError(f"no module is registered for {type(spec).__name__}")


@make_block.register
def _(spec: ConvSpec) -> nn.Module:
    if spec.kernel == 1:
        return ConvNormActivation(PointwiseConv2d(spec.in_channels, spec.out_channels, spec.stride), spec.activation)
    conv = nn.Conv2d(spec.in_channels, spec.out_channels, spec.kernel, spec.stride, spec.kernel // 2, bias=False)
    return ConvNormActivation(conv, spec.activation)


@make_block.register
def _(spec: SkipSpec) -> nn.Module:
    if spec.identity:
        return nn.Identity()
    conv = PointwiseConv2d(spec.in_channels, spec.out_channels, spec.stride)
    return ConvNormActivation(conv, None)


make_block.register(InvertedBottleneckSpec, InvertedBottleneck)
make_block.register(ClassifierSpec, Classifier)


def build_block(spec: BlockSpec) -> nn.Module:
    """The module that `spec` describes, freshly initialised."""
    block = make_block(spec)
    initialise(block)
    return block


def build_network(specs: Sequence[BlockSpec]) -> nn.Sequential:
    """A stand-alone network: a plain `nn.Sequential` of blocks, images `[N, C, H, W]` to logits `[N, classes]`."""
    return nn.Sequential(*(build_block(spec) for spec in specs))


def channels_last(module: ModuleT) -> ModuleT:
    """Lay the weights of `module` out channels-last, in place: the faster memory format of depthwise convolutions."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def initialise(module: nn.Module) -> None:
    """He-normal convolutions by fan-out within a group, small normal classifier weights, identity norms.

    Differs: SGNAS's code divides by kernel area times all output channels even for depthwise convolutions, which
    starts them √C times too small; batch norm hides the scale but not its effect on the learning rate.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, 0.0, (2.0 / fan_out) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        if isinstance(layer, Stepped):
            layer.reset_steps()
