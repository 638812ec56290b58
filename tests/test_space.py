"""The unified space: sizes, canonical forms, fairness; and what every registered sampler promises."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chisquare

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError, ConfigError
from anybudget.spaces import PathEncoding, UnifiedSpace
from anybudget.training import SAMPLERS
from anybudget.training.greedy import GreedySettings
from anybudget.training.samplers import Length, PathSampler
from tiny_spaces import tiny_macro

SPACE = UnifiedSpace(tiny_macro())
layers = st.lists(st.integers(0, 2), min_size=2, max_size=6)
networks = st.lists(layers, min_size=3, max_size=3)


def scores(paths: Sequence[PathEncoding]) -> list[float]:
    """A loss that falls with the number of 7x7 kernels."""
    return [-float(sum(operations.count(2) for operations in path.operations)) for path in paths]


def sampler(name: str, steps: int = 100, **greedy: object) -> PathSampler:
    return SAMPLERS[name](SPACE, GreedySettings.model_validate(greedy) if greedy else None, Length(steps))


def spelled(network: list[list[int]]) -> PathEncoding:
    return PathEncoding("unified", tuple(tuple(layer) + (3,) * (6 - len(layer)) for layer in network))


def test_sizes(imagenet_space: UnifiedSpace) -> None:
    assert len(imagenet_space.decisions) == 19
    assert {len(decision.choices) for decision in imagenet_space.decisions} == {80}
    assert imagenet_space.size() == 80**19


@given(networks, st.randoms())
def test_order_of_kernels_does_not_matter(network: list[list[int]], random: object) -> None:
    shuffled = [random.sample(layer, len(layer)) for layer in network]  # type: ignore[attr-defined]
    first, second = SPACE.canonical(spelled(network)), SPACE.canonical(spelled(shuffled))
    assert first == second
    assert hash(first) == hash(second)


@given(networks, networks)
def test_different_multisets_are_different(first: list[list[int]], second: list[list[int]]) -> None:
    same = all(sorted(a) == sorted(b) for a, b in zip(first, second, strict=True))
    assert (SPACE.canonical(spelled(first)) == SPACE.canonical(spelled(second))) == same


@given(networks)
def test_encoding_and_kernels_round_trip(network: list[list[int]]) -> None:
    architecture = SPACE.canonical(spelled(network))
    assert SPACE.canonical(SPACE.path_encoding(architecture)) == architecture
    assert SPACE.from_kernels(SPACE.kernels(architecture)) == architecture
    assert [sorted(layer) for layer in network] == [
        [(3, 5, 7).index(kernel) for kernel in layer] for layer in SPACE.kernels(architecture)
    ]


def test_every_choice_is_its_own_architecture() -> None:
    tiny = UnifiedSpace(tiny_macro(stages=SPACE.settings.stages[1:]))
    everything = list(tiny.enumerate())
    assert len(set(everything)) == tiny.size() == 80
    assert all(tiny.canonical(tiny.path_encoding(architecture)) == architecture for architecture in everything)


@pytest.mark.parametrize(
    "operations",
    [
        ((3, 0, 0, 3, 3, 3),) * 3,  # a skip below a used sub-block: forced sampling forbids it
        ((0, 3, 3, 3, 3, 3),) * 3,  # expansion 1
        ((0, 0, 3, 3, 3),) * 3,  # five sub-blocks
        ((0, 4, 3, 3, 3, 3),) * 3,  # no such operation
        ((0, 0, 3, 3, 3, 3),) * 2,  # a layer short
    ],
)
def test_what_is_no_encoding_is_refused(operations: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ArchitectureError):
        SPACE.canonical(PathEncoding("unified", operations))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture("mbconv", (0, 0, 0)), "space 'mbconv' given to space 'unified'"),
        (Architecture("unified", (0, 0)), "2 choices, but this unified space has 3 decisions"),
        (Architecture("unified", (0, 80, 0)), "layer 2: choice 80 is outside 0 to 79"),
        (Architecture("unified", (0, 0, -1)), "layer 3: choice -1 is outside"),
    ],
)
def test_foreign_architectures_are_refused(architecture: Architecture, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        SPACE.path_encoding(architecture)


def test_unknown_kernel_is_named() -> None:
    with pytest.raises(ArchitectureError, match=r"\[9\] are not in this space"):
        SPACE.from_kernels([[3, 9], [3, 3], [3, 3]])


@pytest.mark.parametrize(
    "changes", [{"min_expansion": 0}, {"min_expansion": 7}, {"kernels": (3, 4)}, {"kernels": (5, 3)}, {"stages": ()}]
)
def test_impossible_macros_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises((ConfigError, ValidationError)):
        UnifiedSpace(tiny_macro(**changes))


@given(st.integers(0, 2**32 - 1))
def test_strict_fairness_counts(seed: int) -> None:
    """In every layer, a round trains each expansion rate, and each kernel of each sub-block, equally often."""
    paths = sampler("fair").paths(np.random.default_rng(seed), scores)
    assert len(paths) == 15
    for layer in range(3):
        rows = [path.operations[layer] for path in paths]
        assert Counter(sum(op != 3 for op in row) for row in rows) == dict.fromkeys(range(2, 7), 3)
        for sub_block, uses in enumerate((5, 5, 4, 3, 2, 1)):
            kernels = Counter(row[sub_block] for row in rows if row[sub_block] != 3)
            assert kernels == dict.fromkeys(range(3), uses)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_draw_valid_paths_by_seed(name: str) -> None:
    first, again, other = (sampler(name).paths(np.random.default_rng(seed), scores) for seed in (1, 1, 2))
    assert first == again != other
    assert all(SPACE.canonical(path).space == "unified" for path in first)


def test_the_uniform_sampler_draws_every_choice_equally_often() -> None:
    rng = np.random.default_rng(0)
    drawn = [sampler("uniform").paths(rng, scores) for _ in range(8000)]
    assert {len(paths) for paths in drawn} == {1}
    counts = Counter(paths[0].operations[0] for paths in drawn)
    assert set(counts) == set(SPACE.decisions[0].choices)
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_canonical_sampler_trains_canonical_encodings_only() -> None:
    paths = sampler("fair-canonical").paths(np.random.default_rng(0), scores)
    assert all(SPACE.path_encoding(SPACE.canonical(path)) == path for path in paths)
    rates = Counter(sum(op != 3 for op in path.operations[0]) for path in paths)
    assert rates == dict.fromkeys(range(2, 7), 3)


def test_describe_names_operations() -> None:
    architecture = SPACE.from_kernels([[7, 3], [5, 5, 5], [3, 3]])
    assert SPACE.describe(architecture)[:2] == [
        ["3x3", "7x7", "skip", "skip", "skip", "skip"],
        ["5x5", "5x5", "5x5", "skip", "skip", "skip"],
    ]
