"""Small operations that are trained first and spread into larger ones, which then compute the same."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anybudget.data import DataSplits
from anybudget.errors import ConfigError
from anybudget.nets import Supernet, build_supernet
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.spaces import (
    PathEncoding,
    SearchSpace,
    UnifiedSpace,
    stages,
)
from anybudget.spaces.growth import origins
from anybudget.spaces.nas_bench_macro import NASBenchMacroSettings, NASBenchMacroSpace
from anybudget.spaces.shufflenet import ShuffleNetSettings, ShuffleNetSpace
from anybudget.testing import randomise_norms
from anybudget.testing.interruption import differing_files
from anybudget.training import sgd
from anybudget.training.greedy import GreedySampler
from anybudget.training.samplers import FairSampler, PathSampler, UniformSampler
from anybudget.training.settings import SupernetSchedule
from anybudget.training.spreading import Spreading
from anybudget.training.supernet import train_supernet
from stopping import stop_after
from tiny_spaces import small_mbconv

SMALL = {"input_size": 8, "input_channels": 1, "classes": 3, "stem_width": 4, "head_width": 8}
MACRO = NASBenchMacroSpace(NASBenchMacroSettings(**SMALL, stages=stages((4, 2, 2), (6, 1, 1))))  # type: ignore[arg-type]
SCHEDULE = SupernetSchedule(epochs=2, batch_size=16, learning_rate=0.1, spread_epoch=1)


def in_words(*operations: str) -> list[str]:
    """The origins of the operations of an mbconv space, by name."""
    return [operations[index] for index in origins(small_mbconv(2, *operations).layers[0])]


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ("skip k3_e3 k5_e6 k7_e3", "skip k3_e3 k3_e3 k3_e3"),
        ("k7_e6 k5_e2 k3_e6", "k3_e6 k5_e2 k3_e6"),  # two contain none: the one with more weights, here of channels
        ("k7_e6 k5_e4 k3_e6", "k5_e4 k5_e4 k3_e6"),  # and here of kernels
        ("k3_e3 k3_e3_se k5_e6_se k5_e6", "k3_e3 k3_e3_se k3_e3_se k3_e3"),
        ("k3_e2_g2 k5_e2_g2 k5_e4_g2 k3_e2", "k3_e2_g2 k3_e2_g2 k5_e4_g2 k3_e2"),  # shuffled channels are not copied
        ("k3_e3 k3_e3_g1 k5_e3", "k3_e3 k3_e3_g1 k3_e3"),  # equal blocks are two operations
    ],
)
def test_origins_are_the_smallest_operations_of_a_kind(operations: str, expected: str) -> None:
    assert in_words(*operations.split()) == expected.split()


def random_supernet(space: SearchSpace) -> Supernet:
    torch.manual_seed(0)
    net = build_supernet(space)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    randomise_norms(net, torch.Generator().manual_seed(1))
    return net


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "space",
    [
        small_mbconv(3, "k3_e3", "k5_e6", "k7_e4", "skip"),  # 4 is no multiple of 3
        small_mbconv(3, "k3_e2_se", "k5_e6_se", "k7_e3_se"),
        small_mbconv(3, "k3_e2_g2", "k5_e2_g2", "k7_e2_g2"),
        small_mbconv(3, "k1_e1", "k5_e1", "k1_e4"),
        MACRO,
    ],
    ids=["mbconv", "squeeze-and-excitation", "groups", "tiny", "nas-bench-macro"],
)
def test_large_operations_start_as_the_small_ones_they_contain(space: SearchSpace, training: bool) -> None:
    net = random_supernet(space)
    spreading = Spreading(net, 1, seed=3)
    large = [space.path_encoding(space.sample(np.random.default_rng(seed))) for seed in range(12)]
    small = [spreading.path(path, 0) for path in large]
    assert any(first != second for first, second in zip(large, small, strict=True))
    assert [spreading.path(path, 1) for path in large] == large
    images = torch.randn(12, 1, 8, 8)
    with torch.no_grad():
        expected = [net.train(training)(images, path) for path in small]
        spreading.spread(net)
        for path, logits in zip(large, expected, strict=True):
            torch.testing.assert_close(net(images, path), logits, rtol=1e-5, atol=1e-5)
            assert logits.std() > 1e-3


def test_copies_of_a_channel_learn_different_things() -> None:
    net = random_supernet(MACRO).train()
    Spreading(net, 1, seed=3).spread(net)
    path = PathEncoding(MACRO.name, ((2,), (2,), (2,)))
    kernels = net.get_parameter("layers.0.operations.2.branches.0.depthwise.conv.weight").detach()
    before = kernels.clone()
    assert torch.equal(before[:12], before[12:])  # the copies of 12 channels
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    nn.functional.cross_entropy(net(torch.randn(12, 1, 8, 8), path), torch.arange(12) % 3).backward()
    optimiser.step()
    assert (kernels[:12] - kernels[12:]).flatten(1).norm(dim=1).min() > 1e-4
    assert kernels[:, :, 0].abs().max(2).values.min() > 0  # what was padded learns, too


def watched(train: Callable[[], object]) -> list[list[tuple[int, ...]]]:
    """The operations of every path that is trained, as lists."""
    paths: list[list[tuple[int, ...]]] = []
    real = sgd.train_on

    def train_on(images: Tensor, labels: Tensor, forward: Any, *given: Any, **named: Any) -> sgd.StepResult:
        paths.append(list(forward.keywords["path"].operations))
        return real(images, labels, forward, *given, **named)

    with mock.patch("anybudget.training.supernet.train_on", train_on):
        train()
    return paths


@pytest.mark.parametrize("sampler", [FairSampler, UniformSampler])
def test_only_small_operations_are_trained_until_they_spread(sampler: type[PathSampler], data: DataSplits) -> None:
    net = random_supernet(MACRO)
    before = copy.deepcopy(net)
    spread: list[Supernet] = []
    real = Spreading.spread

    def spreading(self: Spreading, model: nn.Module) -> None:
        assert isinstance(model, Supernet)
        for name, parameter in model.named_parameters():
            untouched = torch.equal(parameter, before.get_parameter(name))
            assert untouched or ".operations.2." not in name, name
        real(self, model)
        spread.append(model)
        images = torch.randn(12, 1, 8, 8)
        small, large = (PathEncoding(MACRO.name, ((operation,),) * 3) for operation in (1, 2))
        torch.testing.assert_close(model(images, large), model(images, small), rtol=1e-5, atol=1e-5)

    with mock.patch.object(Spreading, "spread", spreading):
        schedule = SCHEDULE.model_copy(update={"ema": 0.9})
        paths = watched(lambda: train_supernet(net, sampler(MACRO), data, schedule))
    first, second = paths[: len(paths) // 2], paths[len(paths) // 2 :]
    assert {operation for path in first for operation in path} == {(0,), (1,)}
    assert {operation for path in second for operation in path} == {(0,), (1,), (2,)}
    assert len(spread) == 2  # the weights, and their average
    assert spread[0] is net
    assert spread[1] is not net


def test_stopped_around_the_moment_it_is_as_if_never_interrupted(recipe_file: Path, tmp_path: Path) -> None:
    macro = ["name=nas-bench-macro", "head_width=8", "stages=[{width=4, repeats=2, stride=2}]"]
    settings = [*(f"space.{key}" for key in macro), "supernet.spread_epoch=1", "supernet.ema=0.9"]
    recipe = load_recipe(recipe_file, ["checkpoint_seconds=0", "supernet.sampler=uniform", *settings])
    Run.create(recipe, tmp_path / "whole").train_supernet()
    per_epoch = len(Run.open(tmp_path / "whole").data.train) // 16
    stop_after(per_epoch - 1, Run.create(recipe, tmp_path / "broken").train_supernet)
    stop_after(0, Run.open(tmp_path / "broken").train_supernet)  # after the first step with large operations
    stop_after(0, Run.open(tmp_path / "broken").train_supernet)
    Run.open(tmp_path / "broken").train_supernet()
    assert not differing_files(tmp_path / "whole", tmp_path / "broken")


def test_what_cannot_spread_is_refused(space: UnifiedSpace, data: DataSplits, recipe_file: Path) -> None:
    shuffle = ShuffleNetSpace(ShuffleNetSettings(**SMALL, stages=stages((8, 2, 2))))  # type: ignore[arg-type]
    same = small_mbconv(2, "k5_e3", "k3_e6", "skip")
    for searched in (space, shuffle, same):
        message = rf"supernet\.spread_epoch: no operation of the space {searched.name} contains a smaller one"
        with pytest.raises(ConfigError, match=message):
            train_supernet(build_supernet(searched), UniformSampler(searched), data, SCHEDULE)
    with pytest.raises(ConfigError, match=r"spread_epoch: greedy scores paths .* another supernet\.sampler"):
        train_supernet(build_supernet(MACRO), GreedySampler(MACRO), data, SCHEDULE)
    with pytest.raises(ConfigError, match=r"supernet\.spread_epoch: 2 of the 2 epochs of supernet\.epochs leave none"):
        load_recipe(recipe_file, ["supernet.spread_epoch=2"])
