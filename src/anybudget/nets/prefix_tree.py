"""Running many paths at once: what several of them have in common at their start is computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from anybudget.nets.base import Path, Step, Supernet

State = TypeVar("State")


@dataclass(slots=True, eq=False)
class Node:
    """A block that all paths below it share, up to and including it; `ends` are the paths that end here."""

    step: Step
    children: dict[Hashable, Node] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)

    def count(self) -> int:
        """Number of nodes here and below: how many blocks are run."""
        return 1 + sum(child.count() for child in self.children.values())


def build_prefix_tree(supernet: Supernet, paths: Sequence[Path]) -> list[Node]:
    """The prefix tree of paths, as the list of its first nodes."""
    roots: dict[Hashable, Node] = {}
    for index, path in enumerate(paths):
        children, node = roots, None
        for step in supernet.steps(path):
            node = children.setdefault(step.key, Node(step))
            children = node.children
        if node is not None:
            node.ends.append(index)
    return list(roots.values())


def run_prefix_tree(
    nodes: Sequence[Node], state: State, advance: Callable[[Node, State], State]
) -> Iterator[tuple[int, State]]:
    """Visit the prefix tree depth first and yield what `advance` has made of `state` at the end of every path.

    At most one state per block of a path is alive at a time, however many paths there are.
    """
    for node in nodes:
        reached = advance(node, state)
        for index in node.ends:
            yield index, reached
        yield from run_prefix_tree(list(node.children.values()), reached, advance)


@torch.no_grad()
def forward_many(supernet: Supernet, paths: Sequence[Path], x: Tensor) -> list[Tensor]:
    """Logits `[N, classes]` of every path, in order, in the supernet's present mode; equal to one forward each."""
    logits: dict[int, Tensor] = {}
    for index, out in run_prefix_tree(
        build_prefix_tree(supernet, paths), x, lambda node, hidden: node.step.run(hidden)
    ):
        logits[index] = out
    return [logits[index] for index in range(len(paths))]
