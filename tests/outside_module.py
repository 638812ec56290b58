"""What somebody adds from outside the package: classes that are registered when this module is imported."""

from __future__ import annotations

from anybudget.spaces import SPACES, ChoiceBlockSpace, Settings
from anybudget.spaces.blocks import Branch, ClassifierSpec, ConvSpec, InvertedBottleneckSpec
from anybudget.spaces.settings import Count


class TwinSettings(Settings):
    """Images of 8 pixels in three classes, by default."""

    input_size: int = 8
    input_channels: int = 1
    classes: int = 3
    layers: Count = 2


@SPACES.register
class TwinSpace(ChoiceBlockSpace):
    """Layers of two inverted bottlenecks, of kernel 3 and 5."""

    name = "twin"
    settings_type = TwinSettings

    def __init__(self, settings: TwinSettings) -> None:
        self.settings = settings
        blocks = [InvertedBottleneckSpec(4, 4, 1, 8, (Branch(kernel, 8),), "relu") for kernel in (3, 5)]
        stem = ConvSpec(settings.input_channels, 4, 3, 1, settings.input_size, "relu")
        self._lay_out([stem], [blocks] * settings.layers, [ClassifierSpec(4, settings.classes)], ["k3", "k5"])
