"""The torch-free description of a search space: its decisions, encodings and canonical architectures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import lcm, prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError, shown
from anybudget.spaces.blocks import BlockSpec
from anybudget.spaces.settings import Settings


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a space: which operation each of its `slots` uses.

    `choices[c][s]` is the index into `operations` of slot `s` under choice `c`. A decision with a single slot has one
    choice per operation; a unified block has one slot per sub-block and one choice per distinct block.
    """

    name: str
    operations: tuple[str, ...]
    choices: tuple[tuple[int, ...], ...]

    @classmethod
    def single(cls, name: str, operations: tuple[str, ...]) -> Decision:
        """A decision with one slot: one choice per operation."""
        return cls(name, operations, tuple((index,) for index in range(len(operations))))

    @property
    def slots(self) -> int:
        """Number of slots; every choice names an operation for each."""
        return len(self.choices[0])

    @property
    def choice_names(self) -> tuple[str, ...]:
        """The operations of every choice, slot by slot: `k3_e6`, or `3x3+5x5+skip` for several slots."""
        return tuple("+".join(self.operations[operation] for operation in choice) for choice in self.choices)

    def encoding(self) -> NDArray[np.float64]:
        """0/1 array `[choices, slots * operations]`: which operation each slot has under each choice."""
        rows = np.zeros((len(self.choices), self.slots, len(self.operations)))
        for index, choice in enumerate(self.choices):
            rows[index, np.arange(self.slots), list(choice)] = 1.0
        return rows.reshape(len(self.choices), -1)


@dataclass(frozen=True, slots=True)
class PathEncoding:
    """One way to write a network: the operation index of every slot of every decision.

    Several encodings can describe one network (SGNAS §3.3: the order of the kernels in a unified block does not
    matter), each with weights of its own. Fair rounds train all of them; other path samplers train the encoding of the
    canonical `Architecture`, and everything else uses that one alone.
    """

    space: str
    operations: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Factor:
    """One block of the networks as a function of the decisions it depends on: `spec(choice, ...)`, in their order.

    Costs are counted factor by factor: a block that depends on two decisions gives a pairwise term. One that depends
    on more must have costs that add up over them; `anybudget.testing.check_space` verifies it.
    """

    decisions: tuple[int, ...]
    spec: Callable[..., BlockSpec]

    @classmethod
    def fixed(cls, spec: BlockSpec) -> Factor:
        """A block that every network has."""
        return cls((), lambda: spec)


