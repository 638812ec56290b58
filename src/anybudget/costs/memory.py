"""Memory: activations alive at once while a network runs, and the file that it is exported to."""

from __future__ import annotations

from anybudget.costs.counted import BlockCost
from anybudget.spaces import BlockSpec
from anybudget.spaces.blocks import Convolution

BYTES = 4
"""Of a number in single precision."""

HEADER_BYTES = 700
"""Of an ONNX file besides its layers: versions, names of input and output."""

LAYER_BYTES = 320
"""Of a convolution or linear layer in an ONNX file besides its numbers: names and attributes, its activation's too."""


class PeakMemory(BlockCost):
    """Bytes of activations alive at once, for one image in single precision; the greatest of all blocks.

    Norms are folded and activations computed in place, as runtimes do. A network is a chain of blocks, and what is
    alive in a block is told by its `flow`. Weights, and what a convolution needs while it computes, come on top.

    Source: Lin et al. 2020 (MCUNet) §3 on peak activations as the limit of microcontrollers.
    """

    name, unit, title = "peak_memory_bytes", "bytes", "peak memory of activations (bytes)"
    shown = False
    combine = "max"

    @staticmethod
    def formula(spec: BlockSpec) -> int:
        """See `BlockCost.formula`."""
        return BYTES * spec.flow().peak()


class FileSize(BlockCost):
    """Bytes of the exported ONNX file, to within 10 kB: its numbers in single precision, and names and attributes.

    Norms are folded: a convolution with one has a bias. A norm that no convolution precedes keeps four numbers for each
    channel.
    """

    name, unit, title = "file_bytes", "bytes", "size of the exported file (bytes)"
    shown = False
    header = HEADER_BYTES

    @staticmethod
    def formula(spec: BlockSpec) -> int:
        """See `BlockCost.formula`."""
        layers = spec.convolutions()
        return sum(map(_file_bytes, layers)) + BYTES * 2 * spec.extra_params


def _file_bytes(layer: Convolution) -> int:
    biases = layer.out_channels if layer.norm or layer.bias else 0
    return BYTES * (layer.weights + biases) + LAYER_BYTES
