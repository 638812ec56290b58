"""What is counted of a block: multiply-adds, parameters, bit operations."""

from __future__ import annotations

from anybudget.spaces import BlockSpec, ClassifierSpec


def macs(spec: BlockSpec) -> int:
    """Multiply-adds of convolutions and the classifier, per image; norms and activations are not counted."""
    return sum(convolution.macs for convolution in spec.convolutions())


def conv_macs(spec: BlockSpec) -> int:
    """Multiply-adds of every convolution, those of squeeze-and-excitation included; the papers' count, per image."""
    return 0 if isinstance(spec, ClassifierSpec) else macs(spec)


def params(spec: BlockSpec) -> int:
    """Learned parameters: weights, biases, scale and shift of every norm, steps of quantisers."""
    return sum(convolution.params for convolution in spec.convolutions()) + spec.extra_params


def bitops(spec: BlockSpec) -> int:
    """Multiply-adds of every convolution times the bits of its weights times those of its input; 32 for floats."""
    if isinstance(spec, ClassifierSpec):
        return 0
    return sum(c.macs * c.weight_bits * c.activation_bits for c in spec.convolutions())
