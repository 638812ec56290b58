"""Which operations contain a smaller one: blocks that can start as the smaller one and compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anybudget.spaces.blocks import BlockSpec, InvertedBottleneckSpec


def contains(large: BlockSpec, small: BlockSpec) -> bool:
    """Whether zeros around the kernel and copies of the channels of `small` give `large`, another block.

    Both have to be inverted bottlenecks of one kernel size that differ in nothing but kernel, expanded channels and
    the width of squeeze-and-excitation. Grouped convolutions shuffle channels, so these cannot be copied.
    """
    if not (isinstance(large, InvertedBottleneckSpec) and isinstance(small, InvertedBottleneckSpec)):
        return False
    if large == small or len(large.branches) != 1 or len(small.branches) != 1:
        return False
    (outer,), (inner,) = large.branches, small.branches
    wider = outer.channels - inner.channels
    if outer.kernel < inner.kernel or wider < 0 or large.se_channels < small.se_channels:
        return False
    if bool(large.se_channels) != bool(small.se_channels) or (wider and (small.groups > 1 or not small.expand)):
        return False
    return replace(large, branches=small.branches, se_channels=small.se_channels) == small


def origins(operations: Sequence[BlockSpec]) -> tuple[int, ...]:
    """For each operation of a layer the smallest one that it contains, by index; itself where it contains none.

    Of several that contain no other, the one with the most weights.

    Args:
        operations: what each of them builds.

    Example:
        >>> from anybudget.spaces.nas_bench_macro import NASBenchMacroSettings, NASBenchMacroSpace
        >>> origins(NASBenchMacroSpace(NASBenchMacroSettings()).layers[0])  # skip, k3_e3, k5_e6
        (0, 1, 1)
    """
    smallest = [
        index for index, spec in enumerate(operations) if not any(contains(spec, other) for other in operations)
    ]
    found = []
    for index, spec in enumerate(operations):
        within = [other for other in smallest if contains(spec, operations[other])]
        found.append(max(within, key=lambda other: _weights(operations[other]), default=index))
    return tuple(found)


def _weights(spec: BlockSpec) -> int:
    return sum(convolution.weights for convolution in spec.convolutions())
