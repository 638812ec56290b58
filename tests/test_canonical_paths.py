"""Which path encodings the samplers train: canonical ones alone, or, with `fair`, all; and what that costs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from anybudget.recipe import load_recipe
from anybudget.spaces import SPACES, ChoiceBlockSpace, MBConvSpace, PathEncoding, SearchSpace, UnifiedSpace
from anybudget.training import SAMPLERS
from anybudget.training.greedy import GreedySampler, GreedySettings
from anybudget.training.samplers import FairSampler, Length, UniformSampler
from test_samplers import SPACE

ROOT = Path(__file__).parents[1]
SMALL = {name: load_recipe(ROOT / "recipes" / "small" / f"{name}.toml").build_space() for name in SPACES}
PAPERS = {
    "unified": "sgnas-imagenet",
    "mbconv": "greedynas-imagenet",
    "mbconv-se": "greedynas-se-imagenet",
    "shufflenet": "spos-imagenet",
    "shufflenet-channels": "spos-channels-imagenet",
    "resnet-bits": "spos-bits-resnet18",
    "nas-bench-201": "sgnas-nas-bench-201",
}
FILTERING = GreedySettings(sampled=6, kept=3, pool_size=8, warmup=0.2, ramp=0.2)


class PathLosses:
    """Losses that differ between the encodings of one architecture; remembers the latest of each path."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.latest: dict[PathEncoding, float] = {}

    def __call__(self, paths: Sequence[PathEncoding]) -> list[float]:
        for path in paths:
            self.latest[path] = float(self._rng.random())
        return [self.latest[path] for path in paths]


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_uniform_and_greedy_train_and_score_canonical_encodings_alone(name: str, seed: int) -> None:
    space, rng, losses = SMALL[name], np.random.default_rng(seed), PathLosses(seed)
    for sampler in (UniformSampler(space), GreedySampler(space, FILTERING, Length(60))):
        trained = [path for _ in range(25) for path in sampler.paths(rng, losses)]
        for path in {*trained, *losses.latest}:
            assert space.path_encoding(space.canonical(path)) == path
    assert losses.latest, "the greedy sampler scored nothing: its warm-up is longer than the test"


@pytest.mark.parametrize("name", SPACES)
def test_a_pool_has_the_losses_of_the_paths_that_were_scored(name: str) -> None:
    """The latest loss of a member is that of its canonical encoding, which is what the search scores."""
    space, losses, rng = SMALL[name], PathLosses(0), np.random.default_rng(0)
    sampler = GreedySampler(space, FILTERING, Length(60))
    for _ in range(40):
        sampler.paths(rng, losses)
    assert sampler.pool.full
    for member, loss in sampler.pool.losses.items():
        assert losses.latest[space.path_encoding(member)] == loss


def test_an_architecture_comes_as_often_as_choices_encode_it() -> None:
    """Choices are uniform, so every architecture comes, in proportion to its encodings."""
    choices = product(*(range(len(decision.choices)) for decision in SPACE.decisions))
    encoded = Counter(SPACE.canonical(PathEncoding("mbconv", tuple((choice,) for choice in each))) for each in choices)
    rng, draws = np.random.default_rng(0), 8_000
    sampler = UniformSampler(SPACE)
    drawn = Counter(SPACE.canonical(sampler.paths(rng, PathLosses(0))[0]) for _ in range(draws))
    assert set(drawn) == set(encoded) == set(SPACE.enumerate())
    expected = [encoded[architecture] * draws / SPACE.size() for architecture in encoded]
    assert chisquare([drawn[architecture] for architecture in encoded], expected).pvalue > 1e-3


Law = list[tuple[tuple[tuple[int, ...], ...], Fraction]]
"""Encodings of some decisions, each with the probability that a path of a fair round has it."""


def groups(space: SearchSpace) -> list[list[int]]:
    """Decisions whose canonical encoding depends on each other: runs of equal layers, the edges of a cell."""
    if isinstance(space, ChoiceBlockSpace):
        return [list(run.layers) for run in space._runs]
    if isinstance(space, UnifiedSpace):
        return [[0]] * len(space.decisions)  # all layers have the same choices
    if space.name == "nas-bench-201":
        return [list(range(len(space.decisions)))]
    return [[index] for index in range(len(space.decisions))]


def law(space: SearchSpace, group: Sequence[int]) -> Law:
    """What a path of a fair round has in a group: every slot uniform and independent, but for skipped sub-blocks."""
    if isinstance(space, UnifiedSpace):
        kernels, rates = range(space.skip), range(space.settings.min_expansion, space.settings.max_expansion + 1)
        skipped = {rate: (space.skip,) * (space.settings.max_expansion - rate) for rate in rates}
        return [
            ((used + skipped[rate],), Fraction(1, len(rates) * len(kernels) ** rate))
            for rate in rates
            for used in product(kernels, repeat=rate)
        ]
    encodings = list(product(*(space.decisions[index].choices for index in group)))
    return [(encoding, Fraction(1, len(encodings))) for encoding in encodings]


