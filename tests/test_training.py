"""Supernet training, retraining, the evaluator, and the proof that the search never sees the test split."""

import copy
import dataclasses
import math
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from anybudget.data import DataSplits, ImageSet, load_splits
from anybudget.errors import TrainingError
from anybudget.evaluation.evaluator import Evaluator, evaluate
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import UnifiedSupernet, build_network, build_supernet
from anybudget.spaces import PathEncoding, UnifiedSpace
from anybudget.training.annealing import Annealing
from anybudget.training.loop import TrainingContext
from anybudget.training.retrain import train_network
from anybudget.training.samplers import FairSampler
from anybudget.training.settings import Schedule, SupernetSchedule
from anybudget.training.supernet import train_supernet
from conftest import write_images
from tiny_spaces import tiny_macro


def no_scores(paths: list[PathEncoding]) -> list[float]:
    raise AssertionError(f"{len(paths)} paths were scored; this sampler has no use for scores")


PLAIN = SupernetSchedule(epochs=2, batch_size=16, learning_rate=0.05)
SCHEDULE = PLAIN.model_copy(update={"crop_padding": 1, "flip": True})


def trained(space: UnifiedSpace, data: DataSplits, seed: int = 0, **changes: object) -> UnifiedSupernet:
    torch.manual_seed(seed)
    net = build_supernet(space)
    assert isinstance(net, UnifiedSupernet)
    schedule = SCHEDULE.model_copy(update=changes)
    train_supernet(net, FairSampler(space), data, schedule, seed=seed)
    return net


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> UnifiedSupernet:
    """A trained supernet of the fixture `space` on the images of `data`."""
    images = write_images(tmp_path_factory.mktemp("trained") / "images.npz")
    return trained(UnifiedSpace(tiny_macro()), load_splits(str(images), seed=0, validation_fraction=0.3))


@pytest.fixture
def net(trained_once: UnifiedSupernet) -> UnifiedSupernet:
    """A copy of one's own."""
    return copy.deepcopy(trained_once)


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_same_seed_same_supernet(space: UnifiedSpace, data: DataSplits) -> None:
    first = trained(space, data, epochs=1)
    assert not first.training
    assert same(first, trained(space, data, epochs=1))
    assert not same(first, trained(space, data, seed=1, epochs=1))


def test_training_learns(space: UnifiedSpace, data: DataSplits) -> None:
    rows: list[dict[str, float]] = []
    torch.manual_seed(0)
    net = build_supernet(space)
    schedule = PLAIN.model_copy(update={"epochs": 30, "learning_rate": 0.2})
    train_supernet(net, FairSampler(space), data, schedule, context=TrainingContext(log=rows.append))
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert rows[-1]["learning_rate"] == pytest.approx(0, abs=1e-9)
    scores = [Evaluator(net, data).score(space.sample(np.random.default_rng(i))) for i in range(3)]
    assert min(score.top1_percent for score in scores) > 50  # guessing gives 33


def test_gradients_of_a_step_add_up_over_its_paths(space: UnifiedSpace, data: DataSplits) -> None:
    """One step of n paths equals n backward passes on the same batch and one update (FairNAS)."""
    one_batch = dataclasses.replace(data, train=data.train.subset(torch.arange(16)))
    torch.manual_seed(0)
    net = build_supernet(space)
    reference = copy.deepcopy(net)
    schedule = SupernetSchedule(
        epochs=1, batch_size=16, learning_rate=0.1, momentum=0.0, weight_decay=0.0, paths_per_step=3
    )
    train_supernet(net, FairSampler(space), one_batch, schedule, seed=5)
    reference.train()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(5))
    images, labels = one_batch.normalise(one_batch.train.images[order]), one_batch.train.labels[order]
    for path in FairSampler(space).paths(np.random.default_rng(5), no_scores)[:3]:
        nn.functional.cross_entropy(reference(images, path), labels).backward()
    for (name, parameter), updated in zip(reference.named_parameters(), net.parameters(), strict=True):
        expected = parameter if parameter.grad is None else parameter - 0.1 * parameter.grad
        torch.testing.assert_close(updated, expected, rtol=1e-4, atol=1e-6, msg=name)


