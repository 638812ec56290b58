"""Torch-free search spaces: what can be chosen, and what each choice builds."""

from anybudget.spaces.base import Decision, SearchSpace, Spelling
from anybudget.spaces.blocks import BlockSpec, Branch, ClassifierSpec, ConvSpec, InvertedBottleneckSpec
from anybudget.spaces.unified import Macro, Stage, UnifiedSpace

__all__ = [
    "BlockSpec",
    "Branch",
    "ClassifierSpec",
    "ConvSpec",
    "Decision",
    "InvertedBottleneckSpec",
    "Macro",
    "SearchSpace",
    "Spelling",
    "Stage",
    "UnifiedSpace",
]
