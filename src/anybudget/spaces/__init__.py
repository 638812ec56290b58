"""Torch-free search spaces: what can be chosen, and what each choice builds."""

from anybudget.spaces.base import Decision, Factor, SearchSpace, Spelling
from anybudget.spaces.blocks import (
    BlockSpec,
    Branch,
    ClassifierSpec,
    Convolution,
    ConvSpec,
    InvertedBottleneckSpec,
    SkipSpec,
    derive,
)
from anybudget.spaces.choice_blocks import ChoiceBlockSpace
from anybudget.spaces.mbconv import MBConvSettings, MBConvSpace
from anybudget.spaces.mbconv_se import MBConvSESettings, MBConvSESpace
from anybudget.spaces.nas_bench_201 import NASBench201Settings, NASBench201Space
from anybudget.spaces.nas_bench_macro import NASBenchMacroSpace
from anybudget.spaces.resnet_bits import ResNetBitsSettings, ResNetBitsSpace
from anybudget.spaces.settings import Settings, Stage, stages
from anybudget.spaces.shufflenet import ShuffleNetSettings, ShuffleNetSpace
from anybudget.spaces.shufflenet_channels import ShuffleNetChannelsSettings, ShuffleNetChannelsSpace
from anybudget.spaces.unified import UnifiedSettings, UnifiedSpace

SPACES: dict[str, type[SearchSpace]] = {
    space.name: space
    for space in (
        UnifiedSpace,
        MBConvSpace,
        MBConvSESpace,
        ShuffleNetSpace,
        ShuffleNetChannelsSpace,
        ResNetBitsSpace,
        NASBench201Space,
        NASBenchMacroSpace,
    )
}
"""Every registered search space by the name that recipes use."""

__all__ = [
    "SPACES",
    "BlockSpec",
    "Branch",
    "ChoiceBlockSpace",
    "ClassifierSpec",
    "ConvSpec",
    "Convolution",
    "Decision",
    "Factor",
    "InvertedBottleneckSpec",
    "MBConvSESettings",
    "MBConvSESpace",
    "MBConvSettings",
    "MBConvSpace",
    "NASBench201Settings",
    "NASBench201Space",
    "NASBenchMacroSpace",
    "ResNetBitsSettings",
    "ResNetBitsSpace",
    "SearchSpace",
    "Settings",
    "ShuffleNetChannelsSettings",
    "ShuffleNetChannelsSpace",
    "ShuffleNetSettings",
    "ShuffleNetSpace",
    "SkipSpec",
    "Spelling",
    "Stage",
    "UnifiedSettings",
    "UnifiedSpace",
    "derive",
    "stages",
]
