"""Trained networks as plain modules with timm's habits: features, a classifier that can be replaced, what they take."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.data import DataFacts
from anybudget.errors import ConfigError
from anybudget.export.parts import BLOCKS, CLASSIFIER, HEAD, STEM, part_names
from anybudget.nets.blocks import Classifier
from anybudget.spaces import BlockSpec, ClassifierSpec

_PROBE = 512
"""Pixels of the square that reductions are read from; divisible by any that a network has."""


class ImageNetwork(nn.Module):
    """A classifier of images that can be used and trained as one of timm's.

    It consists of `stem`, `blocks`, `head`, `global_pool`, `hidden` and `classifier`, all plain layers; in training
    mode its norms normalise by the batch and follow it with their running statistics, as everywhere in PyTorch.

    `num_classes`, `num_features`, `head_hidden_size`, `in_chans`, `drop_rate`, `grad_checkpointing`, `feature_info` and
    `pretrained_cfg` (`default_cfg`) are what timm's models have. `feature_info` lists the last block at each resolution
    in order: its channels `num_chs`, the `reduction` of height and width, and the name of the `module`.

    Args:
        network: the blocks one after another; their weights are shared with it.
        specs: of what these are.
        facts: of the data it was trained on; kept as `facts`, whose `prepare` and `classify` take image files.

    Raises:
        ConfigError: the network does not end with a classifier.

    Example:
        >>> from anybudget.nets import build_network
        >>> from anybudget.spaces import ConvSpec
        >>> specs = (ConvSpec(1, 4, 3, 2, 28, "relu"), ConvSpec(4, 8, 1, 1, 14, "relu"), ClassifierSpec(8, 10))
        >>> model = ImageNetwork(build_network(specs), specs)
        >>> model.forward_features(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 8, 14, 14])
        >>> model.reset_classifier(3)
        >>> model(torch.zeros(2, 1, 28, 28)).shape, model.feature_info
        (torch.Size([2, 3]), [{'num_chs': 4, 'reduction': 2, 'module': 'stem'}])
    """

    def __init__(self, network: nn.Sequential, specs: Sequence[BlockSpec], facts: DataFacts | None = None) -> None:
        super().__init__()
        named = dict(zip(part_names(specs), network, strict=True))
        self.stem = named.get(STEM, nn.Identity())
        self.blocks = nn.Sequential(*(block for name, block in named.items() if name and name.startswith(f"{BLOCKS}.")))
        self.head = named.get(HEAD, nn.Identity())
        self.global_pool: nn.Module = _AveragePool()
        last, spec = cast(Classifier, named[CLASSIFIER]), cast(ClassifierSpec, specs[-1])
        self.hidden, self.classifier = last.hidden, cast(nn.Module, last.linear)
        self.num_classes = spec.classes
        self.num_features, self.head_hidden_size = spec.in_features, spec.hidden or spec.in_features
        self.drop_rate = spec.dropout
        self.grad_checkpointing = False
        self.facts = facts
        first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
        self.in_chans = first.in_channels
        self.feature_info = self._feature_info()
        self.pretrained_cfg = self.default_cfg = self._configuration(first)
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images `[N, C, H, W]` to logits `[N, num_classes]`."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Images `[N, C, H, W]` to the features that are pooled: `[N, num_features, H', W']`."""
        x = self.stem(x)
        if self.grad_checkpointing and torch.is_grad_enabled():
            for block in self.blocks:
                x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
        else:
            x = self.blocks(x)
        return cast(Tensor, self.head(x))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Features `[N, num_features, H', W']` to logits; with `pre_logits` to what the last layer takes.

        That is `[N, head_hidden_size]`: pooled features, behind the hidden layer where there is one.
        """
        if isinstance(self.global_pool, nn.Identity):
            return x
        x = self.hidden(self.global_pool(x))
        if pre_logits:
            return x
        if self.drop_rate > 0.0:
            x = F.dropout(x, self.drop_rate, self.training)
        return cast(Tensor, self.classifier(x))

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """Put a new linear layer in the place of the last one, with timm's first weights for it.

        Args:
            num_classes: its outputs; with 0 there is no such layer, and `forward` gives pooled features.
            global_pool: `avg`, or `""` for no pooling: with `num_classes` 0, `forward` then gives the feature map.

        Raises:
            ConfigError: another kind of pooling was asked for, or classes without pooling.
        """
        if global_pool not in ("avg", "") or (num_classes and not global_pool):
            raise ConfigError(f"global_pool {global_pool!r}: is 'avg', or '' together with num_classes 0")
        self.num_classes = num_classes
        self.global_pool = _AveragePool() if global_pool else nn.Identity()
        weight = next(self.parameters())
        if num_classes:
            layer = nn.Linear(self.head_hidden_size, num_classes, device=weight.device, dtype=weight.dtype)
            self.classifier = layer.train(self.training)
        else:
            self.classifier = nn.Identity()

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, *, intermediates_only: bool = False
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The feature maps of `feature_info`, for detection and segmentation, and what `forward_features` gives.

        Args:
            x: images `[N, C, H, W]`.
            indices: which of `feature_info`; the last so many if it is one number, all if None.
            intermediates_only: leave out what `forward_features` gives; the head is not computed.
        """
        count = len(self.feature_info)
        if indices is None or isinstance(indices, int):
            chosen = list(range(count))[-(count if indices is None else indices) :]
        else:
            chosen = [range(count)[index] for index in indices]
        wanted = [self.feature_info[index]["module"] for index in chosen]
        found = []
        for name, part in [(STEM, self.stem), *((f"{BLOCKS}.{i}", block) for i, block in enumerate(self.blocks))]:
            x = part(x)
            if name in wanted:
                found.append(x)
        return found if intermediates_only else (self.head(x), found)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether blocks compute their activations again in the backward pass instead of keeping them."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameters by depth, for learning rates that fall with it."""
        return {"stem": r"^stem", "blocks": r"^blocks\.(\d+)" if not coarse else r"^blocks"}

    def no_weight_decay(self) -> set[str]:
        """Parameters that are to have no weight decay whatever their shape; there are none."""
        return set()

    @torch.no_grad()
    def _feature_info(self) -> list[dict[str, Any]]:
        """See `feature_info`: told from shapes, on a device that computes nothing."""
        parts = {STEM: self.stem, **{f"{BLOCKS}.{index}": block for index, block in enumerate(self.blocks)}}
        x = torch.empty(1, self.in_chans, _PROBE, _PROBE, device="meta")
        by_reduction: dict[int, dict[str, Any]] = {}
        for name, part in parts.items():
            x = copy.deepcopy(part).to("meta").eval()(x)
            reduction = round(_PROBE / x.shape[2])
            by_reduction[reduction] = {"num_chs": x.shape[1], "reduction": reduction, "module": name}
        return list(by_reduction.values())

    def _configuration(self, first: nn.Conv2d) -> dict[str, Any]:
        """timm's `pretrained_cfg`: what the network takes, and which layers are first and last."""
        name = next(name for name, layer in self.named_modules() if layer is first)
        known: dict[str, Any] = {"num_classes": self.num_classes, "first_conv": name, "classifier": CLASSIFIER}
        if self.facts is None:
            return known
        prepared = self.facts.preparation
        return known | {
            "input_size": (prepared.channels, prepared.height, prepared.width),
            "mean": self.facts.mean,
            "std": self.facts.std,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "label_names": self.facts.class_names,
        }


class _AveragePool(nn.Module):
    """The mean of every channel: `[N, C, H, W]` to `[N, C]`."""

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.mean((2, 3))
