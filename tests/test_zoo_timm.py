"""The zoo's networks beside timm's: as many parameters, and the same answers with the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anybudget.nets import SplitBottleneck, build_network
from anybudget.nets.blocks import InvertedBottleneck
from anybudget.testing import randomise_norms
from anybudget.zoo import ZOO

TIMM = {
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3-large": "mobilenetv3_large_100",
    "efficientnet-b0": "efficientnet_b0",
    "mixnet-m": "mixnet_m",
    "fbnet-c": "fbnetc_100",
}
IMAGES = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.timm


@pytest.mark.parametrize("name", TIMM)
def test_there_are_as_many_parameters(name: str) -> None:
    assert sum(parameter.numel() for parameter in theirs_of(name).parameters()) == ZOO[name].count("params")


@pytest.mark.parametrize("name", [name for name in TIMM if name != "mixnet-m"])
def test_answers_are_the_same(name: str) -> None:
    """With timm's weights, layer by layer in the order in which they are run."""
    theirs, ours = theirs_of(name), build_network(ZOO[name].specs()).eval()
    for source, target in zip(layers_run(theirs), layers_run(ours), strict=True):
        for key, value in target.state_dict().items():
            value.copy_(source.state_dict()[key].reshape(value.shape))
    check_answers(ours, theirs)


def test_answers_of_mixnet_are_the_same() -> None:
    """timm has a convolution for each group, and one norm for all depthwise kernels."""
    theirs, ours = theirs_of("mixnet-m"), build_network(ZOO["mixnet-m"].specs()).eval()
    stem, *blocks, head, classifier = ours
    copy(stem.conv, theirs.conv_stem)
    copy(stem.norm, theirs.bn1)
    for ours_block, block in zip(blocks, (block for stage in theirs.blocks for block in stage), strict=True):
        first, last = ("conv_pw", "bn3") if hasattr(block, "conv_pwl") else ("", "bn2")
        copy_bottleneck(ours_block, block, first, last)
    copy(head.conv, theirs.conv_head)
    copy(head.norm, theirs.bn2)
    copy(classifier.linear, theirs.classifier)
    check_answers(ours, theirs)


@torch.no_grad()
def copy_bottleneck(ours: Any, block: Any, expand: str, last: str) -> None:
    """A block of timm's MixNet into one of ours, with an expansion or without."""
    depthwise = [block.conv_dw.weight] if isinstance(block.conv_dw, nn.Conv2d) else weights(block.conv_dw)
    norm, project = (block.bn2, block.conv_pwl) if expand else (block.bn1, block.conv_pw)
    copy(ours.norm, getattr(block, last))
    if ours.se is not None:
        copy(ours.se.reduce, block.se.conv_reduce)
        copy(ours.se.restore, block.se.conv_expand)
    projected, begin = torch.cat(weights(project)), 0
    if isinstance(ours, SplitBottleneck):
        ours.expand.conv.weight.copy_(torch.cat(weights(block.conv_pw)))
        copy(ours.expand.norm, block.bn1)
        ours.project.weight.copy_(projected)
    assert isinstance(ours, SplitBottleneck | InvertedBottleneck)
    parts = ours.depthwise if isinstance(ours, SplitBottleneck) else ours.branches
    for part, weight in zip(parts, depthwise, strict=True):
        own = slice(begin, begin := begin + len(weight))
        if isinstance(ours, InvertedBottleneck):
            if expand:
                part.expand.conv.weight.copy_(torch.cat(weights(block.conv_pw))[own])
                copy(part.expand.norm, block.bn1, own)
            part.project.weight.copy_(projected[:, own])
            part = part.depthwise
        part.conv.weight.copy_(weight)
        copy(part.norm, norm, own)


def weights(convolution: Any) -> list[Tensor]:
    """Those of a convolution, or of each one that it is cut into."""
    whole = isinstance(convolution, nn.Conv2d)
    return [convolution.weight] if whole else [part.weight for part in convolution.values()]


@torch.no_grad()
def copy(target: Any, source: Any, part: slice = slice(None)) -> None:
    """Weights and statistics of a layer, or of some of its channels."""
    for key, value in target.state_dict().items():
        value.copy_(source.state_dict()[key][part] if value.ndim else source.state_dict()[key])


def theirs_of(name: str) -> Any:
    """timm's network with random norms, in evaluation mode."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(TIMM[name], pretrained=False).eval()
    randomise_norms(network, torch.Generator().manual_seed(1))
    return network


def check_answers(ours: nn.Module, theirs: nn.Module) -> None:
    with torch.no_grad():
        found, wanted = ours(IMAGES), theirs(IMAGES)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.std()))


def layers_run(network: nn.Module) -> list[nn.Module]:
    """The layers with weights, in the order in which they are run."""
    found: list[nn.Module] = []
    hooks = [
        layer.register_forward_hook(lambda layer, *_: found.append(layer))
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
    ]
    with torch.no_grad():
        network(IMAGES)
    for hook in hooks:
        hook.remove()
    return found