class SearchSpace(ABC):
    """A set of networks described by decisions; knows no torch.

    A new space names itself and its `settings_type`, and sets `decisions` and `factors` in a constructor that takes
    the settings. Override `canonical` and `networks` where several choices describe one network, `fair_round` where
    the slots of a decision depend on each other.

    Example:
        >>> from anybudget.spaces import UnifiedSettings, UnifiedSpace, stages
        >>> shapes = {"input_size": 8, "input_channels": 1, "classes": 3, "stem_width": 4}
        >>> space = UnifiedSpace(UnifiedSettings(**shapes, stages=stages((4, 2, 1))))
        >>> space.size()
        6400
        >>> architecture = space.sample(np.random.default_rng(0))
        >>> len(space.block_specs(architecture)) > len(space.decisions)
        True
    """

    name: ClassVar[str]
    settings_type: ClassVar[type[Settings]]
    supernet: ClassVar[str]
    """The registered supernet that shares weights among the networks of this space, by its name in `SUPERNETS`."""
    settings: Settings
    decisions: tuple[Decision, ...]
    factors: tuple[Factor, ...]

    @abstractmethod
    def __init__(self, settings: Any) -> None:
        """Set `settings`, `decisions` and `factors`.

        Raises:
            ConfigError: the settings contradict each other; the message names the keys.
        """

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.settings.input_channels, self.settings.input_size, self.settings.input_size

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.settings.classes

    @cached_property
    def _indices(self) -> tuple[dict[tuple[int, ...], int], ...]:
        return tuple({choice: index for index, choice in enumerate(d.choices)} for d in self.decisions)

    def canonical(self, encoding: PathEncoding) -> Architecture:
        """The architecture that `encoding` describes; equal networks give equal values.

        Raises:
            ArchitectureError: the encoding is not one of this space.
        """
        return Architecture(self.name, self._read(encoding))

    def _read(self, encoding: PathEncoding) -> tuple[int, ...]:
        """The choice index that each decision's operations encode."""
        if encoding.space != self.name or len(encoding.operations) != len(self.decisions):
            raise ArchitectureError(
                f"encoding of {len(encoding.operations)} decisions of space {encoding.space!r} given to the "
                f"{self.name} space with {len(self.decisions)} decisions"
            )
        choices = []
        for decision, index, operations in zip(self.decisions, self._indices, encoding.operations, strict=True):
            if operations not in index:
                raise ArchitectureError(
                    f"{decision.name}: operations {list(operations)} are no choice; expected {decision.slots} out of 0 "
                    f"to {len(decision.operations) - 1} ({', '.join(decision.operations)})"
                )
            choices.append(index[operations])
        return tuple(choices)

    def simplified(self, architecture: Architecture) -> Architecture:
        """The canonical architecture of the network that any valid choices describe."""
        return self.canonical(self.path_encoding(architecture))

    def block_specs(self, architecture: Architecture) -> tuple[BlockSpec, ...]:
        """What to build, as plain data, in order from the input to the classifier."""
        self.validate(architecture)
        choices = architecture.choices
        return tuple(factor.spec(*(choices[decision] for decision in factor.decisions)) for factor in self.factors)

    def fair_round(self, rng: np.random.Generator) -> list[PathEncoding]:
        """Encodings that together train every operation of every slot equally often, in random order.

        The round is as long as the least common multiple of the operation counts, so that the counts come out even.

        Source: FairNAS §3, strict fairness.
        """
        used = [[sorted({c[slot] for c in d.choices}) for slot in range(d.slots)] for d in self.decisions]
        paths = lcm(*(len(operations) for slots in used for operations in slots))
        columns = [[rng.permutation(np.resize(operations, paths)) for operations in slots] for slots in used]
        return [
            PathEncoding(self.name, tuple(tuple(int(column[path]) for column in slots) for slots in columns))
            for path in range(paths)
        ]

    def path_encoding(self, architecture: Architecture) -> PathEncoding:
        """The encoding of the choices of `architecture`."""
        self.validate(architecture)
        return PathEncoding(
            self.name,
            tuple(
                decision.choices[choice] for decision, choice in zip(self.decisions, architecture.choices, strict=True)
            ),
        )

    def size(self) -> int:
        """Number of combinations of choices, as papers count; `networks` counts equal networks once."""
        return prod(len(decision.choices) for decision in self.decisions)

    def networks(self) -> int:
        """Number of distinct networks."""
        return self.size()

    def sample(self, rng: np.random.Generator) -> Architecture:
        """One architecture, each choice drawn uniformly."""
        choices = tuple(int(rng.integers(len(d.choices))) for d in self.decisions)
        return self.simplified(Architecture(self.name, choices))

    def mutate(self, architecture: Architecture, rng: np.random.Generator, probability: float = 0.1) -> Architecture:
        """Offspring: every choice is replaced by another, drawn uniformly, with this probability."""
        self.validate(architecture)
        choices = list(architecture.choices)
        for position, decision in enumerate(self.decisions):
            if len(decision.choices) > 1 and rng.random() < probability:
                step = int(rng.integers(1, len(decision.choices)))
                choices[position] = (choices[position] + step) % len(decision.choices)
        return self.simplified(Architecture(self.name, tuple(choices)))

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """A child that takes every choice from one of its parents, each as likely as the other."""
        self.validate(first)
        self.validate(second)
        taken = rng.integers(2, size=len(self.decisions))
        parents = first.choices, second.choices
        choices = tuple(parents[which][position] for position, which in enumerate(taken))
        return self.simplified(Architecture(self.name, choices))

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """All distinct architectures that differ in one choice, and are not the same network."""
        self.validate(architecture)
        found: dict[Architecture, None] = {}
        for position, decision in enumerate(self.decisions):
            for choice in range(len(decision.choices)):
                choices = (*architecture.choices[:position], choice, *architecture.choices[position + 1 :])
                found[self.simplified(Architecture(self.name, choices))] = None
        found.pop(self.simplified(architecture), None)
        return list(found)

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture once; for spaces small enough to list."""
        for choices in product(*(range(len(decision.choices)) for decision in self.decisions)):
            architecture = Architecture(self.name, choices)
            if self.simplified(architecture) == architecture:
                yield architecture

    def validate(self, architecture: Architecture) -> None:
        """Check that `architecture` is one of this space.

        Raises:
            ArchitectureError: the name, the number of choices or a choice does not fit.
        """
        if architecture.space != self.name:
            raise ArchitectureError(f"architecture of space {shown(architecture.space)} given to space {self.name!r}")
        if len(architecture.choices) != len(self.decisions):
            raise ArchitectureError(
                f"architecture has {len(architecture.choices)} choices, but this {self.name} space has "
                f"{len(self.decisions)} decisions; was it made for another recipe?"
            )
        for decision, choice in zip(self.decisions, architecture.choices, strict=True):
            if not 0 <= choice < len(decision.choices):
                raise ArchitectureError(
                    f"{decision.name}: choice {shown(choice)} is outside 0 to {len(decision.choices) - 1}"
                )

    def describe(self, architecture: Architecture) -> list[list[str]]:
        """The operation names of each decision, for people: `[["3x3", "5x5", "skip", ...], ...]`."""
        encoding = self.path_encoding(architecture)
        return [
            [decision.operations[operation] for operation in operations]
            for decision, operations in zip(self.decisions, encoding.operations, strict=True)
        ]
