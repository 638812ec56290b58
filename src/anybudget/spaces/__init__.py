"""Torch-free search spaces: what can be chosen, and what each choice builds."""

from anybudget.registry import Registry
from anybudget.spaces.base import Decision, Factor, PathEncoding, SearchSpace
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
from anybudget.spaces.nas_bench_201 import NASBench201Settings, NASBench201Space
from anybudget.spaces.resnet_bits import ResNetBitsSettings, ResNetBitsSpace
from anybudget.spaces.settings import Settings, Stage, stages
from anybudget.spaces.shufflenet import ShuffleNetSettings, ShuffleNetSpace
from anybudget.spaces.shufflenet_channels import ShuffleNetChannelsSettings, ShuffleNetChannelsSpace
from anybudget.spaces.unified import UnifiedSettings, UnifiedSpace

SPACES: Registry[type[SearchSpace]] = Registry(
    "search space",
    "anybudget.spaces",
    {
        "unified": "anybudget.spaces.unified:UnifiedSpace",
        "mbconv": "anybudget.spaces.mbconv:MBConvSpace",
        "mbconv-se": "anybudget.spaces.mbconv_se:MBConvSESpace",
        "shufflenet": "anybudget.spaces.shufflenet:ShuffleNetSpace",
        "shufflenet-channels": "anybudget.spaces.shufflenet_channels:ShuffleNetChannelsSpace",
        "resnet-bits": "anybudget.spaces.resnet_bits:ResNetBitsSpace",
        "nas-bench-201": "anybudget.spaces.nas_bench_201:NASBench201Space",
        "nas-bench-macro": "anybudget.spaces.nas_bench_macro:NASBenchMacroSpace",
        "fbnet": "anybudget.spaces.fbnet:FBNetSpace",
    },
)
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
    "MBConvSettings",
    "MBConvSpace",
    "NASBench201Settings",
    "NASBench201Space",
    "PathEncoding",
    "ResNetBitsSettings",
    "ResNetBitsSpace",
    "SearchSpace",
    "Settings",
    "ShuffleNetChannelsSettings",
    "ShuffleNetChannelsSpace",
    "ShuffleNetSettings",
    "ShuffleNetSpace",
    "SkipSpec",
    "Stage",
    "UnifiedSettings",
    "UnifiedSpace",
    "derive",
    "stages",
]
