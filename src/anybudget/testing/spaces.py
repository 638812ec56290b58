"""The conformance checks of search spaces and of cost models."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from anybudget.architecture import Architecture
from anybudget.costs import CostModel, CostTerms, build_costs
from anybudget.decoding.limit import Limit
from anybudget.decoding.reachability import extremes
from anybudget.nets import build_network
from anybudget.spaces import SearchSpace

_SMALL = 5000
"""Spaces of at most this many combinations of choices are enumerated."""


def check_space(space: SearchSpace, *, samples: int = 10, seed: int = 0) -> None:
    """Check everything that the rest of the package relies on in a search space.

    Architectures: sampling is by seed; canonical forms are stable, valid, survive JSON, and never cost more than
    another encoding; `size`, `networks` and `enumerate` agree where the space is small. Fair rounds visit every
    operation of every slot equally often. Costs: `check_cost_model` for every registered one. Networks: those that are
    built have the multiply-adds (by an operator count) and the parameters that the costs say, and the right output.

    Args:
        space: a space of small networks.
        samples: how many random architectures to look at.
        seed: draws them.

    Raises:
        AssertionError: says what does not hold.
    """
    architectures = [space.sample(np.random.default_rng([seed, index])) for index in range(samples)]
    again = [space.sample(np.random.default_rng([seed, index])) for index in range(samples)]
    assert architectures == again, "sample() must depend on nothing but the generator"
    for architecture in architectures:
        space.validate(architecture)
        assert Architecture.from_json(architecture.to_json()) == architecture
        assert space.simplified(architecture) == architecture, f"sample() gave {architecture}, which is not canonical"
        names = space.describe(architecture)
        assert [len(slots) for slots in names] == [decision.slots for decision in space.decisions]
    assert 1 <= space.networks() <= space.size()
    if space.size() <= _SMALL:
        everything = list(space.enumerate())
        assert len(everything) == len(set(everything)) == space.networks(), (
            f"networks() is {space.networks()}, but enumerate() gives {len(set(everything))} different ones"
        )
    _check_relatives(space, architectures, seed)
    _check_fairness(space, seed)
    for cost in build_costs(space).values():
        check_cost_model(cost, samples=samples, seed=seed)
    for architecture in architectures:
        _check_network(space, architecture)


def check_cost_model(model: CostModel, *, samples: int = 10, seed: int = 0) -> None:
    """Check that the exact cost, its terms and its relaxed form agree, and that canonical forms are no dearer.

    Raises:
        AssertionError: says what does not hold.
    """
    space = model.space
    sizes = [len(decision.choices) for decision in space.decisions]
    drawn = np.stack([np.random.default_rng(seed).integers(size, size=samples) for size in sizes], axis=1)
    raw = [Architecture(space.name, tuple(map(int, row))) for row in drawn]
    costs = [model.cost(architecture) for architecture in raw]
    what = f"{model.name} of space {space.name}"
    assert [model.terms.cost(architecture.choices) for architecture in raw] == costs, (
        f"{what}: terms differ from cost()"
    )
    assert model.terms.costs(drawn).tolist() == costs, f"{what}: terms.costs() differs from cost()"
    _check_limits(model.terms, drawn, what)
    one_hot = F.one_hot(torch.from_numpy(drawn), max(sizes)).double()
    if model.terms.combine == "sum":
        relaxed = model.relaxed_cost(one_hot).tolist()
        assert relaxed == costs, f"{what}: relaxed_cost() of one-hot rows differs from cost()"
    for architecture, cost in zip(raw, costs, strict=True):
        assert model.cost(space.simplified(architecture)) <= cost, (
            f"{what}: the canonical form of {architecture} is dearer"
        )


def _check_limits(terms: CostTerms, drawn: NDArray[np.int64], what: str) -> None:
    """The limits that decoding uses hold for the same choices as the cost itself says."""
    costs = terms.costs(drawn).tolist()
    low, high = extremes(terms)
    assert all(low <= cost <= high for cost in costs), f"{what}: costs {costs} are not between {low} and {high}"
    for most in costs:
        allowed = [Limit.upper(terms, most).allows(row) for row in drawn.tolist()]
        reached = [Limit.floor(terms, most).allows(row) for row in drawn.tolist()]
        assert allowed == [cost <= most for cost in costs], f"{what}: a limit of {most} allows other choices"
        assert reached == [cost >= most for cost in costs], f"{what}: a floor of {most} allows other choices"


def _check_relatives(space: SearchSpace, architectures: list[Architecture], seed: int) -> None:
    """Mutation, crossover and neighbours stay in the space, in canonical form."""
    first, second = architectures[0], architectures[-1]
    rng = np.random.default_rng(seed)
    offspring = [space.mutate(first, rng, 0.5), space.crossover(first, second, rng), *space.neighbours(first)[:20]]
    for architecture in offspring:
        space.validate(architecture)
        assert space.simplified(architecture) == architecture, f"{architecture} is not canonical"
    assert space.mutate(first, rng, 0.0) == first, "a mutation of probability 0 changed something"
    assert space.crossover(first, first, rng) == first, "the child of one architecture is another"
    assert first not in space.neighbours(first)


def _check_fairness(space: SearchSpace, seed: int) -> None:
    paths = space.fair_round(np.random.default_rng(seed))
    assert paths == space.fair_round(np.random.default_rng(seed)), (
        "fair_round() must depend on nothing but the generator"
    )
    for path in paths:
        space.canonical(path)
    for index, decision in enumerate(space.decisions):
        for slot in range(decision.slots):
            possible = {choice[slot] for choice in decision.choices}
            visits = Counter(path.operations[index][slot] for path in paths)
            assert set(visits) == possible, f"{decision.name}, slot {slot}: a fair round misses an operation"
            # A skipped sub-block of a unified block follows from the expansion rate; all else comes equally often.
            others = {visits[op] for op in possible if decision.slots == 1 or decision.operations[op] != "skip"}
            assert len(others) == 1, f"{decision.name}, slot {slot}: a fair round visits {dict(visits)}"


def _check_network(space: SearchSpace, architecture: Architecture) -> None:
    costs = build_costs(space)
    network = build_network(space.block_specs(architecture)).eval()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == costs["params"].cost(architecture), f"{architecture}: the network has {parameters} parameters"
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(torch.zeros(2, *space.input_shape))
    assert logits.shape == (2, space.classes), f"{architecture}: logits have shape {tuple(logits.shape)}"
    counted = counter.get_total_flops() / 4  # two images, and two operations to a multiply-add
    assert counted == costs["macs"].cost(architecture), (
        f"{architecture}: an operator count gives {counted} multiply-adds"
    )
