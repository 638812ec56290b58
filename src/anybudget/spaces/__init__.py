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
from anybudget.spaces.settings import Settings, Stage, stages
from anybudget.spaces.unified import UnifiedSettings, UnifiedSpace

SPACES: dict[str, type[SearchSpace]] = {
    space.name: space
    for space in (
        UnifiedSpace,
        MBConvSpace,
        MBConvSESpace,
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
    "SearchSpace",
    "Settings",
    "SkipSpec",
    "Spelling",
    "Stage",
    "UnifiedSettings",
    "UnifiedSpace",
    "derive",
    "stages",
]
