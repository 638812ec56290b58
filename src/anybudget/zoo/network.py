"""`ZooNetwork`: a published network as plain data, its published figures, and what is counted on it here."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal, Protocol

from anybudget.architecture import Architecture
from anybudget.costs.counts import conv_macs, macs, params
from anybudget.errors import ConfigError
from anybudget.spaces import BlockSpec, SearchSpace

Counting = Literal["macs", "conv_macs"]
"""How a paper counts multiply-adds: with the classifier, or convolutions only."""

_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, slots=True)
class Images:
    """What a network is built for: `channels` and `size` in pixels of an image, and how many `classes` there are."""

    channels: int = 3
    size: int = 224
    classes: int = 1000


IMAGENET = Images()

SMALLEST = 4
"""Pixels of the smallest images that any network is built for."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a paper says of a network on ImageNet: figures as they are printed, such as `373M`, and where.

    `macs` are multiply-adds, which papers call FLOPs; `counting` says whether with the classifier. `top1_percent` is of
    the validation images. A figure is None where nobody has published it.
    """

    macs: str | None
    params: str | None
    top1_percent: float | None
    source: str
    counting: Counting = "macs"


class Layout(Protocol):
    """How the blocks of a network follow from the images."""

    @property
    def space_name(self) -> str | None:
        """The registered search space that it is an architecture of; None where it is blocks only."""

    def specs(self, images: Images) -> tuple[BlockSpec, ...]:
        """Its blocks, from the input to the classifier."""

    def found(self, images: Images) -> tuple[SearchSpace, Architecture] | None:
        """The space and the architecture; None where it is blocks only."""


@dataclass(frozen=True, slots=True)
class ZooNetwork:
    """A published network: its layout, its published figures, and why a count differs where one does.

    Example:
        >>> from anybudget.zoo import ZOO
        >>> network = ZOO["mobilenetv2"]
        >>> len(network.specs()), round(network.count("macs") / 1e6, 2)
        (20, 300.77)
        >>> network.agrees("macs"), network.note.split(":")[0]
        (False, 'multiply-adds')
    """

    name: str
    title: str
    layout: Layout
    published: Published
    note: str = ""

    @property
    def space_name(self) -> str | None:
        """See `Layout.space_name`."""
        return self.layout.space_name

    def specs(self, images: Images = IMAGENET) -> tuple[BlockSpec, ...]:
        """Its blocks for these images; the weights are not known here.

        Raises:
            ConfigError: the images are so small that a stride would be applied to a single pixel.
        """
        specs = self.layout.specs(images)
        self._check(specs, images)
        return specs

    def found(self, images: Images = IMAGENET) -> tuple[SearchSpace, Architecture] | None:
        """The space and the architecture that it is, for these images; None where it is blocks only."""
        return self.layout.found(images)

    def count(self, cost: Literal["macs", "conv_macs", "params"], images: Images = IMAGENET) -> int:
        """Exactly what it costs, in multiply-adds or learned parameters, however small the images are."""
        formula = {"macs": macs, "conv_macs": conv_macs, "params": params}[cost]
        return sum(map(formula, self.layout.specs(images)))

    def agrees(self, cost: Literal["macs", "params"]) -> bool | None:
        """Whether the exact count rounds to the published figure; None where none is published."""
        said = getattr(self.published, cost)
        if said is None:
            return None
        return rounds_to(self.count(self.published.counting if cost == "macs" else "params"), said)

    def to_dict(self) -> dict[str, Any]:
        """All that is known of it, with the counts, as JSON has it; blocks as a list of their fields."""
        found, published = self.found(), self.published
        return {
            "name": self.name,
            "title": self.title,
            "space": self.space_name or "blocks",
            "macs_published": published.macs,
            "macs_counting": published.counting,
            "macs": self.count("macs"),
            "conv_macs": self.count("conv_macs"),
            "macs_agree": self.agrees("macs"),
            "params_published": published.params,
            "params": self.count("params"),
            "params_agree": self.agrees("params"),
            "top1_percent_published": published.top1_percent,
            "source": published.source,
            "note": self.note,
            **({"architecture": found[1].to_dict(), "layers": found[0].describe(found[1])} if found else {}),
            "blocks": [describe_block(spec) for spec in self.specs()],
        }

    def _check(self, specs: tuple[BlockSpec, ...], images: Images) -> None:
        used = [convolution for spec in specs for convolution in spec.convolutions()]
        if not any(convolution.stride > 1 and convolution.resolution < 2 for convolution in used):
            return
        least = SMALLEST
        while not self._fits(least):
            least += 1
        raise ConfigError(
            f"{self.name}: images of {images.size} pixels are a single pixel before its last stride; it needs {least} "
            "or more: give the run larger images (space.input_size, data.image_size)"
        )

    def _fits(self, size: int) -> bool:
        specs = self.layout.specs(Images(size=size))
        return all(c.stride == 1 or c.resolution > 1 for spec in specs for c in spec.convolutions())


def rounds_to(exact: int, said: str) -> bool:
    """Whether a count, rounded to as many digits, is the printed figure.

    Example:
        >>> rounds_to(373_180_000, "373M"), rounds_to(385_814_752, "0.39G"), rounds_to(300_774_272, "300M")
        (True, True, False)
    """
    figure, unit = Decimal(said[:-1]), _UNITS[said[-1]]
    return (Decimal(exact) / unit).quantize(figure, ROUND_HALF_UP) == figure


def describe_block(spec: BlockSpec) -> str:
    """One block in a line, for people: `32 -> 16, stride 1, at 112: 3x3 depthwise ...`."""
    return "; ".join(
        f"{c.in_channels}->{c.out_channels} {c.kernel}x{c.kernel}"
        + (f" /{c.stride}" if c.stride > 1 else "")
        + (f" groups {c.groups}" if c.groups > 1 else "")
        for c in spec.convolutions()
    )
