"""The FBNet space: 22 layers of nine operations, with grouped pointwise convolutions among them."""

from __future__ import annotations

from anybudget.spaces.blocks import ActivationName
from anybudget.spaces.mbconv import MBConvSettings, MBConvSpace
from anybudget.spaces.settings import Channels, ChannelsOrNone, Some, Stage, stages

FBNET_STAGES = stages((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))


class FBNetSettings(MBConvSettings):
    """`MBConvSettings` with FBNet's macro-architecture and operations, in the order of its latency tables."""

    stem_width: Channels = 16
    first_width: ChannelsOrNone = 0
    stages: Some[Stage] = FBNET_STAGES
    head_width: ChannelsOrNone = 1504
    activation: ActivationName = "relu"
    operations: Some[str] = (
        "k3_e1",
        "k3_e1_g2",
        "k3_e3",
        "k3_e6",
        "k5_e1",
        "k5_e1_g2",
        "k5_e3",
        "k5_e6",
        "skip",
    )


class FBNetSpace(MBConvSpace):
    """22 layers of 9 operations, which SPOS searches in its Table 5.

    Source: Wu et al. 2019 (FBNet), Tables 1 and 2.
    """

    name = "fbnet"
    settings_type = FBNetSettings
