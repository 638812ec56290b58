"""Published networks that are architectures of a registered search space, as operations layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from anybudget.architecture import Architecture
from anybudget.spaces import SPACES, BlockSpec, PathEncoding, SearchSpace, derive, stages
from anybudget.spaces.blocks import ActivationName
from anybudget.zoo.network import Images

SGNAS_STAGES = stages((32, 2, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))

PROXYLESS_STAGES = stages((32, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))

# The kernel size of every sub-block of the 19 layers.
SGNAS_A = "333577 3337 335 35777 3357 55577 33777 33337 35577 3557 3557 3777 3357 3577 3337 33337 3377 777 33377"
SGNAS_B = "3557 355 355 35555 33555 35555 35577 3557 5557 3555 55 555 355 3357 3337 3777 5577 355 33377"
SGNAS_C = "3555 355 355 355 3555 355 3557 355 555 3555 55 555 355 555 333 57 3577 37 33337"

SHUFFLE_UNITS = ("3x3", "5x5", "7x7", "xception")

SPOS_BLOCKS = "2 1 0 1 2 0 2 0 2 0 2 3 0 0 0 0 3 2 3 3"
"""The choice blocks of the released network: 0, 1, 2 are kernels 3, 5, 7, and 3 is the Xception-like one."""

SPOS_CHANNELS = "0:6 0:5 3:3 1:5 1:2 1:6 0:3 0:4 2:2 0:5 2:7 1:5 1:4 0:6 2:7 0:4 2:4 1:5 3:4 2:3"
"""Of the released network with searched channels: the choice block of every layer, and the ratio inside, 0.2 to 1.6."""

# A layer of FBNet is its kernel size, expansion and g for two groups; of ProxylessNAS its kernel size and expansion.
FBNET_A = "- 33 31 - - 56 33 51 33 56 53 51g 56 36 51g 53 31g 56 56 53 56 56"
FBNET_B = "31 36 51 31 31 56 53 36 56 56 56 - 53 56 31 51 53 56 51 56 56 36"
FBNET_C = "31 36 - 31 31 56 53 56 36 56 53 56 56 56 56 56 53 56 56 56 56 36"
PROXYLESS_R = "53 33 - - 73 33 53 53 76 53 53 53 56 53 53 53 76 76 73 73 76"


@dataclass(frozen=True, slots=True)
class InSpace:
    """An architecture of a registered space: the operations of every layer's slots, and what was added to it.

    `settings` are those of the space that differ from its own, without the images; `layers` the operations of every
    slot, layer by layer, slots that are left out at the end being `skip`; `activation` and `se_reduction` are what
    `derive` takes.
    """

    space_name: str
    layers: tuple[tuple[str, ...], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    activation: ActivationName | None = None
    se_reduction: int = 0

    def found(self, images: Images) -> tuple[SearchSpace, Architecture]:
        """The space for these images, and the architecture in its canonical form."""
        kind = SPACES[self.space_name]
        shape = {"input_size": images.size, "input_channels": images.channels, "classes": images.classes}
        space = kind(kind.settings_type.model_validate({**self.settings, **shape}))
        encoded = tuple(
            tuple(decision.operations.index(name) for name in (*layer, *["skip"] * (decision.slots - len(layer))))
            for decision, layer in zip(space.decisions, self.layers, strict=True)
        )
        return space, space.canonical(PathEncoding(space.name, encoded))

    def specs(self, images: Images) -> tuple[BlockSpec, ...]:
        """The blocks, with what was added."""
        space, architecture = self.found(images)
        return derive(space.block_specs(architecture), activation=self.activation, se_reduction=self.se_reduction)


def sgnas(kernels: str) -> InSpace:
    """A network of SGNAS's unified space, with the h-swish and squeeze-and-excitation that were added to it.

    Source: SGNAS supplement, Table 6, and the authors' released networks; §4.2.2 for what was added.
    """
    settings = {"stem_width": 32, "first_width": 16, "stages": SGNAS_STAGES, "head_width": 1280}
    layers = tuple(tuple(f"{kernel}x{kernel}" for kernel in layer) for layer in kernels.split())
    return InSpace("unified", layers, settings, activation="hard_swish", se_reduction=4)


def spos() -> InSpace:
    """The network that SPOS's block search found and its authors released."""
    return InSpace("shufflenet", tuple((SHUFFLE_UNITS[int(block)],) for block in SPOS_BLOCKS.split()))


def spos_channels() -> InSpace:
    """The network whose blocks and channels inside them SPOS's authors searched and released.

    Source: its definition in megvii-model/ShuffleNet-Series, OneShot.
    """
    pairs = (layer.split(":") for layer in SPOS_CHANNELS.split())
    layers = tuple((SHUFFLE_UNITS[int(block)], f"{(int(ratio) + 1) / 5:g}x") for block, ratio in pairs)
    return InSpace("shufflenet-channels", layers, {"channels": "inside"})


def fbnet(layers: str, head_width: int) -> InSpace:
    """A network of FBNet's space.

    Source: FBNet Fig. 4, in the words of its authors' model definitions (facebookresearch/mobile-vision).
    """
    return InSpace("fbnet", inverted_bottlenecks(layers), {"head_width": head_width})


def proxyless(layers: str) -> InSpace:
    """A network of ProxylessNAS's space, GreedyNAS's but for the width of the first stage.

    Source: the operators in the latency log of the authors' released network (mit-han-lab/proxylessnas).
    """
    return InSpace("mbconv", inverted_bottlenecks(layers), {"stages": PROXYLESS_STAGES})


def mobilenet_v2(width: float = 1.0) -> InSpace:
    """MobileNetV2 times a width: widths are multiples of 8, the last one never shrinks; a space of one operation.

    Source: Sandler et al. 2018, Table 2 and §5 (width multiplier).
    """
    rows = ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
    settings = {
        "stem_width": multiple_of_8(32 * width),
        "first_width": multiple_of_8(16 * width),
        "stages": stages(*((multiple_of_8(width * channels), repeats, stride) for channels, repeats, stride in rows)),
        "head_width": multiple_of_8(1280 * max(1.0, width)),
        "operations": (MOBILENETV2_OPERATION,),
    }
    return InSpace("mbconv", ((MOBILENETV2_OPERATION,),) * sum(repeats for _, repeats, _ in rows), settings)


MOBILENETV2_OPERATION = "k3_e6"
"""MobileNetV2's inverted bottleneck: kernel 3, expansion 6."""


def inverted_bottlenecks(layers: str) -> tuple[tuple[str, ...], ...]:
    """Layers in short, such as `53 31g -`, as the space `mbconv` calls their operations.

    Example:
        >>> inverted_bottlenecks("53 31g -")
        (('k5_e3',), ('k3_e1_g2',), ('skip',))
    """
    return tuple(
        ("skip",) if short == "-" else (f"k{short[0]}_e{short[1]}{'_g2' if short[2:] else ''}",)
        for short in layers.split()
    )


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below; at least 8."""
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found
