"""The spaces that tests of several files search: tiny ones, and SGNAS's own."""

from __future__ import annotations

from anybudget.spaces import (
    MBConvSettings,
    MBConvSpace,
    ShuffleNetChannelsSettings,
    ShuffleNetChannelsSpace,
    UnifiedSettings,
    stages,
)

SGNAS_STAGES = stages((32, 2, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))


def sgnas_settings(**changes: object) -> UnifiedSettings:
    """SGNAS's own macro-architecture (supplement, Table 6)."""
    values: dict[str, object] = {
        "input_size": 224,
        "input_channels": 3,
        "classes": 1000,
        "stem_width": 32,
        "first_width": 16,
        "stages": SGNAS_STAGES,
        "head_width": 1280,
    }
    return UnifiedSettings(**{**values, **changes})  # type: ignore[arg-type]


def tiny_macro(**changes: object) -> UnifiedSettings:
    """Three layers, with and without residual and stride, on 8x8 images."""
    values: dict[str, object] = {
        "input_size": 8,
        "input_channels": 1,
        "classes": 3,
        "stem_width": 4,
        "stem_stride": 1,
        "first_width": 4,
        "stages": stages((4, 2, 1), (6, 1, 2)),
        "head_width": 8,
    }
    return UnifiedSettings(**{**values, **changes})  # type: ignore[arg-type]


def small_mbconv(layers: int = 4, *operations: str) -> MBConvSpace:
    """Layers of one shape behind one that changes it; by default 45 networks in 81 encodings."""
    return MBConvSpace(
        MBConvSettings(
            input_size=8,
            input_channels=1,
            classes=3,
            stem_width=4,
            first_width=0,
            stages=stages((4, layers, 2)),
            head_width=8,
            operations=operations or ("skip", "k3_e3", "k5_e6"),
        )
    )


def small_channels() -> ShuffleNetChannelsSpace:
    """216 networks whose costs have a term for every two neighbours."""
    return ShuffleNetChannelsSpace(
        ShuffleNetChannelsSettings(
            input_size=8,
            input_channels=1,
            classes=3,
            stem_width=4,
            stages=stages((8, 2, 1), (12, 1, 2)),
            head_width=8,
            ratios=(0.5, 1.0, 1.5),
            operations=("3x3", "xception"),
        )
    )
