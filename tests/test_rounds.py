"""Whole rounds in one update, and how long greedy sampling warms up and its pool's probability grows."""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from unittest import mock

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from anybudget.data import DataSplits
from anybudget.errors import ConfigError
from anybudget.nets import Supernet, build_supernet
from anybudget.recipe import load_recipe, parse_recipe, resolved
from anybudget.runs.run import Run
from anybudget.spaces import PathEncoding, SearchSpace, UnifiedSpace
from anybudget.training import SAMPLERS
from anybudget.training.greedy import GreedySampler, GreedySettings
from anybudget.training.samplers import FairSampler, Length, UniformSampler
from anybudget.training.settings import SupernetSchedule
from anybudget.training.supernet import PathQueue, length_of, train_supernet
from conftest import SMALL_SEARCHES
from test_samplers import SPACE

SCHEDULE = SupernetSchedule(epochs=1, batch_size=16, learning_rate=0.01)


def contributions(
    net: Supernet, data: DataSplits, paths_per_step: int | Literal["round"], schedule: SupernetSchedule = SCHEDULE
) -> list[dict[str, int]]:
    """For every update of a training by fair rounds: how many gradients were added up for each parameter."""
    updates: list[dict[str, int]] = []
    counts: Counter[str] = Counter()
    handles = [
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: counts.update([name]))
        for name, parameter in net.named_parameters()
    ]

    def count(*_: object) -> None:
        updates.append(dict(counts))
        counts.clear()

    handles.append(register_optimizer_step_pre_hook(count))
    try:
        with mock.patch("anybudget.training.supernet.record_statistics"):
            taken = schedule.model_copy(update={"paths_per_step": paths_per_step})
            train_supernet(net, FairSampler(net.space), data, taken)
    finally:
        for handle in handles:
            handle.remove()
    return updates


def by_slot(space: SearchSpace, counts: dict[str, int]) -> dict[tuple[int, ...], set[int]]:
    """The counts of the depthwise convolutions of each layer, and with sub-blocks of each of these."""
    pattern = (
        r"layers\.(\d+)\.sub_blocks\.(\d+)\.depthwise\.\d+\.weight"
        if isinstance(space, UnifiedSpace)
        else r"layers\.(\d+)\.operations\.\d+\..*depthwise\.conv\.weight"
    )
    found: dict[tuple[int, ...], set[int]] = {}
    for name, number in counts.items():
        if match := re.fullmatch(pattern, name):
            found.setdefault(tuple(map(int, match.groups())), set()).add(number)
    return found


@pytest.mark.parametrize("kind", ["unified", "mbconv"])
def test_a_round_is_strictly_fair_in_every_update(kind: str, space: UnifiedSpace, data: DataSplits) -> None:
    """Each operation of each slot gets equally many gradients before each update; without rounds it does not."""
    torch.manual_seed(0)
    net = build_supernet(space if kind == "unified" else SPACE)
    data = dataclasses.replace(data, train=data.train.subset(torch.arange(32)))
    updates = contributions(net, data, "round")
    assert len(updates) == 2
    for counts in updates:
        slots = by_slot(net.space, counts)
        # Sub-blocks 1 to 6 are in use at ever fewer rates; of three operations that share nothing each comes once.
        uses = (5, 5, 4, 3, 2, 1)
        assert slots == {slot: {uses[slot[1]] if kind == "unified" else 1} for slot in slots}
        assert len(slots) == len(net.space.decisions) * (6 if kind == "unified" else 1)
        assert {name for name, _ in net.named_parameters()} == set(counts)
    for counts in contributions(build_supernet(net.space), data, 1):
        assert any(name not in counts for name in updates[0] if "depthwise" in name)


def test_parts_of_a_batch_are_forwarded_one_by_one_in_a_round(data: DataSplits) -> None:
    """As many small forwards as paths times parts, each followed by its backward, so memory is that of one."""
    torch.manual_seed(0)
    net = build_supernet(SPACE)
    images: list[int] = []
    net.register_forward_pre_hook(lambda _, inputs: images.append(len(inputs[0])) if net.training else None)
    schedule = SupernetSchedule(epochs=1, batch_size=16, learning_rate=0.01, accumulate=2)
    updates = contributions(net, data, "round", schedule)
    rounds = [number for number in images if number == 8]
    assert len(rounds) == len(updates) * 3 * 2
    assert {max(counts.values()) for counts in updates} == {6}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_say_whether_they_have_rounds(name: str) -> None:
    sampler = SAMPLERS[name](SPACE, None, Length(100))
    assert sampler.has_rounds == (name != "uniform")


def test_a_sampler_without_rounds_is_refused(data: DataSplits, recipe_file: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"paths_per_step: \"round\" needs a sampler with rounds, and 'uniform' draws"
    ):
        load_recipe(recipe_file, ["supernet.paths_per_step=round", "supernet.sampler=uniform"])
    whole_rounds = SCHEDULE.model_copy(update={"paths_per_step": "round"})
    with pytest.raises(ConfigError, match=r"paths_per_step: \"round\" needs a sampler with rounds, and UniformSampler"):
        train_supernet(build_supernet(SPACE), UniformSampler(SPACE), data, whole_rounds)


