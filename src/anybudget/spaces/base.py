"""Owns the torch-free description of a search space: its decisions, spellings and canonical architectures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError
from anybudget.spaces.blocks import BlockSpec


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a space: which operation each of its `slots` uses.

    `choices[c][s]` is the index into `operations` of slot `s` under choice `c`. A decision with a single slot has one
    choice per operation; a unified block has one slot per sub-block and one choice per distinct block.
    """

    name: str
    operations: tuple[str, ...]
    choices: tuple[tuple[int, ...], ...]

    @property
    def slots(self) -> int:
        """Number of slots; every choice names an operation for each."""
        return len(self.choices[0])

    def encoding(self) -> NDArray[np.float64]:
        """0/1 array `[choices, slots * operations]`: which operation each slot has under each choice."""
        rows = np.zeros((len(self.choices), self.slots, len(self.operations)))
        for index, choice in enumerate(self.choices):
            rows[index, np.arange(self.slots), list(choice)] = 1.0
        return rows.reshape(len(self.choices), -1)


@dataclass(frozen=True, slots=True)
class Spelling:
    """One way to write a network: the operation index of every slot of every decision.

    Several spellings can describe one network (SGNAS §3.3: the order of the kernels in a unified block does not
    matter). Supernet training visits spellings, because each has weights of its own; everything else uses the one
    canonical `Architecture`.
    """

    space: str
    operations: tuple[tuple[int, ...], ...]


class SearchSpace(ABC):
    """A set of networks described by independent decisions; knows no torch.

    A new space gives `name`, `decisions`, `canonical`, `block_specs` and `fair_round`; the rest follows from them.
    """

    name: str
    decisions: tuple[Decision, ...]
    input_shape: tuple[int, int, int]
    classes: int

    @abstractmethod
    def canonical(self, spelling: Spelling) -> Architecture:
        """The architecture that `spelling` describes; equal networks give equal values.

        Raises:
            ArchitectureError: the spelling is not one of this space.
        """

    @abstractmethod
    def block_specs(self, architecture: Architecture) -> tuple[BlockSpec, ...]:
        """What to build, as plain data, in order from the input to the classifier."""

    @abstractmethod
    def fair_round(self, rng: np.random.Generator) -> list[Spelling]:
        """Spellings that together train every operation of every slot equally often, in random order."""

    def spell(self, architecture: Architecture) -> Spelling:
        """The canonical spelling of `architecture`."""
        self.validate(architecture)
        return Spelling(
            self.name,
            tuple(
                decision.choices[choice] for decision, choice in zip(self.decisions, architecture.choices, strict=True)
            ),
        )

    def size(self) -> int:
        """Number of distinct networks."""
        return prod(len(decision.choices) for decision in self.decisions)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """One architecture, each choice drawn uniformly."""
        return Architecture(self.name, tuple(int(rng.integers(len(d.choices))) for d in self.decisions))

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture once; for spaces small enough to list."""
        for choices in product(*(range(len(decision.choices)) for decision in self.decisions)):
            yield Architecture(self.name, choices)

    def validate(self, architecture: Architecture) -> None:
        """Check that `architecture` is one of this space.

        Raises:
            ArchitectureError: the name, the number of choices or a choice does not fit.
        """
        if architecture.space != self.name:
            raise ArchitectureError(f"architecture of space {architecture.space!r} given to space {self.name!r}")
        if len(architecture.choices) != len(self.decisions):
            raise ArchitectureError(
                f"architecture has {len(architecture.choices)} choices, but this {self.name} space has "
                f"{len(self.decisions)} decisions; was it made for another recipe?"
            )
        for decision, choice in zip(self.decisions, architecture.choices, strict=True):
            if not 0 <= choice < len(decision.choices):
                raise ArchitectureError(f"{decision.name}: choice {choice} is outside 0 to {len(decision.choices) - 1}")

    def describe(self, architecture: Architecture) -> list[list[str]]:
        """The operation names of each decision, for people: `[["3x3", "5x5", "skip", ...], ...]`."""
        spelling = self.spell(architecture)
        return [
            [decision.operations[operation] for operation in operations]
            for decision, operations in zip(self.decisions, spelling.operations, strict=True)
        ]