def fates(space: SearchSpace) -> Iterator[tuple[Fraction, Fraction]]:
    """Per group: how likely it is canonical, and how many of its blocks have other weights in the canonical path."""
    first = space.path_encoding(next(iter(space.enumerate()))).operations

    @cache
    def fate(group: tuple[int, ...]) -> tuple[Fraction, Fraction]:
        kept = moved = Fraction()
        for encoding, probability in law(space, group):
            operations = list(first)
            for index, slots in zip(group, encoding, strict=True):
                operations[index] = slots
            canonical = space.path_encoding(space.canonical(PathEncoding(space.name, tuple(operations)))).operations
            others = sum(canonical[index] != operations[index] for index in group)
            kept += probability * (others == 0)
            moved += probability * others
        return kept, moved

    for group in groups(space):
        yield fate(tuple(group))


def shares(space: SearchSpace) -> tuple[Fraction, Fraction]:
    """Of a fair round: the share of paths that are not canonical, and of blocks that the canonical path has not."""
    found = list(fates(space))
    return 1 - prod((kept for kept, _ in found), start=Fraction(1)), sum(
        (moved for _, moved in found), start=Fraction()
    ) / len(space.decisions)


@pytest.mark.parametrize("name", SPACES)
def test_the_shares_are_those_of_fair_rounds(name: str) -> None:
    """The closed form against what the sampler draws."""
    space, rng = SMALL[name], np.random.default_rng(0)
    sampler = FairSampler(space)
    paths: list[PathEncoding] = []
    while len(paths) < 1500:
        paths += sampler.paths(rng, PathLosses(0))
    canonical = [space.path_encoding(space.canonical(path)) for path in paths]
    other_paths = np.mean([path != encoding for path, encoding in zip(paths, canonical, strict=True)])
    other_blocks = np.mean(
        [
            mine != theirs
            for path, encoding in zip(paths, canonical, strict=True)
            for mine, theirs in zip(path.operations, encoding.operations, strict=True)
        ]
    )
    expected = [float(share) for share in shares(space)]
    assert [other_paths, other_blocks] == pytest.approx(expected, abs=0.05)


def test_mbconv_has_its_canonical_encoding_in_a_quarter_of_uniform_choices() -> None:
    space = load_recipe(ROOT / "recipes" / "greedynas-imagenet.toml").build_space()
    assert isinstance(space, MBConvSpace)
    assert shares(space)[0] == 1 - Fraction(space.networks(), space.size())


def test_the_document_has_these_shares() -> None:
    """docs/unified-supernet.md says for each space what `fair` trains that is never scored."""
    text = (ROOT / "docs" / "unified-supernet.md").read_text()
    for name, kind in SPACES.items():
        recipe = PAPERS.get(name)
        space = load_recipe(ROOT / "recipes" / f"{recipe}.toml").build_space() if recipe else kind(kind.settings_type())
        paths, blocks = (f"{100 * float(share):.1f}%" for share in shares(space))
        assert f"| `{name}` | {paths} | {blocks} |" in text


@pytest.mark.parametrize("name", ["unified", "mbconv", "nas-bench-201", "nas-bench-macro", "fbnet"])
def test_every_operation_with_weights_is_in_a_canonical_path(name: str) -> None:
    """What `fair` trains in other encodings is scored in some architecture, if not in that combination."""
    space, rng = SMALL[name], np.random.default_rng(0)
    sampler = UniformSampler(space)
    found = {
        (index, slot, operation)
        for _ in range(2000)
        for index, operations in enumerate(sampler.paths(rng, PathLosses(0))[0].operations)
        for slot, operation in enumerate(operations)
    }
    for index, decision in enumerate(space.decisions):
        for slot in range(decision.slots):
            for operation in {choice[slot] for choice in decision.choices}:
                assert (index, slot, operation) in found or decision.operations[operation] in ("skip", "identity")


@pytest.mark.parametrize("name", SAMPLERS)
def test_which_samplers_train_other_encodings(name: str) -> None:
    """`fair` alone does."""
    sampler, rng = (
        SAMPLERS[name](SMALL["mbconv"], FILTERING if name == "greedy" else None, Length(60)),
        np.random.default_rng(0),
    )
    space = SMALL["mbconv"]
    trained = [path for _ in range(40) for path in sampler.paths(rng, PathLosses(0))]
    assert any(space.path_encoding(space.canonical(path)) != path for path in trained) == (name == "fair")
