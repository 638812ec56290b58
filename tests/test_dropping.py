"""Dropout and stochastic depth of a training: how much is dropped, what decides it, and that it leaves no trace."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anybudget.architecture import Architecture
from anybudget.data import DataSplits
from anybudget.errors import ConfigError
from anybudget.nets import build_network, build_supernet
from anybudget.nets.blocks import Classifier, InvertedBottleneck
from anybudget.nets.dropping import Dropping
from anybudget.nets.modes import scoring
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.training.retrain import train_network
from anybudget.training.samplers import FairSampler
from anybudget.training.settings import Schedule, SupernetSchedule
from anybudget.training.supernet import train_supernet
from conftest import RECIPES
from test_samplers import SPACE

DEEP = Architecture(SPACE.name, (0, 0, 0, 0))
IMAGES = 400


def deep_network() -> nn.Sequential:
    torch.manual_seed(0)
    return build_network(SPACE.block_specs(DEEP)).train()


def classifier_of(model: nn.Module) -> Classifier:
    (found,) = (layer for layer in model.modules() if isinstance(layer, Classifier))
    return found


def seen(model: nn.Module, images: Tensor, dropping: Dropping, step: int = 0, parts: int = 1) -> Tensor:
    """The features that the classifier's linear layer is given."""
    features: list[Tensor] = []
    handle = classifier_of(model).linear.register_forward_hook(lambda _layer, args, _out: features.append(args[0]))
    dropping.begin(step, torch.arange(len(images)))
    for part in images.tensor_split(parts):
        model(part)
    handle.remove()
    return torch.cat(features).detach()


def test_features_are_dropped_and_the_rest_makes_up_for_it() -> None:
    network = deep_network()
    images = torch.rand(IMAGES, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with Dropping(network, 0.0, 0.0, seed=3) as nothing:
        plain = seen(network, images, nothing)
    with Dropping(network, 0.3, 0.0, seed=3) as dropping:
        dropped = seen(network, images, dropping)
    there = plain.abs() > 1e-4
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], (plain / 0.7)[kept])
    assert float(kept[there].float().mean()) == pytest.approx(0.7, abs=0.02)


def test_deep_blocks_are_dropped_more_often_and_then_pass_their_input_on() -> None:
    network = deep_network()
    blocks = [layer for layer in network if isinstance(layer, InvertedBottleneck) and layer.residual]
    assert len(blocks) == 3
    images = torch.rand(IMAGES, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shares = []
    with Dropping(network, 0.0, 0.6, seed=3) as dropping:
        for block in blocks:
            passed: list[Tensor] = []

            def compare(_block: nn.Module, args: tuple[Tensor], out: Tensor, passed: list[Tensor] = passed) -> None:
                passed.append((args[0] == out).flatten(1).all(1))

            handle = block.register_forward_hook(compare)
            dropping.begin(0, torch.arange(IMAGES))
            network(images)
            handle.remove()
            shares.append(float(passed[0].float().mean()))
    assert shares == pytest.approx([0.2, 0.4, 0.6], abs=0.08)


def test_a_block_that_is_kept_makes_up_for_those_that_are_not() -> None:
    """The mean of a block's outcome is what it gives without: the branch is divided by how often it is kept."""
    network = deep_network().eval()  # so that its norms do not depend on what was dropped before
    block = next(layer for layer in network if isinstance(layer, InvertedBottleneck) and layer.residual)
    x = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).expand(4000, -1, -1, -1)
    plain = block(x[:1])
    with Dropping(network, 0.0, 0.8, seed=3) as dropping:
        dropping.begin(0, torch.arange(len(x)))
        network.training = block.training = True  # the layers within stay as they are
        dropping._take(x)
        mean = block(x).mean(0, keepdim=True)
    torch.testing.assert_close(mean, plain, rtol=0.1, atol=0.05)


def test_what_is_dropped_depends_on_seed_step_and_place_alone() -> None:
    network, images = deep_network(), torch.rand(12, 1, 8, 8)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eval()  # so that images do not depend on others
    with Dropping(network, 0.4, 0.4, seed=3) as dropping:
        whole = seen(network, images, dropping, step=5)
        assert torch.equal(whole, seen(network, images, dropping, step=5))
        torch.testing.assert_close(whole, seen(network, images, dropping, step=5, parts=3))
        assert not torch.equal(whole != 0, seen(network, images, dropping, step=6) != 0)
        dropping.begin(5, torch.arange(12)[1::2])  # the share of one of two processes
        features: list[Tensor] = []
        classifier_of(network).linear.register_forward_hook(lambda _layer, args, _out: features.append(args[0]))
        network(images[1::2])
        torch.testing.assert_close(features[0], whole[1::2])
        dropping.begin(5, torch.arange(12))
        network(images), network(images)  # another path of the same step
        assert not torch.equal(features[1] != 0, features[2] != 0)
    with Dropping(network, 0.4, 0.4, seed=4) as other:
        assert not torch.equal(whole != 0, seen(network, images, other, step=5) != 0)


def test_nothing_is_dropped_when_paths_are_scored_and_nothing_stays_afterwards() -> None:
    torch.manual_seed(0)
    supernet = build_supernet(SPACE).train()
    images, path = torch.rand(6, 1, 8, 8), SPACE.path_encoding(DEEP)
    with scoring(supernet):
        plain = supernet(images, path)
    before = copy.deepcopy(supernet)
    with Dropping(supernet, 0.5, 0.0, seed=1) as dropping:
        with scoring(supernet):
            assert torch.equal(supernet(images, path), plain)
        dropping.begin(0, torch.arange(6))
        assert not torch.equal(supernet(images, path), plain)
    assert str(supernet) == str(before)
    assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in supernet.modules())


def test_a_network_s_own_dropout_is_replaced_and_comes_back(data: DataSplits) -> None:
    network = deep_network()
    classifier_of(network).dropout.p = 0.25
    rates: list[float] = []
    classifier_of(network).register_forward_pre_hook(lambda layer, _args: rates.append(layer.dropout.p))
    train_network(network, data, Schedule(epochs=1, batch_size=16, learning_rate=0.01, dropout=0.5))
    assert set(rates) == {0.0}
    assert classifier_of(network).dropout.p == 0.25


def test_a_model_without_our_classifier_has_nothing_to_drop(data: DataSplits) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(ConfigError, match="dropout: this network has no classifier"):
        train_network(network, data, Schedule(epochs=1, batch_size=16, learning_rate=0.01, dropout=0.5))


def test_a_supernet_trains_with_dropout_whatever_its_paths_share(data: DataSplits) -> None:
    for shared in (False, True):
        torch.manual_seed(0)
        supernet = build_supernet(SPACE)
        schedule = SupernetSchedule(
            epochs=1, batch_size=18, learning_rate=0.05, dropout=0.2, ema=0.5, paths_per_step=3, share_batch=shared
        )
        train_supernet(supernet, FairSampler(SPACE), data, schedule)
        assert all(parameter.isfinite().all() for parameter in supernet.parameters())
        assert not supernet._forward_pre_hooks


def test_a_space_without_residual_blocks_is_named_before_any_work(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPES / "small" / "shufflenet.toml", ["retrain.drop_path=0.2"])
    with pytest.raises(ConfigError, match=r"retrain\.drop_path: not even the largest network of the space shufflenet"):
        Run.create(recipe, tmp_path / "run").run_all(lambda _line: None)
