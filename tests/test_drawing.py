"""How splits are drawn: of each class the same share, and whole groups as near to that as they can come."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anybudget.data.drawing import by_group, distance, stratified

FRACTIONS = [0.2, 0.15]


@given(st.lists(st.integers(3, 60), min_size=1, max_size=6), st.integers(0, 9))
def test_every_class_has_its_share_in_every_part(counts: list[int], seed: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    parts = stratified(labels, FRACTIONS, seed)
    assert torch.cat(parts).sort().values.tolist() == list(range(len(labels)))
    for part, fraction in zip(parts, FRACTIONS, strict=False):
        for label, count in enumerate(counts):
            drawn = int((labels[part] == label).sum())
            assert drawn >= 1
            assert abs(drawn - fraction * count) <= 1
    assert labels[parts[-1]].bincount(minlength=len(counts)).min() >= 1


def grouped(draw_groups: int, images: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, classes, images))
    groups = torch.from_numpy(np.unique(rng.integers(0, draw_groups, images), return_inverse=True)[1])
    return labels, groups


@settings(max_examples=30)
@given(st.integers(3, 40), st.integers(10, 120), st.integers(1, 4), st.integers(0, 1000))
def test_no_group_is_in_two_parts_and_all_images_are_in_one(groups: int, images: int, classes: int, seed: int) -> None:
    labels, of = grouped(groups, images, classes, seed)
    parts = by_group(labels, of, FRACTIONS, seed)
    assert torch.cat(parts).sort().values.tolist() == list(range(images))
    there = [set(of[part].tolist()) for part in parts]
    assert sum(map(len, there)) == len(set.union(*there)) == int(of.max()) + 1
    again = by_group(labels, of, FRACTIONS, seed)
    assert all(torch.equal(part, other) for part, other in zip(parts, again, strict=True))
    assert all(bool((part.diff() > 0).all()) for part in parts)


def counts_of(labels: torch.Tensor, parts: list[torch.Tensor], classes: int) -> np.ndarray:
    return np.stack([labels[part].bincount(minlength=classes).numpy() for part in parts]).astype(float)


SHARES = np.array([*FRACTIONS, 1 - sum(FRACTIONS)])


@pytest.mark.parametrize("seed", range(12))
def test_of_few_groups_it_is_the_best_division_there_is(seed: int) -> None:
    labels, groups = grouped(3 + seed % 5, 40, 3, seed)
    found = counts_of(labels, by_group(labels, groups, FRACTIONS, seed), 3)
    every = [
        counts_of(labels, [torch.isin(groups, torch.tensor([g for g in range(len(p)) if p[g] == part])).nonzero()[:, 0]
                           for part in range(3)], 3)
        for p in product(range(3), repeat=int(groups.max()) + 1)
    ]  # fmt: skip
    best = min((int((counts == 0).sum()), distance(counts, SHARES)) for counts in every)
    assert (int((found == 0).sum()), distance(found, SHARES)) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_one_image_come_as_near_as_a_stratified_draw(seed: int) -> None:
    labels = torch.tensor([0] * 170 + [1] * 20 + [2] * 10)[
        torch.randperm(200, generator=torch.Generator().manual_seed(seed))
    ]
    found = counts_of(labels, by_group(labels, torch.arange(200), FRACTIONS, seed), 3)
    alike = counts_of(labels, stratified(labels, FRACTIONS, seed), 3)
    assert distance(found, SHARES) <= distance(alike, SHARES) + 1e-9
    assert np.abs(found - np.outer(SHARES, [170, 20, 10])).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_many_uneven_groups_come_near_to_the_shares(seed: int) -> None:
    """As of patients: 60 groups of 1 to 40 images, most of one class."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, 60)
    groups = torch.from_numpy(np.repeat(np.arange(60), sizes))
    kinds = rng.choice(3, 60, p=[0.7, 0.2, 0.1])
    labels = torch.from_numpy(np.where(rng.random(len(groups)) < 0.9, kinds[groups], rng.integers(0, 3, len(groups))))
    found = counts_of(labels, by_group(labels, groups, FRACTIONS, seed), 3)
    assert np.abs(found.sum(1) / len(groups) - SHARES).max() < 0.01
    assert np.abs(found / found.sum(0) - SHARES[:, None]).max() < 0.06
    assert found.min() > 0


def test_the_distance_by_hand() -> None:
    counts = np.array([[2.0, 0.0], [6.0, 4.0]])
    # Wanted of each class: 2 and 6, 1 and 3; of all images 3 and 9.
    assert distance(counts, np.array([0.25, 0.75])) == pytest.approx(1 / 1 + 1 / 3 + 1 / 3 + 1 / 9)


def test_another_seed_draws_others() -> None:
    labels, groups = grouped(30, 100, 2, 0)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(by_group(labels, groups, FRACTIONS, 0), by_group(labels, groups, FRACTIONS, 1), strict=True)
    )
