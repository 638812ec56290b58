"""The zoo: published networks are what their papers say, and are built and counted alike."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from anybudget.costs.counts import macs, params
from anybudget.errors import ConfigError
from anybudget.nets import SplitBottleneck, build_network
from anybudget.nets.blocks import InvertedBottleneck, build_block
from anybudget.nets.dropping import Dropping
from anybudget.spaces import SPACES, Branch, InvertedBottleneckSpec
from anybudget.spaces.blocks import GateName
from anybudget.spaces.files import read_architectures
from anybudget.spaces.split import SplitBottleneckSpec
from anybudget.zoo import ZOO, Images, ZooNetwork, rounds_to
from anybudget.zoo.designed import mixnet_m
from anybudget.zoo.searched import FBNET_B, FBNET_C, fbnet

KERNELS = json.loads((Path(__file__).parent / "data" / "sgnas_published.json").read_text())

# Parameters and multiply-adds in millions as other programs count them: timm 1.0.31 by hooks on its layers, but
# proxyless-r's parameters, which are those of the model zoo imgclsmob, and SPOS's, which are not known elsewhere.
ELSEWHERE = {
    "mobilenetv2": (3_504_872, 300_774_272),
    "mobilenetv3-large": (5_483_032, 216_589_760),
    "efficientnet-b0": (5_288_548, 385_814_752),
    "mixnet-m": (5_014_382, 339_172_672),
    "fbnet-c": (5_572_200, 384_960_160),
    "proxyless-r": (4_080_512, None),
}
FBNETS = {"fbnet-b": FBNET_B, "fbnet-c": FBNET_C}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_other_programs_count_the_same(name: str) -> None:
    parameters, multiply_adds = ELSEWHERE[name]
    assert ZOO[name].count("params") == parameters
    assert multiply_adds in (None, ZOO[name].count("macs"))


@pytest.mark.parametrize(
    ("letter", "published", "exact"),
    [
        ("A", ("373M", "6.0M", 77.1), (373.18, 6.0019)),
        ("B", ("326M", "5.5M", 76.8), (326.03, 5.4823)),
        ("C", ("281M", "4.7M", 76.2), (280.56, 4.6523)),
    ],
)
def test_sgnas_rounds_to_what_is_published(
    letter: str, published: tuple[str, str, float], exact: tuple[float, float]
) -> None:
    network = ZOO[f"sgnas-{letter.lower()}"]
    space, architecture = network.found() or pytest.fail("no architecture")
    kernels = KERNELS[f"SGNAS-{letter}"]
    assert [list(layer) for layer in space.kernels(architecture)] == kernels  # type: ignore[attr-defined]
    assert (network.published.macs, network.published.params, network.published.top1_percent) == published
    assert (round(network.count("conv_macs") / 1e6, 2), round(network.count("params") / 1e6, 4)) == exact
    assert network.agrees("macs")
    assert network.agrees("params")


@pytest.mark.parametrize("network", ZOO.values(), ids=list(ZOO))
def test_a_note_says_what_differs(network: ZooNetwork) -> None:
    """Each figure that a count does not round to is named, and none that it does round to."""
    reasons = network.note.split("; ")
    named = [word for word in ("multiply-adds", "parameters") if any(word in r.partition(":")[0] for r in reasons)]
    words = {"multiply-adds": "macs", "parameters": "params"}
    assert named == [word for word, cost in words.items() if network.agrees(cost) is False]  # type: ignore[arg-type]


def test_the_counts_that_notes_give_for_a_reason_are_right() -> None:
    def without_norms(name: str) -> int:
        found = [c for spec in ZOO[name].specs() for c in spec.convolutions()]
        return ZOO[name].count("params") - sum(2 * c.out_channels for c in found if c.norm)

    narrow = {name: replace(ZOO[name], layout=fbnet(layers, 1504)) for name, layers in FBNETS.items()}
    rows = mixnet_m().rows
    whole = replace(ZOO["mixnet-m"], layout=replace(mixnet_m(), rows=tuple(replace(r, groups=(1, 1)) for r in rows)))
    for name, exact, said in (
        ("spos", without_norms("spos"), "3.53 M"),
        ("fbnet-b", narrow["fbnet-b"].count("conv_macs"), "295.95 M"),
        ("fbnet-b", narrow["fbnet-b"].count("params"), "4.21 M"),
        ("fbnet-c", narrow["fbnet-c"].count("conv_macs"), "374.70 M"),
        ("fbnet-c", without_norms("fbnet-c"), "5.53 M"),
        ("mobilenetv2", without_norms("mobilenetv2"), "3.47 M"),
        ("mixnet-m", whole.count("macs"), "465.9 M"),
    ):
        assert said in ZOO[name].note
        assert rounds_to(exact, said.replace(" ", ""))


@pytest.mark.parametrize("network", ZOO.values(), ids=list(ZOO))
def test_a_network_is_built_as_it_is_counted(network: ZooNetwork) -> None:
    images = Images(channels=1, size=33, classes=5)
    specs = network.specs(images)
    torch.manual_seed(0)
    built = build_network(specs)
    assert sum(parameter.numel() for parameter in built.parameters()) == sum(map(params, specs))
    counted = [0]

    def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        counted[0] += weight[0].numel() * out[0].numel()

    for layer in built.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    logits = built.eval()(torch.rand(2, 1, 33, 33))
    assert logits.shape == (2, 5)
    assert counted[0] == sum(map(macs, specs))
    built.train()(torch.rand(2, 1, 33, 33)).sum().backward()
    assert all(parameter.grad is not None for parameter in built.parameters())


@pytest.mark.parametrize("network", ZOO.values(), ids=list(ZOO))
def test_its_json_is_read_as_an_architecture(network: ZooNetwork, tmp_path: Path) -> None:
    found, said = network.found(), network.to_dict()
    assert said["space"] == (network.space_name or "blocks")
    assert len(said["blocks"]) == len(network.specs())
    if found is None:
        assert "architecture" not in said
        return
    space, architecture = found
    assert type(space) is SPACES[said["space"]]
    assert space.simplified(architecture) == architecture
    (tmp_path / "it.json").write_text(json.dumps(said))
    assert read_architectures(tmp_path / "it.json", space) == [architecture]


@pytest.mark.parametrize("name", ["sgnas-a", "spos", "mixnet-m"])
def test_an_image_that_would_vanish_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: images of 16 pixels .* it needs 17 or more.*space.input_size"):
        ZOO[name].specs(Images(size=16))
    last = ZOO[name].specs(Images(size=17))[-2].convolutions()[-1]
    assert last.resolution == 1


@pytest.mark.parametrize(
    ("exact", "said", "agrees"),
    [
        (249_921_848, "249M", False),
        (249_499_999, "249M", True),
        (4_652_252, "4.7M", True),
        (395_000_000, "0.39G", False),
    ],
)
def test_rounding_is_to_the_printed_digits(exact: int, said: str, agrees: bool) -> None:
    assert rounds_to(exact, said) is agrees


def test_the_document_has_the_table_and_the_notes() -> None:
    text = (Path(__file__).parents[1] / "docs" / "zoo.md").read_text()
    for network in ZOO.values():
        published, (row,) = network.published, re.findall(rf"^\| `{network.name}` .*$", text, re.MULTILINE)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        costs: list[tuple[Literal["macs", "params"], int]] = [
            ("macs", network.count(published.counting)),
            ("params", network.count("params")),
        ]
        macs_counted, params_counted = (
            f"{exact / 1e6:.2f}M{'' if network.agrees(cost) else ' *'}" for cost, exact in costs
        )
        figures = [published.macs, macs_counted, published.params, params_counted, f"{published.top1_percent}%"]
        assert cells[1:] == [network.space_name or "blocks", *figures, published.source]
        assert not network.note or f"- `{network.name}`: {network.note}." in text


def test_it_needs_no_torch() -> None:
    script = (
        "import sys\nfrom anybudget.zoo import ZOO\n[n.to_dict() for n in ZOO.values()]\n"
        "assert not sys.modules.keys() & {'torch', 'scipy', 'rich'}"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("gate", ["hard_sigmoid", "sigmoid"])
def test_a_split_bottleneck_without_groups_is_an_inverted_bottleneck(gate: GateName) -> None:
    branches, images = (Branch(3, 8), Branch(5, 4)), torch.rand(2, 6, 9, 9)
    torch.manual_seed(0)
    split = build_block(SplitBottleneckSpec(6, 6, 1, 9, branches, "silu", se_channels=3, se_gate=gate))
    plain = build_block(InvertedBottleneckSpec(6, 6, 1, 9, branches, "silu", se_channels=3, se_gate=gate))
    assert isinstance(split, SplitBottleneck)
    assert isinstance(plain, InvertedBottleneck)
    with torch.no_grad():
        for number, (branch, begin) in enumerate(zip(plain.branches, (0, 8), strict=True)):
            part = slice(begin, begin + branches[number].channels)
            branch.expand.conv.weight.copy_(split.expand.conv.weight[part])
            branch.depthwise.load_state_dict(split.depthwise[number].state_dict())
            branch.project.weight.copy_(split.project.weight[:, part])
        plain.se.load_state_dict(split.se.state_dict())
    for mode in (True, False):
        torch.testing.assert_close(split.train(mode)(images), plain.train(mode)(images), rtol=1e-4, atol=1e-5)


def test_groups_keep_channels_apart() -> None:
    """Each half of the output sees the half of the expanded channels that its group has, and no other."""
    spec = SplitBottleneckSpec(4, 4, 1, 5, (Branch(3, 8), Branch(5, 4), Branch(7, 4)), "relu", 2, 2)
    torch.manual_seed(0)
    block, images = build_block(spec).eval(), torch.rand(1, 4, 5, 5)
    changed = images.clone()
    changed[:, :2] += 1.0
    with torch.no_grad():
        difference = (block(changed) - block(images) - (changed - images)).abs().amax((0, 2, 3))
    assert (difference > 0).tolist() == [True, True, False, False]


def test_split_bottlenecks_are_dropped_like_others() -> None:
    """Stochastic depth counts them among the residual blocks."""
    network = build_network(ZOO["mixnet-m"].specs(Images(1, 33, 3)))
    residual = sum(isinstance(m, InvertedBottleneck | SplitBottleneck) and m.residual for m in network.modules())
    with Dropping(network, 0.0, 0.2, seed=0) as dropping:
        assert len(dropping._rates) == residual
    assert any(isinstance(m, SplitBottleneck) and m.residual for m in network.modules())
