"""Dropout before the classifier and stochastic depth, of a training and not of the network: `Dropping`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from anybudget.data.random import Keys, Use, image_keys, uniform
from anybudget.errors import ConfigError
from anybudget.nets.blocks import Classifier, InvertedBottleneck
from anybudget.nets.split import SplitBottleneck


class Dropping(AbstractContextManager["Dropping"]):
    """Within, a model in training mode drops features before its classifier, and whole residual blocks.

    What is dropped for an image is decided by the seed, the step, the image's place in the batch of all processes and,
    where several paths see the batch, which of them it is. So it is the same in any number of processes and parts, and
    after any kill. Layers in evaluation mode drop nothing, as when paths are scored. Afterwards the model is as it was:
    no layer is added, and nothing of this is saved with it.

    Args:
        model: a network, or a supernet, which has no residual blocks that could be dropped.
        dropout: the share of features that are dropped, in place of the network's own dropout; 0 leaves that alone.
        drop_path: how often the last residual inverted bottleneck is dropped; those before it less often, in proportion
            to how deep they are.
        seed: draws what is dropped.
        apart: whether the model may be compiled, which what is drawn here is left out of.

    Raises:
        ConfigError: the model has no classifier of ours, whose features were to be dropped.

    Source: Srivastava et al. 2014 (dropout); Huang et al. 2016, "Deep networks with stochastic depth", Eq. 4.
    """

    def __init__(self, model: nn.Module, dropout: float, drop_path: float, seed: int, *, apart: bool = False) -> None:
        self._apart = apart
        self._model, self._dropout, self._seed = model, dropout, seed
        self._classifiers = [layer for layer in model.modules() if isinstance(layer, Classifier)] if dropout else []
        bottlenecks = [layer for layer in model.modules() if isinstance(layer, InvertedBottleneck | SplitBottleneck)]
        blocks = [layer for layer in bottlenecks if layer.residual]
        self._blocks = blocks if drop_path else []
        self._rates = [drop_path * (index + 1) / len(blocks) for index in range(len(blocks))]
        if dropout and not self._classifiers:
            raise ConfigError("dropout: this network has no classifier whose features could be dropped; leave it out")
        self._places = np.arange(0)
        self._step = self._turn = self._next = 0
        self._draws: Tensor = torch.empty(0)
        self._handles = ExitStack()

    def begin(self, step: int, places: Tensor) -> None:
        """Make ready for the forwards of a step, counted from 0, on images at `places` int64 [n] of the batch.

        The forwards take them in this order, again from the first when all have been taken.
        """
        self._step, self._places = step, places.numpy()
        self._turn = self._next = 0

    def __enter__(self) -> Self:
        if not self._classifiers and not self._blocks:
            return self
        self._hook(self._model.register_forward_pre_hook, lambda _model, args: self._take(args[0]))
        for rate, block, number in zip(self._rates, self._blocks, range(len(self._blocks)), strict=False):
            self._hook(block.register_forward_hook, _dropped_block(self, rate, number))
        for classifier in self._classifiers:
            own, classifier.dropout.p = classifier.dropout.p, 0.0
            self._handles.callback(setattr, classifier.dropout, "p", own)
            self._hook(classifier.linear.register_forward_pre_hook, _dropped_features(self, self._dropout))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handles.close()

    def _hook(self, register: Callable[..., Any], hook: Callable[..., Any]) -> None:
        self._handles.callback(register(torch.compiler.disable(hook) if self._apart else hook).remove)

    def _take(self, images: Tensor) -> None:
        """Draw for the images of a forward that begins."""
        if not self._model.training:
            return
        if self._next >= len(self._places):
            self._turn, self._next = self._turn + 1, 0
        places = self._places[self._next : self._next + len(images)]
        self._next += len(images)
        keys: Keys = image_keys(self._seed, self._step, places + self._turn * 2**32, Use.DROPPING)
        features = max((classifier.linear.in_features for classifier in self._classifiers), default=0)
        drawn = uniform(keys, len(self._blocks) + features)
        self._draws = torch.from_numpy(drawn).to(images.device)

    def kept_blocks(self, number: int, rate: float) -> Tensor:
        """By what the residual block `number` is multiplied for each image, [n]: 0, or what makes up for that."""
        return (self._draws[:, number] >= rate).float() / (1 - rate)

    def kept_features(self, count: int, rate: float) -> Tensor:
        """By what `count` features are multiplied for each image, [n, count]."""
        first = len(self._blocks)
        return (self._draws[:, first : first + count] >= rate).float() / (1 - rate)


# Functions, not methods: a copy of the model, such as that of an average of weights, copies no reference to it.
def _dropped_block(dropping: Dropping, rate: float, number: int) -> Callable[..., Tensor | None]:
    def hook(block: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        if not block.training:
            return None
        (x,) = args
        kept = dropping.kept_blocks(number, rate).to(out.dtype)
        return x + (out - x) * kept.view(-1, 1, 1, 1)

    return hook


def _dropped_features(dropping: Dropping, rate: float) -> Callable[..., tuple[Tensor] | None]:
    def hook(linear: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        if not linear.training:
            return None
        (features,) = args
        return (features * dropping.kept_features(features.shape[1], rate).to(features.dtype),)

    return hook
