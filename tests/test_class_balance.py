"""Classes that count alike: weights of the loss, calibration images and scored images, on data with uneven classes."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from anybudget import from_tensors
from anybudget.data import BalancedValidation, DataSplits, TrainingBatches, class_weights
from anybudget.errors import ConfigError
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.generator.settings import GeneratorSchedule
from anybudget.generator.training import MixtureLoss
from anybudget.nets import UnifiedSupernet, build_network, build_supernet
from anybudget.recipe import load_recipe, resolved
from anybudget.runs.dependencies import affected
from anybudget.runs.run import Run
from anybudget.runtime.distributed import Processes
from anybudget.storage.changes import differences
from anybudget.testing import check_source
from anybudget.training.guessing import no_better_than_guessing
from anybudget.training.loop import TrainingContext
from anybudget.training.loss import TrainingLoss
from anybudget.training.retrain import train_network
from anybudget.training.samplers import UniformSampler
from anybudget.training.settings import Schedule, SupernetSchedule
from anybudget.training.sgd import train_on
from anybudget.training.supernet import train_supernet
from test_samplers import SPACE
from test_training import no_scores

CLASSES = 3
ONE_STEP = {"epochs": 1, "batch_size": 24, "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}


@pytest.fixture
def uneven() -> DataSplits:
    """24 training images, 15 of class 0, 6 of class 1 and 3 of class 2."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 15 + [1] * 6 + [2] * 3)
    images = torch.randint(0, 256, (24, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return from_tensors(images, labels, validation=(images, labels), test=(images, labels))


def test_weights_by_hand() -> None:
    labels = torch.tensor([0] * 15 + [1] * 6 + [2] * 3)
    # N / (C n) of each class.
    torch.testing.assert_close(class_weights(labels, 3, 1.0), torch.tensor([24 / 45, 24 / 18, 24 / 9]))
    torch.testing.assert_close(class_weights(labels, 3, 0.0), torch.ones(3))
    roots = torch.tensor([15.0, 6.0, 3.0]).sqrt()
    torch.testing.assert_close(class_weights(labels, 4, 0.5), torch.tensor([*(24 / roots / roots.sum()).tolist(), 0.0]))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0, 1))
def test_weights_keep_the_mean_and_never_favour_a_larger_class(labels: list[int], balance: float) -> None:
    answers = torch.tensor(labels)
    weights = class_weights(answers, 5, balance)
    counts = answers.bincount(minlength=5)
    assert float(weights[answers].mean()) == pytest.approx(1.0, rel=1e-5)
    there = counts > 0
    assert bool((weights[there] > 0).all())
    assert not weights[~there].any()
    order = counts[there].argsort()
    assert bool((weights[there][order].diff() <= 1e-6).all())


def by_hand(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return -(weights[labels] * logits.log_softmax(1)[torch.arange(len(labels)), labels]).mean()


def test_parts_of_a_batch_have_the_gradients_of_the_whole() -> None:
    torch.manual_seed(0)
    layer, weights = nn.Linear(4, CLASSES), torch.tensor([0.5, 1.0, 4.0])
    images, labels = torch.randn(7, 4), torch.tensor([0, 0, 0, 0, 1, 1, 2])  # parts of other classes
    reference = by_hand(layer(images), labels, weights)
    expected = torch.autograd.grad(reference, list(layer.parameters()))
    for parts in (1, 2, 3):
        layer.zero_grad()
        done = train_on(images, labels, layer, Processes(), parts, lowered=TrainingLoss(0.0, weights))
        assert done.loss == pytest.approx(reference.item(), rel=1e-6)
        for parameter, gradient in zip(layer.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)


def test_smoothing_is_weighted_and_not_reported() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2])
    weights = torch.tensor([1.0, 1.0, 3.0])
    lowered = TrainingLoss(0.3, weights)
    log_shares = logits.log_softmax(1)
    smooth = [0.7 * -log_shares[i, label] - 0.3 * log_shares[i].mean() for i, label in enumerate(labels.tolist())]
    loss = lowered(logits, labels)
    torch.testing.assert_close(loss, (smooth[0] + 3 * smooth[1]) / 2)
    torch.testing.assert_close(lowered.reported(loss, logits, labels), by_hand(logits, labels, weights))


