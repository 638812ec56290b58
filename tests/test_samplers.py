"""Greedy path filtering: the pool, who is trained, when it stops, and what it is counted as."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anybudget.architecture import Architecture
from anybudget.data import DataSplits
from anybudget.nets import build_supernet
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.accounting import TrainingSpending
from anybudget.spaces import MBConvSettings, MBConvSpace, PathEncoding, stages
from anybudget.storage.records import PoolMember, read_records
from anybudget.training.greedy import GreedySampler, GreedySettings
from anybudget.training.loop import TrainingContext
from anybudget.training.pool import CandidatePool
from anybudget.training.samplers import Length
from anybudget.training.scoring import PathScorer
from anybudget.training.settings import SupernetSchedule
from anybudget.training.supernet import length_of, train_supernet

SPACE = MBConvSpace(
    MBConvSettings(
        input_size=8,
        input_channels=1,
        classes=3,
        stem_width=4,
        stem_stride=1,
        first_width=0,
        stages=stages((4, 3, 1), (6, 1, 2)),
        head_width=8,
        operations=("k3_e3", "k5_e3", "skip"),
    )
)
LAYERS = len(SPACE.decisions)


def loss(path: PathEncoding) -> float:
    """The more layers use operation 1, the better."""
    return -float(sum(operation == 1 for (operation,) in path.operations))


class Scores:
    """Scores paths by `loss` and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[list[PathEncoding]] = []

    def __call__(self, paths: Sequence[PathEncoding]) -> list[float]:
        self.asked.append(list(paths))
        return [loss(path) for path in paths]


def arch(*choices: int) -> Architecture:
    return Architecture("mbconv", choices)


@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0, 5)), max_size=60), st.integers(1, 6))
def test_the_pool_is_bounded_and_keeps_the_best_by_latest_score(events: list[tuple[int, float]], size: int) -> None:
    pool = CandidatePool(size)
    latest: dict[Architecture, float] = {}
    for key, value in events:
        member = arch(key)
        worst = max(pool.losses.values(), default=0.0)
        entered = member in pool or len(pool) < size or value <= worst
        pool.add(member, value)
        latest[member] = value
        assert len(pool) <= size
        assert (member in pool) == entered
    assert all(pool.losses[member] == latest[member] for member in pool)
    assert [pool.losses[member] for member in pool] == sorted(pool.losses.values())


def test_stale_scores_are_replaced_and_others_are_not_taken_in() -> None:
    pool = CandidatePool(2)
    pool.add(arch(1), 1.0)
    pool.add(arch(2), 2.0)
    pool.rescore(arch(1), 9.0)
    pool.rescore(arch(3), 0.0)
    assert dict(pool.losses) == {arch(1): 9.0, arch(2): 2.0}
    assert list(pool) == [arch(2), arch(1)]
    pool.add(arch(4), 3.0)
    assert set(pool) == {arch(2), arch(4)}


def test_the_pool_survives_json() -> None:
    pool = CandidatePool(3)
    for index, value in enumerate((0.3, 0.1, 0.2)):
        pool.add(arch(index), value)
    kept = [PoolMember.model_validate_json(json.dumps(member.to_json())) for member in pool.to_records()]
    assert [member.loss for member in kept] == [0.1, 0.2, 0.3]
    assert CandidatePool.from_records(kept).losses == pool.losses


def test_warm_up_is_uniform_then_the_best_of_a_round_are_trained() -> None:
    scores = Scores()
    sampler = GreedySampler(SPACE, GreedySettings(warmup=0.25), Length(400))
    rng = np.random.default_rng(0)
    warm = [path for _ in range(100) for path in sampler.paths(rng, scores)]
    assert not scores.asked
    assert len(sampler.pool) == 0
    assert set(Counter(path.operations[0] for path in warm)) == {(0,), (1,), (2,)}
    trained = sampler.paths(rng, scores)
    (asked,) = scores.asked
    assert (len(asked), len(trained)) == (10, 5)
    assert sorted(map(loss, trained)) == [loss(path) for path in trained] == sorted(map(loss, asked))[:5]
    assert set(sampler.pool) == {SPACE.canonical(path) for path in trained}


def test_paths_come_from_the_pool_ever_more_often() -> None:
    """From none to the given share, growing linearly with the rounds."""
    settings = GreedySettings(warmup=0.0, pool_probability=0.8, pool_size=5, window=0)
    scores = Scores()
    sampler = GreedySampler(SPACE, settings, Length(5 * 2000))
    assert sampler.pool_probability == 0
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(2000):
        members = set(sampler.pool)
        sampler.paths(rng, scores)
        drawn = [SPACE.canonical(path) for path in scores.asked[-1]]
        shares.append(np.mean([architecture in members for architecture in drawn]))
    assert sampler.pool_probability == pytest.approx(0.8)
    # A uniform path is in the pool by chance, too: five of 66 networks.
    chance = 5 / SPACE.networks()
    for part in range(4):
        expected = 0.8 * (part + 0.5) / 4
        found = float(np.mean(shares[part * 500 : (part + 1) * 500]))
        assert found == pytest.approx(expected + (1 - expected) * chance, abs=0.08)


def test_it_stops_when_the_pool_is_steady_and_not_before() -> None:
    settings = GreedySettings(warmup=0.0, pool_size=3, window=20, stop_share=0.0)
    sampler = GreedySampler(SPACE, settings, Length(5000))
    rng = np.random.default_rng(0)
    rounds = 0
    while not sampler.finished and rounds < 1000:
        sampler.paths(rng, Scores())
        rounds += 1
    assert 40 <= rounds < 1000
    assert rounds % 20 == 0
    restless = GreedySampler(SPACE, settings.model_copy(update={"pool_size": 5}), Length(5000))
    for _ in range(200):
        restless.paths(rng, lambda paths: list(rng.random(len(paths))))
    assert not restless.finished


