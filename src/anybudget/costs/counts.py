"""Owns the closed formulas for multiply-adds and parameters of a block."""

from __future__ import annotations

from anybudget.spaces import BlockSpec, ClassifierSpec, ConvSpec, InvertedBottleneckSpec


def conv_macs(spec: BlockSpec) -> int:
    """Multiply-adds of every convolution, those of squeeze-and-excitation included; the papers' count, per image."""
    match spec:
        case ConvSpec():
            return spec.in_channels * spec.out_channels * spec.kernel**2 * spec.out_resolution**2
        case InvertedBottleneckSpec():
            expanded = spec.expanded_channels
            expand = spec.in_channels * expanded * spec.resolution**2 if spec.expand else 0
            per_pixel = (
                sum(branch.channels * branch.kernel**2 for branch in spec.branches) + expanded * spec.out_channels
            )
            return expand + per_pixel * spec.out_resolution**2 + 2 * expanded * spec.se_channels
        case ClassifierSpec():
            return 0


def macs(spec: BlockSpec) -> int:
    """Multiply-adds of convolutions and the classifier, per image; norms and activations are not counted."""
    return spec.in_features * spec.classes if isinstance(spec, ClassifierSpec) else conv_macs(spec)


def params(spec: BlockSpec) -> int:
    """Learned parameters: weights, biases, and scale and shift of every batch norm."""
    match spec:
        case ConvSpec():
            return spec.in_channels * spec.out_channels * spec.kernel**2 + 2 * spec.out_channels
        case InvertedBottleneckSpec():
            expanded = spec.expanded_channels
            expand = spec.in_channels * expanded + 2 * expanded if spec.expand else 0
            depthwise = sum(branch.channels * branch.kernel**2 for branch in spec.branches) + 2 * expanded
            se = 2 * expanded * spec.se_channels + spec.se_channels + expanded if spec.se_channels else 0
            return expand + depthwise + se + expanded * spec.out_channels + 2 * spec.out_channels
        case ClassifierSpec():
            return (spec.in_features + 1) * spec.classes