def test_a_step_of_a_network_goes_down_the_weighted_loss(uneven: DataSplits) -> None:
    torch.manual_seed(0)
    network = build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(0))))
    reference = copy.deepcopy(network).train()
    rows: list[dict[str, float]] = []
    schedule = Schedule(**ONE_STEP, class_balance=1.0)
    train_network(network, uneven, schedule, seed=5, context=TrainingContext(log=rows.append))
    ((images, labels),) = TrainingBatches(uneven, uneven.train, 24, 5).epoch(1, torch.device("cpu"))
    loss = by_hand(reference(images), labels, torch.tensor([24 / 45, 24 / 18, 24 / 9]))
    loss.backward()
    assert rows[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in reference.named_parameters():
        assert parameter.grad is not None
        expected = parameter - 0.1 * parameter.grad
        torch.testing.assert_close(network.get_parameter(name), expected, rtol=1e-4, atol=1e-6, msg=name)


def test_a_step_of_a_supernet_goes_down_the_weighted_loss_of_every_path(uneven: DataSplits) -> None:
    torch.manual_seed(0)
    net = build_supernet(SPACE)
    reference = copy.deepcopy(net).train()
    schedule = SupernetSchedule(**ONE_STEP, paths_per_step=2, class_balance=0.5)
    train_supernet(net, UniformSampler(SPACE), uneven, schedule, seed=5)
    ((images, labels),) = TrainingBatches(uneven, uneven.train, 24, 5).epoch(1, torch.device("cpu"))
    rng, sampler, weights = np.random.default_rng(5), UniformSampler(SPACE), class_weights(labels, CLASSES, 0.5)
    for path in [sampler.paths(rng, no_scores)[0] for _ in range(2)]:
        by_hand(reference(images, path), labels, weights).backward()
    for name, parameter in reference.named_parameters():
        moved = torch.zeros(()) if parameter.grad is None else 0.1 * parameter.grad
        torch.testing.assert_close(net.get_parameter(name), parameter - moved, rtol=1e-4, atol=1e-6, msg=name)


def test_the_generators_loss_is_weighted(uneven: DataSplits) -> None:
    net = build_supernet(SPACE)
    batches = TrainingBatches(uneven, uneven.validation, 24, 0, class_balance=1.0)
    assert batches.class_weights is not None
    ((images, labels),) = batches.epoch(1, torch.device("cpu"))
    widest = max(len(decision.choices) for decision in SPACE.decisions)
    probabilities = torch.zeros(len(SPACE.decisions), widest)
    probabilities[:, 0] = 1.0
    loss = MixtureLoss(net, batches.class_weights)
    logits = loss.relaxed(images, probabilities)
    torch.testing.assert_close(loss(images, labels, probabilities), by_hand(logits, labels, batches.class_weights))
    assert float(loss(images, labels, probabilities)) != pytest.approx(float(F.cross_entropy(logits, labels)), abs=1e-6)


def test_guessing_knows_the_weights_and_top1_says_nothing() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    weights = class_weights(labels, 2, 1.0)
    assert no_better_than_guessing(labels, 0.6, 70.0, weights) is None  # below log 2, though top-1 is below 90%
    assert no_better_than_guessing(labels, 0.6, 70.0) is not None
    assert no_better_than_guessing(labels, 0.69, 99.0, weights) == f"loss 0.690 (guessing: {math.log(2):.3f})"


def test_the_balanced_validation_sample(uneven: DataSplits) -> None:
    view = BalancedValidation(uneven, seed=3)
    assert view.validation.labels.bincount().tolist() == [3, 3, 3]
    check_source(view)
    every = {image.numpy().tobytes() for image in uneven.validation.images}
    images = view.validation.read(torch.arange(9))
    assert {image.numpy().tobytes() for image in images} < every
    for (batch, labels), indices in zip(view.validation.batches(4), torch.arange(9).split(4), strict=True):
        assert torch.equal(batch, images[indices])
        assert torch.equal(labels, view.validation.labels[indices])
    others = [BalancedValidation(uneven, seed).validation.read(torch.arange(9)) for seed in (3, 4)]
    assert torch.equal(others[0], images)
    assert not torch.equal(others[1], images)
    assert view.train is uneven.train
    assert view.listing() == uneven.listing()


def test_scores_on_a_balanced_sample_have_top1_equal_to_balanced_accuracy(
    uneven: DataSplits, supernet: UnifiedSupernet
) -> None:
    settings = EvaluatorSettings(calibration_images=9, balanced=True)
    evaluator = Evaluator(supernet, BalancedValidation(uneven, 0), settings)
    assert evaluator.subnet_evaluator.calibration.labels.bincount().tolist() == [3, 3, 3]
    assert evaluator.largest_class_percent == pytest.approx(100 / 3)
    for seed in range(3):
        score = evaluator.score(supernet.space.sample(np.random.default_rng(seed)))
        assert score.top1_percent == pytest.approx(score.balanced_accuracy_percent)


def test_what_is_off_is_not_written_and_what_is_on_is_a_change(recipe_file: Path) -> None:
    plain = resolved(load_recipe(recipe_file))
    keys = {
        "supernet": {"class_balance": 0.5},
        "generator": {"class_balance": 1.0},
        "retrain": {"class_balance": 1.0},
        "search": {"balanced_calibration": True, "balanced_validation": True},
    }
    assert not any(key in plain[table] for table, values in keys.items() for key in values)
    sets = [f"{table}.{key}={str(value).lower()}" for table, values in keys.items() for key, value in values.items()]
    written = resolved(load_recipe(recipe_file, sets))
    for table, values in keys.items():
        assert {key: written[table][key] for key in values} == values
    changed = differences(plain, resolved(load_recipe(recipe_file, ["search.balanced_validation=true"])))
    assert set(affected(changed, "macs")) == {"search", "random", "retrain", "latency", "worth"}
    assert GeneratorSchedule().model_dump() == {
        k: v for k, v in GeneratorSchedule() if k not in GeneratorSchedule.UNSAID
    }


def test_a_run_on_uneven_classes_uses_all_of_it(recipe_file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [80, 25, 15])
    np.savez(tmp_path / "d.npz", x=rng.integers(0, 256, (120, 8, 8), dtype=np.uint8), y=labels)
    sets = [
        f"data.source={tmp_path / 'd.npz'}",
        "data.validation_fraction=0.3",
        *(f"{table}.class_balance=1.0" for table in ("supernet", "generator", "retrain")),
        "search.balanced_calibration=true",
        "search.balanced_validation=true",
        "search.metric=balanced_accuracy_percent",
    ]
    run = Run.create(load_recipe(recipe_file, sets), tmp_path / "run")
    run.train_supernet()
    run.train_generator()
    (answer, *_) = run.generate(run.recipe.budget_sets()[:1])
    judge = run.evaluator.subnet_evaluator
    smallest = int(run.data.validation.labels.bincount().min())
    assert judge.data.validation.labels.bincount().tolist() == [smallest] * 3
    found = answer.to_dict()
    assert found["supernet_top1_percent"] == pytest.approx(found["supernet_balanced_accuracy_percent"])
    result = run.retrain(answer.architecture)
    assert result["settings"]["class_balance"] == 1.0


def test_a_share_of_balance_is_from_0_to_1(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match=r"retrain\.class_balance: input should be less than or equal to 1"):
        load_recipe(recipe_file, ["retrain.class_balance=1.5"])
