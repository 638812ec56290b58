"""Norms folded into convolutions: the same outputs, wherever it is done, and nothing done where it must not be."""

import copy
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import build_network, channels_last
from anybudget.nets.compiled import build
from anybudget.nets.folding import fold_norms
from anybudget.spaces import Branch, ConvSpec, InvertedBottleneckSpec, SearchSpace
from anybudget.spaces.blocks import ActivationName
from anybudget.testing import randomise_norms
from tiny_spaces import small_mbconv

SPACES = {"mbconv": small_mbconv(), "others": small_mbconv(3, "skip", "k3_e1", "k7_e6")}
IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def made(space: SearchSpace) -> tuple[Supernet, Supernet]:
    """A supernet with random norms in evaluation mode, and the same folded."""
    torch.manual_seed(1)
    net = channels_last(build_supernet(space))
    randomise_norms(net, torch.Generator().manual_seed(2))
    twin = copy.deepcopy(net.eval())
    fold_norms(twin)
    return net, twin


@pytest.mark.parametrize("kind", SPACES)
def test_outputs_differ_by_rounding_only(kind: str) -> None:
    net, twin = made(SPACES[kind])
    with torch.no_grad():
        for architecture in list(SPACES[kind].enumerate())[:12]:
            torch.testing.assert_close(twin(IMAGES, architecture), net(IMAGES, architecture), rtol=1e-4, atol=1e-5)
        for norm in [*_norms(net), *_norms(twin)]:  # statistics that change are followed
            norm.running_var.mul_(3.0)
        torch.testing.assert_close(twin(IMAGES, architecture), net(IMAGES, architecture), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(build.library() is None, reason="needs a C compiler")
@pytest.mark.parametrize("act", ["relu", "relu6", "hard_swish"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_bottleneck_is_computed_at_once(act: ActivationName, stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    spec = InvertedBottleneckSpec(5, 5 * stride, stride, 9, (Branch(3, 20), Branch(7, 9)), act)
    net = channels_last(build_network([spec]))
    randomise_norms(net, torch.Generator().manual_seed(2))
    twin, x = copy.deepcopy(net.eval()), torch.randn(40, 5, 9, 9).contiguous(memory_format=torch.channels_last)
    fold_norms(twin)
    with torch.no_grad():
        wanted, seen = net(x), x.contiguous()
        watched = copy.deepcopy(twin)
        cast(Any, watched[0]).branches[1].depthwise.register_forward_hook(lambda *_: hooked.append(True))
        hooked: list[bool] = []
        others = twin(seen), watched(x)
        monkeypatch.setattr(F, "conv2d", lambda *_: pytest.fail("a convolution was run"))
        out = twin(x)
        assert torch.equal(torch.cat([twin(part) for part in x.split(7)]), out)
    assert hooked
    for found in (out, *others):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_no_norm_is_run_where_it_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    _, twin = made(SPACES["mbconv"])
    monkeypatch.setattr(nn.BatchNorm2d, "forward", lambda *_: pytest.fail("a norm was run"))
    with torch.no_grad():
        twin(IMAGES, next(iter(SPACES["mbconv"].enumerate())))


def test_nothing_is_folded_where_gradients_or_batch_statistics_are_asked_for() -> None:
    net, twin = made(SPACES["mbconv"])
    architecture = list(SPACES["mbconv"].enumerate())[-1]
    assert torch.equal(twin(IMAGES, architecture), net(IMAGES, architecture))
    with torch.no_grad():
        assert torch.equal(twin.train()(IMAGES, architecture), net.train()(IMAGES, architecture))
    assert list(twin.state_dict()) == list(net.state_dict())


def test_branches_groups_and_gates_are_folded_alike() -> None:
    branches = (Branch(3, 8), Branch(5, 16))
    specs = [
        ConvSpec(1, 8, 3, 1, 8, "relu6"),
        InvertedBottleneckSpec(8, 8, 1, 8, branches, "relu", se_channels=4),
        InvertedBottleneckSpec(8, 16, 2, 8, (Branch(3, 24),), "hard_swish", groups=2),
    ]
    torch.manual_seed(0)
    net = build_network(specs)
    randomise_norms(net, torch.Generator().manual_seed(2))
    twin = copy.deepcopy(net.eval())
    fold_norms(twin)
    with torch.no_grad():
        torch.testing.assert_close(twin(IMAGES), net(IMAGES), rtol=1e-4, atol=1e-5)


def _norms(net: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
