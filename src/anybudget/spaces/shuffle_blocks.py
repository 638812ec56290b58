"""The description of ShuffleNetV2 units, with input and output widths of any proportion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anybudget.spaces.blocks import ActivationName, BlockSpec, Convolution, strided
from anybudget.spaces.flow import Flow

Width = Literal["in", "mid", "pass", "out"]


@dataclass(frozen=True, slots=True)
class UnitStep:
    """One convolution of a unit: depthwise where `depthwise`, else pointwise; all have a norm.

    `source` and `target` say which of the unit's widths its input and output have.
    """

    source: Width
    target: Width
    kernel: int = 1
    stride: int = 1
    activated: bool = False
    depthwise: bool = False


@dataclass(frozen=True, slots=True)
class ShuffleUnitSpec(BlockSpec):
    """A ShuffleNetV2 unit: part of the channels pass by, the others go through a branch, both are concatenated.

    With stride 1 the even channels pass and the odd ones enter the branch, which is the channel shuffle of the unit
    before; with stride 2 all channels enter both, and the passing ones through a depthwise and a pointwise
    convolution. As many pass as there are, but at most half of the output; the branch fills the rest. `mid_channels`
    are those inside the branch, half of the output in ShuffleNetV2. `kernel` is that of the depthwise convolutions;
    `separable` is how many of them the branch has: 1 in ShuffleNetV2's own unit, 3 in the Xception-like one.

    Source: SPOS §4.1 and its Figure on choice blocks; ShuffleNetV2 where both widths are equal.
    """

    in_channels: int
    mid_channels: int
    out_channels: int
    stride: int
    resolution: int
    kernel: int
    separable: int
    activation: ActivationName

    def width(self, which: Width) -> int:
        """Channels at one place of the unit: entering the branch, inside it, passing by, or leaving it."""
        passing = self.in_channels if self.stride > 1 else self.in_channels // 2
        match which:
            case "in":
                return passing
            case "mid":
                return self.mid_channels
            case "pass":
                return min(passing, self.out_channels // 2)
            case "out":
                return self.out_channels - min(passing, self.out_channels // 2)

    def branch(self) -> tuple[UnitStep, ...]:
        """The convolutions of the branch, in order."""
        kernel, stride = self.kernel, self.stride
        if self.separable == 1:
            return (
                UnitStep("in", "mid", activated=True),
                UnitStep("mid", "mid", kernel, stride, depthwise=True),
                UnitStep("mid", "out", activated=True),
            )
        widths: list[Width] = ["in", *["mid"] * (self.separable - 1), "out"]  # type: ignore[list-item]
        steps: list[UnitStep] = []
        for index in range(self.separable):
            before, after = widths[index], widths[index + 1]
            steps.append(UnitStep(before, before, kernel, stride if index == 0 else 1, depthwise=True))
            steps.append(UnitStep(before, after, activated=True))
        return tuple(steps)

    def shortcut(self) -> tuple[UnitStep, ...]:
        """The convolutions that passing channels go through; none with stride 1."""
        if self.stride == 1:
            return ()
        return (
            UnitStep("in", "in", self.kernel, self.stride, depthwise=True),
            UnitStep("in", "pass", activated=True),
        )

    def convolutions(self) -> tuple[Convolution, ...]:
        """Those of the shortcut and of the branch."""
        return (*self._convolutions(self.shortcut()), *self._convolutions(self.branch()))

    def flow(self) -> Flow:
        """Those that pass, through their convolutions where they have any, then the branch, then both joined."""
        flow = Flow(self.in_channels * self.resolution**2)
        passing = self._chain(flow, self.shortcut()) if self.shortcut() else 0
        branch = self._chain(flow, self.branch())
        flow.make(self.out_channels * strided(self.resolution, self.stride) ** 2, passing, branch)
        return flow

    def _chain(self, flow: Flow, steps: tuple[UnitStep, ...]) -> int:
        value = 0
        for convolution in self._convolutions(steps):
            value = flow.make(convolution.values_out, value)
        return value

    def _convolutions(self, steps: tuple[UnitStep, ...]) -> list[Convolution]:
        found, resolution = [], self.resolution
        for step in steps:
            source, target = self.width(step.source), self.width(step.target)
            groups = source if step.depthwise else 1
            found.append(Convolution(source, target, step.kernel, step.stride, resolution, groups))
            resolution = strided(resolution, step.stride)
        return found
