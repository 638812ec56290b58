"""Inverted bottlenecks whose pointwise convolutions are split into groups and not shuffled."""

from __future__ import annotations

from dataclasses import dataclass

from anybudget.errors import ConfigError
from anybudget.spaces.blocks import BottleneckSpec, Convolution, GateName, gated, strided
from anybudget.spaces.flow import Flow


@dataclass(frozen=True, slots=True)
class SplitBottleneckSpec(BottleneckSpec):
    """An inverted bottleneck of several depthwise kernel sizes with split pointwise convolutions (MixNet).

    `branches` partitions the expanded channels, in their order, by kernel size, whatever the groups are: a branch may
    have channels of both. For the other fields see `InvertedBottleneckSpec`.

    Source: Tan and Le 2019, MixConv, whose networks split 1x1 convolutions as they split depthwise ones.
    """

    expand_groups: int = 1
    project_groups: int = 1
    se_channels: int = 0
    se_gate: GateName = "hard_sigmoid"

    def __post_init__(self) -> None:
        for groups, widths in (
            (self.expand_groups, (self.in_channels, self.expanded_channels)),
            (self.project_groups, (self.expanded_channels, self.out_channels)),
        ):
            if any(width % groups for width in widths):
                raise ConfigError(
                    f"a pointwise convolution of {groups} groups needs channels divisible by it, not {widths}"
                )

    def convolutions(self) -> tuple[Convolution, ...]:
        """Expansion, one depthwise convolution per branch, squeeze-and-excitation, projection."""
        expanded, size, after = self.expanded_channels, self.resolution, strided(self.resolution, self.stride)
        depthwise = [
            Convolution(branch.channels, branch.channels, branch.kernel, self.stride, size, groups=branch.channels)
            for branch in self.branches
        ]
        gates = [
            Convolution(expanded, self.se_channels, norm=False, bias=True),
            Convolution(self.se_channels, expanded, norm=False, bias=True),
        ]
        return (
            Convolution(self.in_channels, expanded, resolution=size, groups=self.expand_groups),
            *depthwise,
            *(gates if self.se_channels else ()),
            Convolution(expanded, self.out_channels, resolution=after, groups=self.project_groups),
        )

    def flow(self) -> Flow:
        """The expansion, a convolution of each part of it, gates, these joined, the projection, and the input added."""
        before, after = self.resolution**2, strided(self.resolution, self.stride) ** 2
        flow, widths = Flow(self.in_channels * before), [branch.channels for branch in self.branches]
        expanded = flow.make(sum(widths) * before, 0)
        hidden = [flow.make(width * after, expanded) for width in widths]
        if self.se_channels:
            hidden = gated(flow, hidden, widths, self.se_channels)
        out = flow.make(self.out_channels * after, flow.make(sum(widths) * after, *hidden))
        if self.residual:
            flow.add(out, 0)
        return flow
