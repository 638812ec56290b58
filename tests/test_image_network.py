"""Exported networks as modules with timm's habits."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

import anybudget
from anybudget.errors import ConfigError, RunError
from anybudget.export.image_network import ImageNetwork
from anybudget.spaces import SPACES
from exported import FACTS, network_of

IMAGES = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SPACES.builtin)
def test_features_head_and_info(name: str) -> None:
    network, specs = network_of(name)
    model = ImageNetwork(network, specs, FACTS)
    with torch.inference_mode():
        features = model.forward_features(IMAGES)
        assert torch.equal(model(IMAGES), network(IMAGES))
        assert torch.equal(model.forward_head(features), model(IMAGES))
        pooled = model.forward_head(features, pre_logits=True)
        assert torch.equal(pooled, features.mean((2, 3)))
        last, maps = model.forward_intermediates(IMAGES)
    assert torch.equal(last, features)
    assert pooled.shape == (4, model.num_features)
    assert (model.num_classes, model.in_chans) == (10, 1)
    reductions = [info["reduction"] for info in model.feature_info]
    assert reductions == sorted(set(reductions))
    modules = dict(model.named_modules())
    for info, found in zip(model.feature_info, maps, strict=True):
        assert info["module"] in modules
        assert found.shape[1] == info["num_chs"]
        assert found.shape[2] == -(-28 // info["reduction"])
    cfg = model.pretrained_cfg
    assert cfg["input_size"] == (1, 28, 28)
    assert isinstance(modules[cfg["first_conv"]], nn.Conv2d)
    assert modules[cfg["classifier"]] is model.get_classifier()


def test_intermediates_are_those_that_are_asked_for() -> None:
    model = ImageNetwork(*network_of("mbconv"))
    every = model.forward_intermediates(IMAGES, intermediates_only=True)
    for indices, places in ((2, [1, 2]), ([0, -1], [0, 2]), (None, [0, 1, 2])):
        found = model.forward_intermediates(IMAGES, indices, intermediates_only=True)
        assert all(torch.equal(a, every[place]) for a, place in zip(found, places, strict=True))


def test_the_classifier_is_replaced_and_pooling_left_out() -> None:
    model = ImageNetwork(*network_of("unified"))
    model.reset_classifier(3)
    assert model.num_classes == 3
    assert model(IMAGES).shape == (4, 3)
    model.reset_classifier(0)
    assert torch.equal(model(IMAGES), model.forward_features(IMAGES).mean((2, 3)))
    model.reset_classifier(0, "")
    assert torch.equal(model(IMAGES), model.forward_features(IMAGES))
    for classes, pool in ((3, ""), (3, "max")):
        with pytest.raises(ConfigError, match="global_pool"):
            model.reset_classifier(classes, pool)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_it_trains_as_any_module_does(checkpointing: bool) -> None:
    torch.manual_seed(0)
    model = ImageNetwork(*network_of("mbconv")).train()
    model.set_grad_checkpointing(checkpointing)
    norm = model.stem.norm
    assert isinstance(norm, nn.BatchNorm2d)
    before, mean = copy.deepcopy(model.state_dict()), norm.running_mean
    expected = 0.9 * mean + 0.1 * model.stem.conv(IMAGES).mean((0, 2, 3))
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    F.cross_entropy(model(IMAGES), torch.tensor([0, 1, 2, 3])).backward()
    torch.testing.assert_close(norm.running_mean, expected)
    optimiser.step()
    assert all(p.grad is not None for p in model.parameters())
    assert not torch.equal(model.classifier.weight, before["classifier.weight"])


@pytest.mark.timm
def test_a_timm_user_finds_the_same() -> None:
    import timm

    theirs = timm.create_model("mobilenetv3_small_050", num_classes=10, in_chans=1)
    ours = ImageNetwork(*network_of("mbconv"), FACTS)
    for name in ("num_classes", "num_features", "head_hidden_size", "drop_rate", "grad_checkpointing"):
        assert type(getattr(ours, name)) is type(getattr(theirs, name))
    for name in ("forward_features", "forward_head", "get_classifier", "reset_classifier", "forward_intermediates"):
        mine, known = (inspect.signature(getattr(model, name)).parameters for model in (ours, theirs))
        assert list(mine)[:2] == list(known)[:2]
    for info, known in zip(ours.feature_info, theirs.feature_info, strict=False):
        assert set(info) <= set(known)
    wanted = {"input_size", "mean", "std", "num_classes", "classifier", "first_conv", "interpolation", "crop_pct"}
    assert wanted <= set(ours.pretrained_cfg) & set(theirs.pretrained_cfg)
    assert timm.data.resolve_data_config(ours.pretrained_cfg)["input_size"] == (1, 28, 28)
    assert timm.optim.param_groups_layer_decay(ours, layer_decay=0.5)


def test_files_that_are_no_exported_networks(tmp_path: Path) -> None:
    file = tmp_path / "network.safetensors"
    with pytest.raises(RunError, match="no such file; export the network again"):
        anybudget.load(file)
    for content in (b"", b"\x80\x04K\x01.", b"{}"):
        file.write_bytes(content)
        with pytest.raises(RunError, match="damaged or not safetensors"):
            anybudget.load(file)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(RunError, match="weights without a description"):
        anybudget.load(file)
    for described in ("[]", "{", '{"version": "1"}'):
        save_file({"a": torch.zeros(1)}, file, {"anybudget export": described})
        with pytest.raises(RunError, match=r"network\.safetensors: .*export the network again"):
            anybudget.load(file)
