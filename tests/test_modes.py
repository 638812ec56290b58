"""Paths are scored, and the generator is trained, by batch statistics and without the randomness of training."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from anybudget.budgets import BudgetSet
from anybudget.costs import build_costs
from anybudget.data import DataSplits
from anybudget.evaluation.evaluator import Evaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.generator.settings import GeneratorSchedule
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.modes import scoring
from anybudget.runtime.accounting import TrainingSpending
from anybudget.search.base import SearchContext
from anybudget.search.direct import DirectSettings, DirectStrategy
from anybudget.spaces import SearchSpace, UnifiedSpace
from anybudget.testing import randomise_norms
from anybudget.testing.supernets import one_hot
from anybudget.training.loop import TrainingContext
from anybudget.training.scoring import PathScorer
from generators import generator_for, train_for
from tiny_spaces import small_channels, small_mbconv, tiny_macro


def dropping(space: SearchSpace, dropout: float) -> SearchSpace:
    """The same space with another dropout before the classifier."""
    return type(space)(space.settings.model_copy(update={"dropout": dropout}))  # type: ignore[attr-defined]


SPACES = [UnifiedSpace(tiny_macro()), small_mbconv(), small_channels()]
every_space = pytest.mark.parametrize("space", SPACES, ids=[space.name for space in SPACES])


def make(space: SearchSpace, dropout: float = 0.8) -> Supernet:
    torch.manual_seed(0)
    net = build_supernet(dropping(space, dropout))
    randomise_norms(net, torch.Generator().manual_seed(1))
    return net.eval()


class Shaken(nn.Module):
    """Noise in training, as drop path or a layer of one's own would give."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x) if self.training else x


@every_space
def test_a_path_scored_twice_on_the_same_images_has_the_same_loss(space: SearchSpace, data: DataSplits) -> None:
    net = make(space).train()
    net.after.insert(0, Shaken())
    before = copy.deepcopy(net.state_dict())
    score = PathScorer(net, data, len(data.validation), 0, TrainingSpending())
    path = net.space.fair_round(np.random.default_rng(0))[0]
    state = score.state_dict()
    losses = []
    for _ in range(2):
        score.load_state_dict(state)
        losses += score([path, path])
    assert len(set(losses)) == 1
    assert all(module.training for module in net.modules())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    # By the statistics of the batch: not those that were made up.
    with torch.no_grad():
        net.eval()
        images, labels = data.validation.images, data.validation.labels
        assert losses[0] != float(F.cross_entropy(net(data.normalise(images), path), labels))


@every_space
def test_a_one_hot_mixture_has_the_loss_of_the_path(space: SearchSpace) -> None:
    net = make(space).double()
    x = torch.randn(12, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    architecture = net.space.sample(np.random.default_rng(1))
    hot = one_hot(net.space, architecture)
    mixture = net.relaxed()
    with torch.no_grad():
        torch.testing.assert_close(mixture(x, hot), net(x, architecture), rtol=0, atol=1e-9)
        mixture.train()
        assert torch.equal(mixture(x, hot), mixture(x, hot))
        if space.name != "unified":  # whose sub-blocks keep their running statistics, see `explicit_mixture`
            with scoring(net):
                net.before.eval()
                path = net(x, architecture)
            torch.testing.assert_close(mixture(x, hot), path, rtol=0, atol=1e-9)


@pytest.mark.parametrize("space", SPACES[:2], ids=["unified", "mbconv"])
def test_dropout_changes_neither_the_generator_nor_direct(space: SearchSpace, data: DataSplits) -> None:
    schedule = GeneratorSchedule(epochs=1, batch_size=18)
    found = []
    for dropout in (0.0, 0.8):
        net = make(space, dropout)
        torch.manual_seed(0)
        generator = generator_for(net.space)
        rows: list[dict[str, float]] = []
        cost = build_costs(net.space)["macs"]
        train_for(generator, net, data, schedule, context=TrainingContext(log=rows.append))
        evaluator = Evaluator(net, data, EvaluatorSettings(calibration_images=16))
        direct = DirectStrategy(
            SearchContext(evaluator, {"macs": cost}, data=data), DirectSettings(epochs=1, batch_size=18, candidates=2)
        )
        logits = direct.log_probabilities(BudgetSet.parse("macs<=1G"))
        found.append((rows[0]["cross_entropy"], np.concatenate(logits).tolist()))
    assert found[0] == found[1]


def test_recording_statistics_draws_nothing() -> None:
    net = make(SPACES[0])
    net.after.insert(0, Shaken())
    x = torch.randn(8, 1, 8, 8)
    state = torch.get_rng_state()
    net.record_statistics(x, net.space.sample(np.random.default_rng(0)))
    assert torch.equal(state, torch.get_rng_state())
