"""The NAS-Bench-Macro space: eight layers of two inverted bottlenecks and an identity, on CIFAR-10."""

from __future__ import annotations

from typing import Literal

from anybudget.spaces.blocks import ActivationName
from anybudget.spaces.mbconv import MBConvSettings, MBConvSpace
from anybudget.spaces.settings import Channels, ChannelsOrNone, Classes, Pixels, Some, Stage, stages


class NASBenchMacroSettings(MBConvSettings):
    """`MBConvSettings` with the benchmark's macro-architecture and operations."""

    input_size: Pixels = 32
    classes: Classes = 10
    stem_stride: Literal[1, 2] = 1
    stem_width: Channels = 32
    first_width: ChannelsOrNone = 0
    stages: Some[Stage] = stages((64, 2, 2), (128, 3, 2), (256, 3, 2))
    activation: ActivationName = "relu"
    operations: Some[str] = ("skip", "k3_e3", "k5_e6")


class NASBenchMacroSpace(MBConvSpace):
    """8 layers of 3 operations; the choice index of a layer is its digit in the benchmark's keys.

    Source: Su et al. 2021, "Prioritized Architecture Sampling with Monto-Carlo Tree Search", NAS-Bench-Macro.
    """

    name = "nas-bench-macro"
    settings_type = NASBenchMacroSettings
