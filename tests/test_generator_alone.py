"""The generator and exact decoding on a supernet that is not ours: cost terms, a loss and batches are enough."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from anybudget.budgets import BudgetSet
from anybudget.costs import CostTerms
from anybudget.decoding.decoder import Decoder
from anybudget.decoding.reachability import extremes, position
from anybudget.errors import ConfigError
from anybudget.generator.network import ArchitectureGenerator
from anybudget.generator.settings import GeneratorSchedule
from anybudget.generator.training import train_generator
from anybudget.training.batches import ListedBatches
from anybudget.training.loop import TrainingContext

TERMS = CostTerms(2.0, (np.array([1.0, 2.0, 4.0]), np.array([1.0, 8.0]), np.array([1.0, 3.0, 5.0, 7.0])))
SIZES = [3, 2, 4]


def batches() -> ListedBatches:
    draws = torch.Generator().manual_seed(0)
    return ListedBatches([(torch.randn(8, 5, generator=draws), torch.arange(8) % 3) for _ in range(3)])


def dear(images: torch.Tensor, labels: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """The loss of a supernet whose networks are better the dearer their second decision is."""
    del images, labels
    return 1.0 - probabilities[1, 1]


def trained(epochs: int, seed: int = 0) -> ArchitectureGenerator:
    torch.manual_seed(0)
    generator = ArchitectureGenerator([np.eye(size) for size in SIZES], hidden=8)
    schedule = GeneratorSchedule(epochs=epochs, learning_rate=0.01, penalty=1.0)
    spent = train_generator(generator, dear, TERMS, batches(), schedule, seed=seed)
    assert spent.images == epochs * 3 * 8
    assert spent.macs == 0.0  # this supernet multiplies nothing
    return generator


def test_a_foreign_supernet_s_loss_moves_the_distribution() -> None:
    priors = trained(1).random_priors(3, np.random.default_rng(0))
    before, after = (np.mean([rows[1][1] for rows in trained(n).log_probabilities(0.8, priors)]) for n in (1, 60))
    assert after > before
    assert after > np.log(0.8)


def test_what_is_decoded_is_within_the_budget_and_the_best() -> None:
    generator = trained(40)
    budgets = BudgetSet.parse("units<=14")
    place = position({"units": TERMS}, "units", budgets)
    low, high = extremes(TERMS)
    assert place == (14 - low) / (high - low)
    (rows,) = generator.log_probabilities(place, generator.random_priors(1, np.random.default_rng(0)))
    assert [len(row) for row in rows] == SIZES
    (found,) = Decoder({"units": TERMS}, budgets).decode(rows)
    every = [c for c in np.ndindex(*SIZES) if TERMS.cost(c) <= 14]
    assert found.choices == max(every, key=lambda c: sum(row[i] for row, i in zip(rows, c, strict=True)))


def test_listed_batches_are_resumed_within_an_epoch() -> None:
    device = torch.device("cpu")
    whole = [images for images, _ in batches().epoch(2, device)]
    rest = [images for images, _ in batches().epoch(2, device, start=1)]
    assert len(whole) == 3
    assert all(torch.equal(a, b) for a, b in zip(whole[1:], rest, strict=True))
    orders = {tuple(float(images.sum()) for images, _ in batches().epoch(n, device)) for n in range(1, 6)}
    assert len(orders) > 1


def test_terms_of_other_decisions_are_refused() -> None:
    generator = ArchitectureGenerator([np.eye(3), np.eye(3)])
    with pytest.raises(ConfigError, match=r"\[3, 2, 4\] choices, the generator's have \[3, 3\]"):
        train_generator(generator, dear, TERMS, batches(), context=TrainingContext())


def test_the_example_of_the_documents(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[1] / "docs" / "generator.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    exec(compile(block, "docs/generator.md", "exec"), {})
    kernels, macs = re.findall(r"\[(.*)\] (\S+)", capsys.readouterr().out)[0]
    assert len(kernels.split(",")) == 4
    assert float(macs) <= 1.5e6
