"""The channel-search supernet: one weight tensor per convolution at its greatest width, and slices of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.base import Step
from anybudget.nets.blocks import ConvNormActivation, activation, initialise
from anybudget.nets.depthwise import depthwise_conv2d
from anybudget.nets.mixture import MixableSupernet, in_full
from anybudget.nets.norms import SlicedNorm
from anybudget.nets.shuffle import ShuffleUnit, halves
from anybudget.spaces import ConvSpec, PathEncoding
from anybudget.spaces.blocks import ActivationName
from anybudget.spaces.shuffle_blocks import ShuffleUnitSpec, UnitStep
from anybudget.spaces.shufflenet_channels import ShuffleNetChannelsSpace


class SlicedConv(nn.Module):
    """A convolution and its norm at the greatest widths; a forward takes rows (outputs) and the first inputs."""

    def __init__(self, conv: nn.Conv2d, act: ActivationName | None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = SlicedNorm(conv.out_channels)
        self.act = activation(act) if act else nn.Identity()

    def forward(self, x: Tensor, rows: slice) -> Tensor:
        """`[N, C, H, W]` with any number of channels up to the greatest to `[N, rows, H', W']`."""
        weight, conv = self._weight(rows, x.shape[1]), self.conv
        if conv.groups > 1:
            out = depthwise_conv2d(x, weight, None, conv.stride[0])
        else:
            out = F.conv2d(x, weight, None, conv.stride, conv.kernel_size[0] // 2)
        return cast(Tensor, self.norm(out, rows, self.act))

    def copy_to(self, target: ConvNormActivation, rows: slice) -> None:
        """Copy the slice that a path uses into the plain convolution built for it."""
        conv = target.conv
        conv.weight.copy_(self._weight(rows, conv.in_channels))
        self.norm.copy_to(target.norm, rows)

    def _weight(self, rows: slice, inputs: int) -> Tensor:
        return self.conv.weight[rows] if self.conv.groups > 1 else self.conv.weight[rows, :inputs]


@dataclass(frozen=True)
class Shares:
    """Probabilities that each channel of a layer is there, by place: `[C]` at the greatest width.

    `entering` is of the channels that enter the branch; `middle` of those inside it, given the operation; `passing` and
    `leaving` of those that pass by and that the branch gives, together with the operation's own probability.
    """

    entering: Tensor
    middle: Tensor
    passing: Tensor
    leaving: Tensor


class SlicedUnit(nn.Module):
    """One kind of ShuffleNetV2 unit at the greatest widths of its layer.

    Output channel `j` is the same at every width: the passing channels are the first, and the branch's last convolution
    gives channel `j` by its row `j - least`, whatever passes by; `least` is the fewest channels that ever pass.
    """

    def __init__(self, spec: ShuffleUnitSpec, least: int) -> None:
        super().__init__()
        self.spec = spec
        self.least = least
        self.branch = nn.ModuleList(self._conv(step) for step in spec.branch())
        self.shortcut = nn.ModuleList(self._conv(step) for step in spec.shortcut())

    def _conv(self, step: UnitStep) -> SlicedConv:
        source = self.spec.width(step.source)
        # The widest output of the last convolution is where the fewest channels pass by.
        target = self.spec.out_channels - self.least if step.target == "out" else self.spec.width(step.target)
        groups = source if step.depthwise else 1
        conv = nn.Conv2d(source, target, step.kernel, step.stride, step.kernel // 2, groups=groups, bias=False)
        return SlicedConv(conv, self.spec.activation if step.activated else None)

    def forward(self, x: Tensor, spec: ShuffleUnitSpec) -> Tensor:
        """`[N, C_in, H, W]` to `[N, C_out, H / stride, W / stride]` at the widths of `spec`."""
        passing, hidden = halves(x, spec.stride)
        for conv, step in zip(self.branch, spec.branch(), strict=True):
            hidden = conv(hidden, self._rows(spec, step))
        for conv, step in zip(self.shortcut, spec.shortcut(), strict=True):
            passing = conv(passing, self._rows(spec, step))
        return torch.cat([passing[:, : spec.width("pass")], hidden], dim=1)

    def _rows(self, spec: ShuffleUnitSpec, step: UnitStep) -> slice:
        if step.target != "out":
            return slice(0, spec.width(step.target))
        return slice(spec.width("pass") - self.least, spec.out_channels - self.least)

    def mixture(self, x: Tensor, shares: Shares) -> Tensor:
        """The mixture over all widths of an input `[N, C, H, W]` that is itself one, at the greatest width.

        A channel counts with the probability that it is there. Pointwise convolutions mix channels, so what enters them
        is weighted; depthwise ones do not.
        """
        passing, hidden = halves(x, self.spec.stride)
        hidden = self._weighted(self.branch, self.spec.branch(), hidden, shares)
        passing = self._weighted(self.shortcut, self.spec.shortcut(), passing, shares)
        total = self.spec.out_channels
        width = min(passing.shape[1], len(shares.passing))
        kept = passing[:, :width] * shares.passing[:width, None, None]
        given = hidden * shares.leaving[self.least :, None, None]
        padded = F.pad(kept, (0, 0, 0, 0, 0, total - width))
        return padded + F.pad(given, (0, 0, 0, 0, self.least, 0))

    def _weighted(self, convs: nn.ModuleList, steps: Sequence[UnitStep], x: Tensor, shares: Shares) -> Tensor:
        for index, (conv, step) in enumerate(zip(convs, steps, strict=True)):
            if index and not step.depthwise:
                share = shares.entering if step.source == "in" else shares.middle
                x = x * share[:, None, None]
            sliced = cast(SlicedConv, conv)
            x = sliced(x, slice(0, sliced.conv.out_channels))
        return x

    def copy_to(self, target: ShuffleUnit, spec: ShuffleUnitSpec) -> None:
        """Copy the slices of one path into the plain unit built for it."""
        pairs = [
            *zip(self.branch, target.branch, spec.branch(), strict=True),
            *zip(self.shortcut, target.shortcut, spec.shortcut(), strict=True),
        ]
        for source, conv, step in pairs:
            cast(SlicedConv, source).copy_to(cast(ConvNormActivation, conv), self._rows(spec, step))


class SlicedSupernet(MixableSupernet):
    """The supernet of `ShuffleNetChannelsSpace`: a path computes only the channels it chose.

    Where channels are searched inside blocks, all else has one width, and the last convolution is every path's.

    Source: SPOS §3.4: weights are allocated for the most channels, and a path uses the first rows and columns.
    """

    space: ShuffleNetChannelsSpace

    def __init__(self, space: ShuffleNetChannelsSpace) -> None:
        super().__init__()
        self.space = space
        self._add_ends()
        incoming = least = space.settings.stem_width
        self.layers = nn.ModuleList()
        for layer, (blocks, widths) in enumerate(zip(space.blocks, space.widths, strict=True)):
            narrow = space.unit(layer, 0, least, min(widths))
            wide = [space.unit(layer, block, incoming, max(widths)) for block in range(len(blocks))]
            self.layers.append(nn.ModuleList(SlicedUnit(spec, narrow.width("pass")) for spec in wide))
            incoming, least = wide[0].out_channels, narrow.out_channels
        initialise(self.layers)
        self.head = None if space.inside else self._sliced_head()

    def _sliced_head(self) -> SlicedConv:
        """The last convolution, where a decision says how many channels it is given."""
        spec = cast(ConvSpec, self.space.block_specs(self.space.widest())[self._last - 1])
        head = SlicedConv(nn.Conv2d(spec.in_channels, spec.out_channels, spec.kernel, bias=False), spec.activation)
        initialise(head)
        return head

    def _steps(self, encoding: PathEncoding) -> list[Step]:
        steps, incoming = [], self.space.settings.stem_width
        for layer, operations in enumerate(encoding.operations):
            block, width = self.space.read(layer, operations)
            unit, spec = self._unit(layer, block), self.space.unit(layer, block, incoming, width)
            steps.append(Step((block, width), unit, partial(unit, spec=spec)))
            incoming = spec.out_channels
        return steps if self.head is None else [*steps, Step("head", self.head, partial(self.head, rows=slice(None)))]

    def _mixed(self, x: Tensor, probabilities: Tensor) -> Tensor:
        inside, here = self.space.inside, probabilities.new_ones(x.shape[1])  # the stem's channels are always there
        for layer, row in enumerate(probabilities):
            joint = self._joint(layer, row)
            outputs = []
            for block, share in enumerate(joint):
                unit = self._unit(layer, block)
                if self.training and not share.any():
                    continue
                # Of what is searched inside, the first channel is there whenever the block is, as all outputs are.
                middle, given = (share, share[:1].expand(unit.spec.out_channels)) if inside else (share[0::2], share)
                outputs.append(unit.mixture(x, _shares(unit.spec, here, middle, given)))
            x = torch.stack(outputs).sum(0)
            here = probabilities.new_ones(x.shape[1]) if inside else joint.sum(0)
        return x if self.head is None else cast(Tensor, self.head(x, slice(None)))

    def _joint(self, layer: int, row: Tensor) -> Tensor:
        """Probability `[blocks, channels]` that a layer uses each block and has each of the channels searched."""
        decision = self.space.decisions[layer]
        widths, blocks = self.space.widths[layer], self.space.blocks[layer]
        present = row.new_zeros(len(decision.choices), len(blocks), max(widths))
        for choice, operations in enumerate(decision.choices):
            block, width = self.space.read(layer, operations)
            present[choice, block, :width] = 1.0
        with in_full(row):
            return torch.einsum("c,cbw->bw", row[: len(decision.choices)], present)

    def _copy_path(self, blocks: list[nn.Module], encoding: PathEncoding) -> None:
        incoming = self.space.settings.stem_width
        for layer, (operations, target) in enumerate(zip(encoding.operations, blocks, strict=False)):
            block, width = self.space.read(layer, operations)
            spec = self.space.unit(layer, block, incoming, width)
            self._unit(layer, block).copy_to(cast(ShuffleUnit, target), spec)
            incoming = spec.out_channels
        if self.head is not None:
            self.head.copy_to(cast(ConvNormActivation, blocks[-1]), slice(None))

    def _unit(self, layer: int, block: int) -> SlicedUnit:
        return cast(SlicedUnit, cast(nn.ModuleList, self.layers[layer])[block])


def _shares(spec: ShuffleUnitSpec, before: Tensor, middle: Tensor, given: Tensor) -> Shares:
    """The shares of a unit from those of the channels before it and, with its own probability, inside and after it."""
    entering = before if spec.stride > 1 else before[0::2]
    # Channel j is among those that may pass by when the output has more than 2 j.
    half = given[0::2]
    certain = half[0].clamp_min(torch.finfo(half.dtype).tiny)
    width = min(len(entering), len(half))
    passing = entering[:width] * half[:width]
    leaving = torch.cat([given[:width] - passing, given[width:]])
    return Shares(entering, middle / certain, passing, leaving)