def test_nan_stops_with_advice(space: UnifiedSpace, data: DataSplits) -> None:
    with pytest.raises(TrainingError, match="lower learning_rate"):
        trained(space, data, learning_rate=1e6, epochs=20)


def test_divergence_stops_with_advice(data: DataSplits) -> None:
    class Diverging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bias + torch.tensor([30.0, -30.0, 0.0]) + 0 * x.mean((1, 2, 3))[:, None]

    schedule = Schedule(epochs=20, batch_size=16, learning_rate=1e-9)
    with pytest.raises(TrainingError, match=r"diverges.*lower learning_rate"):
        train_network(Diverging(), data, schedule)


def test_cosine_with_warmup() -> None:
    factor = Annealing(10, warmup=2).cosine
    assert [round(factor(step), 3) for step in (0, 1, 2, 6, 10)] == [0.333, 0.667, 1.0, 0.5, 0.0]


def test_a_score_does_not_depend_on_what_was_scored_before(
    net: UnifiedSupernet, space: UnifiedSpace, data: DataSplits
) -> None:
    rng = np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(4)]
    weights = copy.deepcopy(net)
    forward, backward = Evaluator(net, data), Evaluator(net, data)
    scores = [forward.score(architecture) for architecture in architectures]
    assert [backward.score(architecture) for architecture in reversed(architectures)] == scores[::-1]
    assert same(net, weights)


def test_each_architecture_is_evaluated_once(net: UnifiedSupernet, space: UnifiedSpace, data: DataSplits) -> None:
    evaluator = Evaluator(net, data, EvaluatorSettings(calibration_images=20))
    architecture = space.sample(np.random.default_rng(0))
    assert evaluator.score(architecture) == evaluator.score(architecture)
    assert evaluator.spent.evaluations == 1
    assert evaluator.spent.images == 20 + len(data.validation)


def test_scores_are_what_the_extracted_network_gets(
    net: UnifiedSupernet, space: UnifiedSpace, data: DataSplits
) -> None:
    evaluator = Evaluator(net, data, EvaluatorSettings(batch_size=7))
    architecture = space.sample(np.random.default_rng(0))
    network = evaluator.network(architecture)
    with torch.no_grad():
        logits = network(data.normalise(data.validation.images))
    labels = data.validation.labels
    score = evaluator.score(architecture)
    assert score.top1_percent == pytest.approx(100 * (logits.argmax(1) == labels).float().mean().item())
    assert score.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)


def test_recalibration_replaces_the_shared_statistics(
    net: UnifiedSupernet, space: UnifiedSpace, data: DataSplits
) -> None:
    evaluator = Evaluator(net, data)
    architecture = space.sample(np.random.default_rng(0))
    before = evaluator.network(architecture)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.add_(3)  # type: ignore[union-attr]
    after = evaluator.network(architecture)
    for (name, first), second in zip(before.state_dict().items(), after.state_dict().values(), strict=True):
        torch.testing.assert_close(first, second, msg=name)


def test_retraining_improves_and_ends_in_evaluation_mode(space: UnifiedSpace, data: DataSplits) -> None:
    torch.manual_seed(0)
    network = build_network(space.block_specs(space.sample(np.random.default_rng(0))))
    before = evaluate(network.eval(), data.validation, data)
    train_network(network, data, PLAIN.model_copy(update={"epochs": 10}))
    assert not network.training
    assert evaluate(network, data.validation, data).loss < before.loss
    assert math.isfinite(before.loss)


def test_evaluation_counts_exactly(data: DataSplits) -> None:
    class AlwaysOne(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([0.0, 9.0, 0.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.logits.expand(len(x), 3)

    images = ImageSet(torch.zeros(5, 1, 8, 8, dtype=torch.uint8), torch.tensor([1, 1, 0, 1, 2]))
    assert evaluate(AlwaysOne(), images, data, batch_size=2).top1_percent == pytest.approx(60)


def test_training_never_asks_for_the_test_split(space: UnifiedSpace, data: DataSplits) -> None:
    with mock.patch.object(DataSplits, "test", side_effect=AssertionError("the search looked at the test split")):
        net = trained(space, data)
        Evaluator(net, data).score(space.sample(np.random.default_rng(0)))
