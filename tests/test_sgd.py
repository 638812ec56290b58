"""What gradient descent does to losses and gradients: smoothed labels, and norms that are clipped."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anybudget.data import DataSplits, TrainingBatches
from anybudget.nets import build_network, build_supernet
from anybudget.training.loop import TrainingContext
from anybudget.training.retrain import train_network
from anybudget.training.samplers import FairSampler
from anybudget.training.settings import Schedule, SupernetSchedule
from anybudget.training.supernet import train_supernet
from test_samplers import SPACE
from test_training import no_scores

ONE_STEP = {"epochs": 1, "batch_size": 16, "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}


@pytest.fixture
def batch(data: DataSplits) -> DataSplits:
    """As many images as one batch has."""
    return dataclasses.replace(data, train=data.train.subset(torch.arange(16)))


def images_of(batch: DataSplits) -> tuple[torch.Tensor, torch.Tensor]:
    ((images, labels),) = TrainingBatches(batch, batch.train, 16, 5).epoch(1, torch.device("cpu"))
    return images, labels


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("norm", [0.05, 1e6])
def test_the_gradients_of_smoothed_labels_of_all_paths_are_clipped_together(
    norm: float, accumulate: int, batch: DataSplits
) -> None:
    torch.manual_seed(0)
    net = build_supernet(SPACE)
    reference = copy.deepcopy(net).train()
    schedule = SupernetSchedule(
        **ONE_STEP, paths_per_step=3, accumulate=accumulate, clip_norm=norm, label_smoothing=0.2
    )
    train_supernet(net, FairSampler(SPACE), batch, schedule, seed=5)
    images, labels = images_of(batch)
    for path in FairSampler(SPACE).paths(np.random.default_rng(5), no_scores)[:3]:
        for x, y in zip(images.tensor_split(accumulate), labels.tensor_split(accumulate), strict=True):
            (F.cross_entropy(reference(x, path), y, label_smoothing=0.2) / accumulate).backward()
    gradients = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    total = torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()
    assert total > 0.05
    for name, parameter in reference.named_parameters():
        moved = 0.1 * min(1.0, norm / float(total)) * gradients.get(name, torch.zeros(()))
        torch.testing.assert_close(net.get_parameter(name), parameter - moved, rtol=1e-4, atol=1e-6, msg=name)


def test_labels_are_smoothed_in_training_and_the_plain_loss_is_reported(batch: DataSplits) -> None:
    torch.manual_seed(0)
    network = build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(0))))
    reference = copy.deepcopy(network).train()
    rows: list[dict[str, float]] = []
    context = TrainingContext(log=rows.append)
    train_network(network, batch, Schedule(**ONE_STEP, label_smoothing=0.3), seed=5, context=context)
    images, labels = images_of(batch)
    log_shares = reference(images).log_softmax(1)
    plain = -log_shares[torch.arange(16), labels].mean()
    (0.7 * plain - 0.3 * log_shares.mean()).backward()
    for name, parameter in reference.named_parameters():
        assert parameter.grad is not None
        expected = parameter - 0.1 * parameter.grad
        torch.testing.assert_close(network.get_parameter(name), expected, rtol=1e-4, atol=1e-6, msg=name)
    assert rows[0]["loss"] == pytest.approx(plain.item(), rel=1e-5)
