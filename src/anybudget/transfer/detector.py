"""A found network as the backbone of torchvision's RetinaNet with a feature pyramid."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.errors import ConfigError
from anybudget.export.image_network import ImageNetwork
from anybudget.runtime.optional import optional
from anybudget.transfer.images import MULTIPLE, NO_BOX
from anybudget.transfer.settings import DetectSettings

EXTRA = "anybudget[detect]"
"""What `pip install` has to be given for detection."""

RATIOS = (0.5, 1.0, 2.0)
ANCHOR_SIDE = 4
"""The side of the smallest square anchor of a level, in its strides; two more lie between it and the next level's.

Source: Lin et al. 2017, "Focal loss for dense object detection", §4.
"""

USUAL_WIDTH = 256
"""The width for which RetinaNet's first weights are meant."""

GROUP = 8
"""Channels that a norm of the heads takes together, at least: as many as torchvision's of 256 channels in 32 groups."""

MOST_DETECTIONS = 100
"""Boxes that are kept of an image: as many as COCO's metric looks at."""


def torchvision(module: str) -> ModuleType:
    """A module of torchvision.

    Raises:
        ConfigError: it is not installed; says what to install.
    """
    return optional(f"torchvision.{module}", "detection", EXTRA)


def build_detector(network: ImageNetwork, classes: int, settings: DetectSettings) -> nn.Module:
    """A RetinaNet on a network, of which the classifier and the head are left out; its weights are shared with it.

    Differs: first weights of narrow heads are larger than RetinaNet's, see `_scale_first_weights`.

    Args:
        network: a classifier with `feature_info`.
        classes: of objects, from 0; there is no class for the background.
        settings: the pyramid's width, and on how many maps of the network it stands.

    Returns:
        torchvision's module. It takes a list of normalised images `[C, H, W]` and, in training mode, a list of `boxes`
        `[N, 4]` and `labels` `[N]`, and gives losses; otherwise `boxes`, `scores` and `labels` of each image, in pixels
        of what it was given.

    Raises:
        ConfigError: torchvision is not installed, or the network has fewer feature maps.
    """
    retinanet, anchors = torchvision("models.detection.retinanet"), torchvision("models.detection.anchor_utils")
    body = PyramidBackbone(network, settings)
    strides = [*body.strides, 2 * body.strides[-1], 4 * body.strides[-1]]
    sides = tuple(tuple(round(ANCHOR_SIDE * stride * 2.0 ** (third / 3)) for third in range(3)) for stride in strides)
    generator = anchors.AnchorGenerator(sides, (RATIOS,) * len(sides))
    norm = partial(nn.GroupNorm, _groups(settings.width)) if settings.head_norms == "group" else None
    head = retinanet.RetinaNetHead(settings.width, len(RATIOS) * len(sides[0]), classes, norm_layer=norm)
    _scale_first_weights(head, settings.width)
    built: nn.Module = retinanet.RetinaNet(
        body, classes, anchor_generator=generator, head=head, detections_per_img=MOST_DETECTIONS
    )
    built.transform = _AsGiven()
    return built


def split_targets(boxes: Tensor) -> list[dict[str, Tensor]]:
    """The boxes of a batch `[B, N, 5]` as torchvision takes them; see `stacked`."""
    there = [image[image[:, 4] != NO_BOX] for image in boxes]
    return [{"boxes": rows[:, :4], "labels": rows[:, 4].long()} for rows in there]


def train_mode(detector: nn.Module, *, fixed_norms: bool) -> None:
    """Put a detector into training mode; with `fixed_norms` the network's batch norms keep their statistics."""
    detector.train()
    if fixed_norms:
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _groups(width: int) -> int:
    """The most groups of equally many channels, `GROUP` at least."""
    return next((groups for groups in range(width // GROUP, 0, -1) if width % groups == 0), 1)


@torch.no_grad()
def _scale_first_weights(head: nn.Module, width: int) -> None:
    """Let signals and gradients pass heads of any width as they pass those of 256 channels.

    RetinaNet draws all weights of its heads with a standard deviation of 0.01. Of 32 channels four such layers and the
    last one leave a two hundredth of what they leave of 256, and as little of the gradient of the network below.
    """
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.mul_(math.sqrt(USUAL_WIDTH / width))


class PyramidBackbone(nn.Module):
    """A network's last feature maps in a feature pyramid, with two coarser levels above.

    Args:
        network: without its head and classifier afterwards.
        settings: see `DetectSettings`.

    Raises:
        ConfigError: torchvision is not installed, or the network has fewer feature maps.
    """

    def __init__(self, network: ImageNetwork, settings: DetectSettings) -> None:
        super().__init__()
        pyramid = torchvision("ops.feature_pyramid_network")
        maps = network.feature_info[-settings.maps :]
        if len(maps) < settings.maps:
            raise ConfigError(
                f"detect.maps: {settings.maps} feature maps are wanted, and the network has {len(maps)}, of strides "
                f"{', '.join(str(found['reduction']) for found in maps)}; take {len(maps)}"
            )
        network.reset_classifier(0, "")
        network.head = network.hidden = nn.Identity()
        self.body, self.maps, self.out_channels = network, settings.maps, settings.width
        self.strides = [int(found["reduction"]) for found in maps]
        self.pyramid: nn.Module = pyramid.FeaturePyramidNetwork(
            [found["num_chs"] for found in maps],
            settings.width,
            extra_blocks=pyramid.LastLevelP6P7(settings.width, settings.width),
        )

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Images `[N, C, H, W]` to the levels of the pyramid, each `[N, width, H / stride, W / stride]`."""
        found = self.body.forward_intermediates(images, self.maps, intermediates_only=True)
        levels: OrderedDict[str, Tensor] = self.pyramid(OrderedDict((str(i), level) for i, level in enumerate(found)))
        return levels


class _AsGiven(nn.Module):
    """In the place of torchvision's transform: images come scaled and normalised, and boxes stay in their pixels."""

    def forward(self, images: list[Tensor], targets: Any = None) -> tuple[Any, Any]:
        """Images `[C, H, W]` as one batch, filled up with zeros, with the size of each."""
        sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in images]
        height, width = (-(-max(size[side] for size in sizes) // MULTIPLE) * MULTIPLE for side in (0, 1))
        batch = torch.stack(
            [F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2])) for image in images]
        )
        batch = batch.contiguous(memory_format=torch.channels_last)
        return torchvision("models.detection.image_list").ImageList(batch, sizes), targets

    def postprocess(self, found: Any, _sizes: Any, _original: Any) -> Any:
        """Boxes as they were found."""
        return found