def test_ages_of_losses_follow_every_score_and_survive_json() -> None:
    pool = CandidatePool(3)
    for index in range(4):  # the fourth pushes out the third, which is worst
        pool.add(arch(index), (0.5, 0.2, 0.9, 0.3)[index])
    assert pool.oldest(9) == [arch(0), arch(1), arch(3)]
    pool.rescore(arch(0), 0.1)
    pool.add(arch(1), 0.4)
    assert pool.oldest(2) == [arch(3), arch(0)]
    assert pool.oldest(2, {arch(0)}) == [arch(3), arch(1)]
    copy = CandidatePool(3)
    copy.load_state_dict(json.loads(json.dumps(pool.state_dict())), "mbconv")
    assert (copy.oldest(3), list(copy.losses.items())) == (pool.oldest(3), list(pool.losses.items()))


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_stale_members_are_rescored_at_the_stated_rate_oldest_first(rate: float) -> None:
    """They are scored with the round, get their new loss, and are not trained for it."""
    settings = GreedySettings(warmup=0.0, sampled=4, kept=2, pool_size=6, pool_probability=0.0, window=0, rescore=rate)
    sampler = GreedySampler(SPACE, settings, Length(100))
    rng, asked = np.random.default_rng(0), 0
    for number in range(60):
        oldest, scores = sampler.pool.oldest(6), Scores()
        trained = sampler.paths(rng, lambda paths, scores=scores, number=number: [x + number for x in scores(paths)])
        (paths,) = scores.asked
        sampled, stale = ([SPACE.canonical(path) for path in part] for part in (paths[:4], paths[4:]))
        assert len(trained) == 2
        assert {SPACE.canonical(path) for path in trained} <= set(sampled)
        assert stale == [member for member in oldest if member not in sampled][: len(stale)]
        for member in set(stale) & set(sampler.pool):
            assert sampler.pool.losses[member] == loss(SPACE.path_encoding(member)) + number
        asked += len(stale) if number >= 30 else 0
    assert asked == 30 * 4 * rate


@pytest.mark.parametrize("window", [0, 10_000])
def test_without_a_window_it_never_stops(window: int) -> None:
    sampler = GreedySampler(SPACE, GreedySettings(warmup=0.0, pool_size=2, window=window), Length(500))
    for _ in range(300):
        sampler.paths(np.random.default_rng(0), Scores())
    assert not sampler.finished


def test_balanced_batches_have_every_class_equally_often(data: DataSplits) -> None:
    first, second = (data.validation.sample(15, seed, balanced=True) for seed in (0, 1))
    assert Counter(first.labels.tolist()) == {0: 5, 1: 5, 2: 5}
    assert not torch.equal(first.images, second.images)
    assert len(torch.unique(first.images.flatten(1), dim=0)) == 15
    assert len(data.validation.sample(10**6, 0, balanced=True)) == len(data.validation)


def test_scores_are_losses_of_single_forwards_on_a_batch(data: DataSplits) -> None:
    torch.manual_seed(0)
    net = build_supernet(SPACE).train()
    spent = TrainingSpending()
    score = PathScorer(net, data, 12, 7, spent)
    paths = SPACE.fair_round(np.random.default_rng(0))
    losses = score(paths)
    batch = data.validation.sample(12, 7, balanced=True)
    with torch.no_grad():
        for path, found in zip(paths, losses, strict=True):
            logits = net(data.normalise(batch.images), path)
            assert found == pytest.approx(float(torch.nn.functional.cross_entropy(logits, batch.labels)), abs=1e-5)
    assert spent.scored.images == 12 * len(paths)


def test_training_counts_what_it_did_and_stops_early(data: DataSplits) -> None:
    torch.manual_seed(0)
    net = build_supernet(SPACE)
    schedule = SupernetSchedule(epochs=30, batch_size=16, learning_rate=0.05)
    steps = length_of(data, schedule).steps
    settings = GreedySettings(sampled=4, kept=2, score_images=9, pool_size=2, warmup=0.1, window=2, stop_share=1.0)
    sampler = GreedySampler(SPACE, settings, length_of(data, schedule))
    rows: list[dict[str, float]] = []
    spent = train_supernet(net, sampler, data, schedule, context=TrainingContext(log=rows.append)).to_dict()
    assert sampler.finished
    assert len(rows) < 30
    trained, scored = spent["images_trained"], spent["images_scored"]
    assert trained % 16 == 0
    assert scored % (4 * 9) == 0
    assert trained < 16 * steps
    assert spent["macs_trained"] > 0
    assert spent["cost_ratio"] > 0
    assert spent["images_corrected"] == pytest.approx(trained + scored / spent["cost_ratio"])


def test_a_greedy_run_keeps_its_pool(recipe_file: Path, tmp_path: Path) -> None:
    options = ["supernet.sampler=greedy", "supernet.greedy.score_images=12", "supernet.greedy.pool_size=4"]
    run = Run.create(load_recipe(recipe_file, options), tmp_path / "run")
    run.train_supernet()
    members = list(read_records(tmp_path / "run" / "pool.jsonl", PoolMember))
    assert 1 <= len(members) <= 4
    pool = CandidatePool.from_records(members)
    for member in pool:
        run.space.validate(member)
