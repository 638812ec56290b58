"""The parts of a network by name: stem, blocks, head, classifier; the same in every form that has names."""

from __future__ import annotations

from collections.abc import Sequence

from anybudget.errors import ConfigError
from anybudget.spaces import BlockSpec, ClassifierSpec, ConvSpec, SkipSpec
from anybudget.spaces.nas_bench_201 import NormActivationSpec

STEM, BLOCKS, HEAD, CLASSIFIER = "stem", "blocks", "head", "classifier"


def part_names(specs: Sequence[BlockSpec]) -> list[str | None]:
    """What each block of a network is called: `stem`, `blocks.0`, `blocks.1`, ..., `head`, `classifier`.

    A convolution at the start is the stem, one right before the classifier, or the last norm of a pre-activation
    network, is the head. None for skipped layers, which are left out.

    Raises:
        ConfigError: the last block is no classifier.

    Example:
        >>> stem, head = ConvSpec(1, 4, 3, 2, 28, "relu"), ConvSpec(4, 8, 1, 1, 14, "relu")
        >>> part_names([stem, SkipSpec(4, 4, 1, 14), SkipSpec(4, 4, 2, 14), head, ClassifierSpec(8, 10)])
        ['stem', None, 'blocks.0', 'head', 'classifier']
    """
    if not specs or not isinstance(specs[-1], ClassifierSpec):
        raise ConfigError("a network that is exported by the names of its parts has to end with a classifier")
    last = len(specs) - 1
    names: list[str | None] = []
    blocks = 0
    for index, spec in enumerate(specs):
        if index == last:
            names.append(CLASSIFIER)
        elif index == 0 and isinstance(spec, ConvSpec):
            names.append(STEM)
        elif index == last - 1 and isinstance(spec, (ConvSpec, NormActivationSpec)):
            names.append(HEAD)
        elif isinstance(spec, SkipSpec) and spec.identity:
            names.append(None)
        else:
            names.append(f"{BLOCKS}.{blocks}")
            blocks += 1
    return names
