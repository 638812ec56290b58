"""The paths of a step on images of their own, cut from one batch."""

import copy
import dataclasses
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anybudget.data import DataSplits, TrainingBatches
from anybudget.errors import ConfigError
from anybudget.nets import build_supernet
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runtime.batch_parts import batch_problem
from anybudget.spaces import UnifiedSpace
from anybudget.training import SAMPLERS
from anybudget.training.greedy import GreedySampler, GreedySettings
from anybudget.training.samplers import FairSampler, Length, PathSampler
from anybudget.training.settings import SupernetSchedule
from anybudget.training.supernet import train_supernet
from test_samplers import SPACE
from test_training import no_scores

SHARED = SupernetSchedule(
    epochs=1, batch_size=16, learning_rate=0.1, momentum=0.0, weight_decay=0.0, paths_per_step=3, share_batch=True
)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("paths", [3, "round"])
def test_a_step_is_that_of_the_mean_loss_over_images_of_several_paths(
    paths: int | str, accumulate: int, data: DataSplits
) -> None:
    """Sixteen images for three paths: 6, 5 and 5, and with two parts 3, 3, then 3, 2 twice."""
    one_batch = dataclasses.replace(data, train=data.train.subset(torch.arange(16)))
    torch.manual_seed(0)
    net = build_supernet(SPACE)
    reference = copy.deepcopy(net).train()
    schedule = SHARED.model_copy(update={"paths_per_step": paths, "accumulate": accumulate})
    spent = train_supernet(net, FairSampler(SPACE), one_batch, schedule, seed=5)
    ((images, labels),) = TrainingBatches(one_batch, one_batch.train, 16, 5).epoch(1, torch.device("cpu"))
    loss = torch.zeros(())
    for index, path in enumerate(FairSampler(SPACE).paths(np.random.default_rng(5), no_scores)):
        part = slice([0, 6, 11][index], [6, 11, 16][index])
        for x, y in zip(images[part].tensor_split(accumulate), labels[part].tensor_split(accumulate), strict=True):
            loss = loss + F.cross_entropy(reference(x, path), y, reduction="sum") / 16
    loss.backward()
    for (name, parameter), updated in zip(reference.named_parameters(), net.parameters(), strict=True):
        expected = parameter if parameter.grad is None else parameter - 0.1 * parameter.grad
        torch.testing.assert_close(updated, expected, rtol=1e-4, atol=1e-6, msg=name)
    assert spent.trained.images == 16


def test_without_it_every_path_has_the_whole_batch(data: DataSplits) -> None:
    net = build_supernet(SPACE)
    seen: list[int] = []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])) if net.training else None)
    with mock.patch("anybudget.training.supernet.record_statistics"):
        train_supernet(net, FairSampler(SPACE), data, SHARED.model_copy(update={"share_batch": False}))
        whole = set(seen)
        seen.clear()
        train_supernet(net, FairSampler(SPACE), data, SHARED)
    assert whole == {16}
    assert set(seen) == {6, 5}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_know_their_longest_round(name: str) -> None:
    sampler = SAMPLERS[name](SPACE, None, Length(10))
    rng = np.random.default_rng(0)
    lengths = [len(sampler.paths(rng, lambda paths: [0.0] * len(paths))) for _ in range(12)]
    assert sampler.most_paths == max(lengths)


@pytest.mark.parametrize("space_name", ["unified", "mbconv"])
def test_a_round_too_long_for_the_batch_is_refused_before_training(
    space_name: str, space: UnifiedSpace, data: DataSplits
) -> None:
    searched = space if space_name == "unified" else SPACE
    least = 2 * FairSampler(searched).most_paths
    schedule = SHARED.model_copy(update={"paths_per_step": "round", "batch_size": least - 1})
    net = build_supernet(searched)
    with (
        mock.patch.object(net, "forward", side_effect=AssertionError("trained")),
        pytest.raises(ConfigError, match=rf"batch_size {least - 1}, shared by {least // 2} paths .* at least {least}$"),
    ):
        train_supernet(net, FairSampler(searched), data, schedule)


def test_the_longest_round_of_greedy_sampling_counts_though_it_comes_late(data: DataSplits) -> None:
    sampler = GreedySampler(SPACE, GreedySettings(kept=9), Length(100, rounds=True))
    schedule = SHARED.model_copy(update={"paths_per_step": "round"})
    with pytest.raises(ConfigError, match=r"batch_size 16, shared by 9 paths .* at least 18$"):
        train_supernet(build_supernet(SPACE), sampler, data, schedule)


def test_a_sampler_that_does_not_say_is_refused_at_its_round(data: DataSplits) -> None:
    class Silent(FairSampler):
        most_paths = PathSampler.most_paths

    schedule = SHARED.model_copy(update={"paths_per_step": "round", "batch_size": 5})
    with pytest.raises(ConfigError, match=r"batch_size 5, shared by 3 paths .* at least 6$"):
        train_supernet(build_supernet(SPACE), Silent(SPACE), data, schedule)


def test_a_recipe_whose_batch_is_too_small_to_share_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    shared = ["supernet.share_batch=true", "supernet.batch_size=16"]
    with pytest.raises(ConfigError, match=r"share_batch: one path to a step \(supernet.paths_per_step = 1\)"):
        load_recipe(recipe_file, shared)
    message = r"supernet.batch_size 16, shared by 5 paths \(supernet.share_batch\), in 2 parts .* at least 20, or"
    with pytest.raises(ConfigError, match=message + " supernet.accumulate of at most 1"):
        load_recipe(recipe_file, [*shared, "supernet.paths_per_step=5", "supernet.accumulate=2"])
    run = Run.create(load_recipe(recipe_file, [*shared, "supernet.paths_per_step=round"]), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"batch_size 16, shared by 15 paths .* at least 30"):
        run.train_supernet()
    assert not (tmp_path / "run" / "supernet.safetensors").exists()


@pytest.mark.parametrize(("size", "processes", "accumulate", "paths"), [(30, 1, 1, 15), (24, 2, 2, 3), (31, 1, 1, 15)])
def test_the_least_batch_is_accepted(size: int, processes: int, accumulate: int, paths: int) -> None:
    assert batch_problem(size, processes, accumulate, paths) is None
    assert batch_problem(size - size % (2 * paths) - processes, processes, accumulate, paths) is not None
