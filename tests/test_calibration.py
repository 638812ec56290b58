"""Calibration of norms: which statistics a score is of, that no cut into batches changes it, and what it leaves."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from anybudget.data import DataSplits, ImageSet, load_splits
from anybudget.errors import ConfigError, DataError
from anybudget.evaluation.evaluator import Evaluator, recalibrate
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import Supernet, UnifiedSupernet, build_supernet
from anybudget.nets.norms import calibrating
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.spaces import SearchSpace, UnifiedSpace
from anybudget.testing import randomise_norms
from anybudget.training.supernet import record_statistics
from conftest import write_images
from tiny_spaces import small_channels, small_mbconv, tiny_macro

SPACES: dict[str, SearchSpace] = {
    "unified": UnifiedSpace(tiny_macro()),
    "mbconv": small_mbconv(),
    "channels": small_channels(),
}


def untrained(name: str) -> Supernet:
    torch.manual_seed(0)
    net = build_supernet(SPACES[name])
    randomise_norms(net, torch.Generator().manual_seed(1))
    return net.eval()


NETS = {name: untrained(name) for name in SPACES}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    return load_splits(str(write_images(tmp_path_factory.mktemp("calibration") / "images.npz")), seed=0)


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=8)
@given(calibration=st.integers(2, 40), sizes=st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_no_cut_into_batches_changes_a_score(
    name: str, images: DataSplits, calibration: int, sizes: tuple[int, int]
) -> None:
    architecture = SPACES[name].sample(np.random.default_rng(calibration))
    one, other = (
        Evaluator(NETS[name], images, EvaluatorSettings(calibration_images=calibration, batch_size=size)).score(
            architecture
        )
        for size in sizes
    )
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert abs(one.top1_percent - other.top1_percent) <= 100 / len(images.validation)  # one logit may round otherwise


@pytest.mark.parametrize("count", [16, 17, 33])
def test_statistics_are_those_of_all_images_as_one_batch(images: DataSplits, count: int) -> None:
    """Also where a batch of 16 would leave one image over."""
    net = NETS["unified"]
    architecture = SPACES["unified"].sample(np.random.default_rng(0))
    evaluator = Evaluator(net, images, EvaluatorSettings(calibration_images=count, batch_size=16))
    reference = net.extract(architecture).train()
    for norm in norms(reference):
        norm.momentum = 1.0
    with torch.no_grad():
        reference(images.normalise(evaluator.subnet_evaluator.calibration.images))
        logits = reference.eval()(images.normalise(images.validation.images))
    assert evaluator.score(architecture).loss == pytest.approx(
        float(F.cross_entropy(logits, images.validation.labels)), rel=1e-5
    )
    for got, wanted in zip(norms(evaluator.network(architecture)), norms(reference), strict=True):
        torch.testing.assert_close(got.running_mean, wanted.running_mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(got.running_var, wanted.running_var, rtol=1e-4, atol=1e-4)


def test_without_calibration_running_statistics_are_used(images: DataSplits) -> None:
    net = copy.deepcopy(NETS["unified"])
    record_statistics(net, images, seed=0, batch_size=16)
    architecture = SPACES["unified"].sample(np.random.default_rng(3))
    evaluator = Evaluator(net, images, EvaluatorSettings(calibration_images=0, batch_size=16))
    with torch.no_grad():
        logits = net.eval()(images.normalise(images.validation.images), architecture)
    wanted = float(F.cross_entropy(logits, images.validation.labels))
    assert evaluator.score(architecture).loss == pytest.approx(wanted, rel=1e-5)
    assert evaluator.spent.images == len(images.validation)
    with torch.no_grad():
        alone = evaluator.network(architecture)(images.normalise(images.validation.images))
    assert float(F.cross_entropy(alone, images.validation.labels)) == pytest.approx(wanted, rel=1e-5)
    assert Evaluator(net, images).score(architecture).loss != pytest.approx(wanted, rel=1e-5)


def test_too_few_images_to_calibrate_on_are_refused_at_once(images: DataSplits) -> None:
    for count in (1, -3):
        with pytest.raises(ConfigError, match=rf"calibration_images: {count} images .*take 2 or more"):
            Evaluator(NETS["unified"], images, EvaluatorSettings(calibration_images=count))
    lone = dataclasses.replace(images, train=images.train.subset(torch.arange(1)))
    with pytest.raises(DataError, match=r"the training split has 1 image\(s\), and norms need at least 2"):
        Evaluator(NETS["unified"], lone)


def small_problem(count: int = 48) -> ImageSet:
    """Three classes told apart by which row is bright: nothing that a trained network could get wrong."""
    labels = torch.arange(count) % 3
    pixels = torch.randint(0, 60, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels[torch.arange(count), 0, 1 + 2 * labels] = 220
    return ImageSet(pixels, labels)


def test_a_network_that_is_handed_out_trains_in_a_plain_loop(image_file: Path, recipe_file: Path) -> None:
    """As README's is: norms keep PyTorch's momentum, follow what they see, and the network learns all of it."""
    run = Run.create(load_recipe(recipe_file), image_file.parent / "run")
    run.train_supernet()
    network = run.evaluator.network(run.space.sample(np.random.default_rng(0)))
    assert not any(layer.training for layer in network.modules())
    assert {norm.momentum for norm in norms(network)} == {0.1}
    assert all(norm.track_running_stats for norm in norms(network))
    before = [norm.running_mean.clone() for norm in norms(network) if norm.running_mean is not None]
    problem = small_problem()
    device = next(network.parameters()).device
    inputs, labels = run.data.normalise(problem.images).to(device), problem.labels.to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network.train()
    for _ in range(60):
        optimiser.zero_grad()
        F.cross_entropy(network(inputs), labels).backward()
        optimiser.step()
    network.eval()
    after = [norm.running_mean for norm in norms(network) if norm.running_mean is not None]
    assert all(not torch.allclose(old, new) for old, new in zip(before, after, strict=True))
    with torch.no_grad():
        assert float((network(inputs).argmax(1) == labels).float().mean()) == 1.0
    # The statistics are of the last steps: an average over all steps would be far from those of the trained network.
    batch = copy.deepcopy(network).train()
    for norm in norms(batch):
        norm.momentum = 1.0
    with torch.no_grad():
        batch(inputs)
    for followed, present in zip(norms(network), norms(batch), strict=True):
        torch.testing.assert_close(followed.running_mean, present.running_mean, rtol=0.1, atol=0.1)


def test_calibration_leaves_norms_as_they_were_even_after_an_error(supernet: UnifiedSupernet) -> None:
    network = supernet.extract(supernet.space.sample(np.random.default_rng(0))).train()
    first, *others = norms(network)
    first.momentum = 0.3
    others[0].eval()
    others[1].momentum = None

    def kept() -> list[tuple[object, ...]]:
        return [(norm.momentum, norm.training, norm.track_running_stats) for norm in norms(network)]

    before, statistics = kept(), copy.deepcopy(network.state_dict())

    def broken() -> None:
        with calibrating(network):
            network(torch.randn(8, 1, 8, 8))
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        broken()
    assert kept() == before
    assert all(torch.equal(value, statistics[name]) for name, value in network.state_dict().items())
    with calibrating(network), torch.no_grad():
        network(torch.randn(8, 1, 8, 8))
    assert kept() == before
    assert not torch.equal(first.running_mean, statistics["0.norm.running_mean"])


def test_recalibration_that_fails_keeps_the_old_statistics(supernet: UnifiedSupernet, data: DataSplits) -> None:
    network = supernet.extract(supernet.space.sample(np.random.default_rng(0)))
    before = copy.deepcopy(network.state_dict())

    def broken(*_arguments: object) -> None:
        raise RuntimeError("broken")

    network[-1].register_forward_hook(broken)  # behind all norms, which have counted the images by then
    with pytest.raises(RuntimeError, match="broken"):
        recalibrate(network, data.train, data)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
