"""The distinct blocks of a space, each at its real shape, and networks made of them, as a runtime runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anybudget.architecture import Architecture
from anybudget.costs import CostTerms, separated
from anybudget.costs.latency import Precision
from anybudget.latency.fresh import Model
from anybudget.latency.runtimes import Runtime
from anybudget.nets.blocks import build_block
from anybudget.spaces import BlockSpec, SearchSpace

MOST = 200
"""Distinct blocks that are measured one by one; of more, multiply-adds are the prior."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block and the shape of what it takes, without the batch."""

    spec: BlockSpec
    shape: tuple[int, ...]


class Blocks:
    """Prepares every distinct block of a space once, and joins them to networks.

    Weights are drawn as for training, so no activation is so small that it computes slowly.

    Args:
        space: whose blocks they are.
        runtime: what prepares them.
    """

    def __init__(self, space: SearchSpace, runtime: Runtime) -> None:
        self.space, self.runtime = space, runtime
        self._shapes: dict[Block, tuple[int, ...]] = {}
        self._modules: dict[BlockSpec, nn.Module] = {}
        self._prepared: dict[Block, bytes] = {}

    def of(self, architecture: Architecture) -> list[Block]:
        """The blocks of a network in order; those that compute nothing are left out."""
        return [block for block in self.chain(architecture) if block is not None]

    def chain(self, architecture: Architecture) -> list[Block | None]:
        """The blocks of a network in order, None for one that computes nothing."""
        shape: tuple[int, ...] = self.space.input_shape
        found: list[Block | None] = []
        for spec in self.space.block_specs(architecture):
            block = Block(spec, shape)
            found.append(None if isinstance(self._module(spec), nn.Identity) else block)
            shape = self._after(block)
        return found

    def prepare(self, block: Block) -> bytes:
        """A block as the runtime runs it."""
        if block not in self._prepared:
            self._prepared[block] = self.runtime.prepare(self._module(block.spec), block.shape)
        return self._prepared[block]

    def block(self, block: Block) -> Model:
        """One block as a model."""
        return self.prepare(block), block.shape

    def network(self, architecture: Architecture, precision: Precision = "fp32") -> Model:
        """A network as a model of this precision.

        Raises:
            ConfigError: the runtime has no networks of this precision.
        """
        shape = self.space.input_shape
        model = self.runtime.join([self.prepare(block) for block in self.of(architecture)])
        return (self.runtime.quantise(model, shape) if precision == "int8" else model), shape

    def module(self, block: Block) -> nn.Module:
        """A block as PyTorch has it, with the weights that are measured."""
        return self._module(block.spec)

    def _module(self, spec: BlockSpec) -> nn.Module:
        if spec not in self._modules:
            self._modules[spec] = build_block(spec).eval()
        return self._modules[spec]

    def _after(self, block: Block) -> tuple[int, ...]:
        """The shape of what a block gives."""
        if block not in self._shapes:
            with torch.no_grad():
                self._shapes[block] = tuple(self._module(block.spec)(torch.zeros(1, *block.shape)).shape[1:])
        return self._shapes[block]


def tabled(space: SearchSpace) -> bool:
    """Whether the blocks of a space can be measured one by one: each depends on two decisions at most, and few do."""
    sizes = [len(decision.choices) for decision in space.decisions]
    if any(len(factor.decisions) > 2 for factor in space.factors):
        return False
    specs: set[BlockSpec] = set()
    for factor in space.factors:
        ways = np.ndindex(*(sizes[decision] for decision in factor.decisions))
        specs.update(factor.spec(*chosen) for chosen in ways)
    return len(specs) <= MOST


def tabled_blocks(blocks: Blocks) -> dict[tuple[int, tuple[int, ...]], Block]:
    """Every block of a space by the number of its factor and the choices that this depends on.

    Those that compute nothing are left out.
    """
    space, found = blocks.space, {}
    sizes = [len(decision.choices) for decision in space.decisions]
    for number, factor in enumerate(space.factors):
        for chosen in np.ndindex(*(sizes[decision] for decision in factor.decisions)):
            choices = [0] * len(sizes)
            for decision, choice in zip(factor.decisions, chosen, strict=True):
                choices[decision] = choice
            block = blocks.chain(Architecture(space.name, tuple(choices)))[number]
            if block is not None:
                found[number, chosen] = block
    return found


def block_terms(blocks: Blocks, ms: Mapping[Block, float]) -> CostTerms:
    """The sum of the latencies of a network's blocks, in ms."""
    space = blocks.space
    sizes = [len(decision.choices) for decision in space.decisions]
    constant, unary = 0.0, [np.zeros(size) for size in sizes]
    pairwise: dict[tuple[int, int], NDArray[np.float64]] = {}
    for (number, chosen), block in tabled_blocks(blocks).items():
        decisions, took = space.factors[number].decisions, ms[block]
        if not decisions:
            constant += took
        elif len(decisions) == 1:
            unary[decisions[0]][chosen] += took
        else:
            pair = decisions[0], decisions[1]
            pairwise.setdefault(pair, np.zeros([sizes[decision] for decision in pair]))[chosen] += took
    return separated(constant, unary, pairwise)