@pytest.mark.parametrize("value", ["0", "rounds", "1.5", "true", "-1", "10000000000"])
def test_what_is_no_number_of_paths_is_named(value: str, recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"supernet.paths_per_step: input should be a whole number .* or \"round\""):
        load_recipe(recipe_file, [f"supernet.paths_per_step={value}"])


def test_a_greedy_run_trains_the_paths_that_it_keeps_in_one_update(recipe_file: Path, tmp_path: Path) -> None:
    """One path a step while warming up, then `kept`; the recipe that is kept says so, too."""
    recipe_file.write_text(recipe_file.read_text() + SMALL_SEARCHES)
    settings = ["sampler=greedy", "paths_per_step=round", "greedy.warmup_iterations=3", "greedy.window=0"]
    run = Run.create(load_recipe(recipe_file, [f"supernet.{setting}" for setting in settings]), tmp_path / "run")
    run.train_supernet()
    steps = length_of(run.data, run.recipe.supernet).steps
    spent = run.folder.read_json("supernet.json")
    assert spent["images_trained"] == 16 * (3 + 2 * (steps - 3))
    assert Run.open(tmp_path / "run").recipe.supernet.paths_per_step == "round"


def no_losses(paths: Sequence[PathEncoding]) -> list[float]:
    return [0.0] * len(paths)


@pytest.mark.parametrize(
    ("length", "warm", "rounds"),
    [
        (Length(100), 20, 40 / 5),
        (Length(100, 3), 60, 3 * 40 / 5),
        (Length(100, 1, rounds=True), 20, 40),
        (Length(100, 2, rounds=True), 40, 80),
    ],
)
@pytest.mark.parametrize("iterations", [False, True])
def test_warm_up_and_ramp_are_in_steps(length: Length, warm: int, rounds: float, iterations: bool) -> None:
    """A fifth of the steps to warm up, then half of the rest until paths come from the pool as often as they may."""
    shares = {"warmup_iterations": 20, "ramp_iterations": 40} if iterations else {"warmup": 0.2, "ramp": 0.5}
    sampler = GreedySampler(SPACE, GreedySettings(window=0, **shares), length)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    assert [len(sampler.paths(rng, no_losses)) for _ in range(warm + 2)] == [1] * warm + [5] * 2
    assert sampler.pool_probability == pytest.approx(0.8 * 2 / rounds)
    for _ in range(int(rounds) - 3):
        sampler.paths(rng, no_losses)
    assert sampler.pool_probability < 0.8
    sampler.paths(rng, no_losses)
    assert sampler.pool_probability == 0.8


def test_an_early_stop_can_end_at_the_full_probability() -> None:
    """With a ramp shorter than training the pool is steady while it is drawn from as often as it may be."""
    settings = GreedySettings(warmup=0.0, ramp=0.05, pool_size=3, window=20, stop_share=0.0)
    sampler = GreedySampler(SPACE, settings, Length(5000))
    rng = np.random.default_rng(0)
    for _ in range(400):
        if sampler.finished:
            break
        sampler.paths(rng, lambda paths: [float(sum(op for (op,) in path.operations)) for path in paths])
    assert sampler.finished
    assert sampler.pool_probability == 0.8


def test_without_a_ramp_the_pool_is_drawn_from_at_once() -> None:
    sampler = GreedySampler(SPACE, GreedySettings(warmup=0.0, ramp=0.0), Length(100))
    assert sampler.pool_probability == 0.8


@pytest.mark.parametrize("name", ["warmup", "ramp"])
def test_two_lengths_are_refused(name: str, recipe_file: Path) -> None:
    both = [f"supernet.greedy.{name}=0.1", f"supernet.greedy.{name}_iterations=50"]
    with pytest.raises(ConfigError, match=rf"greedy.{name}: a share of 0.1 and 50 iterations .* are two lengths; give"):
        load_recipe(recipe_file, both)
    greedy = load_recipe(recipe_file, both[1:]).supernet.greedy
    assert (getattr(greedy, name), getattr(greedy, f"{name}_iterations")) == (0.0, 50)
    # What a run folder keeps has every default filled in, and must not contradict itself.
    again = parse_recipe(resolved(load_recipe(recipe_file, both[1:])), "again")
    assert again.supernet.greedy == greedy


def test_a_warm_up_without_end_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    settings = ["supernet.sampler=greedy", "supernet.greedy.warmup_iterations=10000"]
    run = Run.create(load_recipe(recipe_file, settings), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"warmup_iterations: a warm-up of 10000 steps leaves none of the \d+ of the"):
        run.train_supernet()


def test_a_round_is_not_split() -> None:
    """Whole rounds leave no path for the next step."""
    queue = PathQueue(FairSampler(SPACE), np.random.default_rng(0), no_losses)
    again = PathQueue(FairSampler(SPACE), np.random.default_rng(0), no_losses)
    whole = [queue.take("round") for _ in range(2)]
    assert [again.take(2) for _ in range(3)] == [
        [*whole[0][:2]],
        [whole[0][2], whole[1][0]],
        [*whole[1][1:]],
    ]
    assert queue.state_dict()["waiting"] == []
