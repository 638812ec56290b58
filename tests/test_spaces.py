"""The spaces of the papers at their own scale: sizes, tables, canonical forms, what their settings refuse."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anybudget.architecture import Architecture
from anybudget.costs import build_costs, counts
from anybudget.errors import ConfigError
from anybudget.nets import build_network
from anybudget.spaces import (
    SPACES,
    ConvSpec,
    InvertedBottleneckSpec,
    MBConvSettings,
    MBConvSpace,
    PathEncoding,
    SearchSpace,
    ShuffleNetChannelsSettings,
    ShuffleNetChannelsSpace,
    ShuffleNetSettings,
    ShuffleNetSpace,
    derive,
    stages,
)
from anybudget.spaces.shuffle_blocks import ShuffleUnitSpec
from tiny_spaces import small_channels


def paper_space(name: str) -> SearchSpace:
    """The space with its default settings, which are the paper's."""
    space = SPACES[name]
    return space(space.settings_type())  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mbconv", 7**21),
        ("mbconv-se", 13**21),
        ("shufflenet", 4**20),
        ("shufflenet-channels", 40**20),
        ("resnet-bits", 6**8),
        ("fbnet", 9**22),
        ("nas-bench-201", 5**6),
        ("nas-bench-macro", 3**8),
    ],
)
def test_sizes_of_the_papers(name: str, size: int) -> None:
    assert paper_space(name).size() == size


def test_channels_alone() -> None:
    assert ShuffleNetChannelsSpace(ShuffleNetChannelsSettings(blocks=("3x3",))).size() == 10**20
    assert ShuffleNetChannelsSpace(ShuffleNetChannelsSettings(blocks=("3x3",), channels="inside")).size() == 8**20
    assert ShuffleNetChannelsSpace(ShuffleNetChannelsSettings(channels="inside")).size() == 32**20


def test_nas_bench_macro_table(macro_table: Path) -> None:
    """Every row: multiply-adds, parameters, and that networks which are equal have equal results."""
    table = json.loads(macro_table.read_text())
    space = paper_space("nas-bench-macro")
    keys = sorted(table)
    choices = np.array([[int(digit) for digit in key] for key in keys])
    for cost, column in (("macs", "flops"), ("params", "params")):
        terms = build_costs(space)[cost].terms
        assert terms.costs(choices).tolist() == [table[key][column] for key in keys]
    found: dict[Architecture, set[float]] = {}
    for key, row in zip(keys, choices, strict=True):
        architecture = space.simplified(Architecture(space.name, tuple(map(int, row))))
        found.setdefault(architecture, set()).add(table[key]["mean_acc"])
    assert len(found) < len(keys)
    assert space.networks() == 3969
    assert {len(accuracies) for accuracies in found.values()} == {1}


def test_mbconv_is_the_macro_architecture_of_greedynas() -> None:
    space = paper_space("mbconv")
    blocks = space.block_specs(Architecture("mbconv", (1,) * 21))  # kernel 3, expansion 6: MobileNetV2's own
    stem, first, *layers, head, classifier = blocks
    assert isinstance(stem, ConvSpec)
    assert isinstance(first, InvertedBottleneckSpec)
    assert (stem.out_channels, stem.stride, first.out_channels, first.expand) == (32, 2, 16, False)
    found = [(layer.out_channels, layer.stride) for layer in layers if isinstance(layer, InvertedBottleneckSpec)]
    expected = [
        (width, stride if repeat == 0 else 1)
        for width, repeats, stride in [(24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)]
        for repeat in range(repeats)
    ]
    assert found == expected
    assert counts.macs(classifier) == 1280 * 1000
    assert counts.macs(head) == 320 * 1280 * 7 * 7


@given(st.lists(st.integers(0, 6), min_size=21, max_size=21))
def test_identities_move_freely_in_a_stage_and_nothing_else_does(choices: list[int]) -> None:
    """The canonical form keeps each stage's first layer and the order of what is not skipped."""
    space = paper_space("mbconv")
    skip = 6
    canonical = space.simplified(Architecture("mbconv", tuple(choices))).choices
    start = 0
    for repeats in (4, 4, 4, 4, 4, 1):
        before, after = choices[start : start + repeats], list(canonical[start : start + repeats])
        assert after[0] == before[0]
        kept = [choice for choice in before[1:] if choice != skip]
        assert after[1:] == kept + [skip] * (repeats - 1 - len(kept))
        start += repeats


def test_what_is_counted_once_is_one_network() -> None:
    """Two encodings with an identity at different places build the same function from the same weights."""
    settings = MBConvSettings(
        input_size=8, input_channels=1, classes=3, stem_width=4, first_width=0, stages=stages((4, 3, 1)), head_width=8
    )
    space = MBConvSpace(settings)
    first, second = (Architecture("mbconv", choices) for choices in ((6, 0, 3), (0, 3, 6)))
    assert space.simplified(first) == space.simplified(second) == second
    torch.manual_seed(0)
    one, two = (build_network(space.block_specs(a)).eval() for a in (first, second))
    two.load_state_dict(dict(zip(two.state_dict(), one.state_dict().values(), strict=True)))
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(one(x), two(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operations": ("k3_e3", "k4_e3")}, "operations: 'k4_e3' is unknown"),
        ({"operations": ("k3_e0",)}, "'k3_e0' is unknown"),
        ({"operations": ("k3_e3_g0",)}, "'k3_e3_g0' is unknown"),
        ({"operations": ("identity",)}, "write skip, or k<odd kernel>_e<expansion>"),
        ({"operations": ("skip", "skip")}, "each may be listed once"),
        ({"operations": ("k3_e1_g3",)}, "'k3_e1_g3': pointwise convolutions of 3 groups"),
    ],
)
def test_wrong_operations_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MBConvSpace(MBConvSettings(**changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operations": ("2x2",)}, "operations: '2x2' is unknown"),
        ({"operations": ("3x5",)}, "write an odd kernel size such as 3x3, or xception"),
        ({"operations": ("3x3", "3x3")}, "each may be listed once"),
        ({"stem_width": 15}, "stem_width: width 15 is odd"),
        ({"stages": stages((7, 1, 2))}, "stages: width 7 is odd"),
        ({"ratios": (1.0, 1.0)}, "ratios .* each may be listed once"),
        ({"blocks": ("3x3", "5x5")}, "blocks has 2 names; give one, or one for each of the 20 layers"),
        ({"blocks": ("9x",)}, "'9x' is unknown"),
    ],
)
def test_wrong_shufflenets_are_named(changes: dict[str, object], message: str) -> None:
    kind, settings = ShuffleNetSpace, ShuffleNetSettings
    if {"ratios", "blocks"} & set(changes):
        kind, settings = ShuffleNetChannelsSpace, ShuffleNetChannelsSettings  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=message):
        kind(settings(**changes))  # type: ignore[arg-type]


def test_a_shufflenet_of_equal_widths_is_shufflenet_v2() -> None:
    """Half of the channels pass; with stride 2 all enter both branches."""
    blocks = paper_space("shufflenet").block_specs(Architecture("shufflenet", (0,) * 20))
    units = [block for block in blocks if isinstance(block, ShuffleUnitSpec)]
    assert [unit.out_channels for unit in units] == [64] * 4 + [160] * 4 + [320] * 8 + [640] * 4
    for unit in units:
        if unit.stride == 1:
            assert unit.width("in") == unit.width("mid") == unit.width("pass") == unit.width("out")
        else:
            assert unit.width("in") == unit.in_channels
            assert unit.width("pass") == min(unit.in_channels, unit.out_channels // 2)
        assert unit.width("pass") + unit.width("out") == unit.out_channels


def test_channel_ratios_are_rounded_to_even_widths_and_merged_where_equal() -> None:
    space = paper_space("shufflenet-channels")
    assert isinstance(space, ShuffleNetChannelsSpace)
    assert space.widths[0] == (12, 26, 38, 52, 64, 76, 90, 102, 116, 128)
    assert space.networks() == space.size()
    narrow = ShuffleNetChannelsSpace(
        ShuffleNetChannelsSettings(stages=stages((4, 2, 2)), ratios=(0.5, 0.6, 1.0), blocks=("3x3",))
    )
    assert narrow.widths[0] == (2, 2, 4)
    assert narrow.networks() == 4 < narrow.size() == 9
    assert narrow.simplified(Architecture(narrow.name, (1, 2))).choices == (0, 2)


def test_channels_inside_a_block_leave_everything_else_as_it_is() -> None:
    """Widths as the authors' code has them, cut to whole numbers; costs have no pairs; equal widths are one network."""
    space = ShuffleNetChannelsSpace(ShuffleNetChannelsSettings(channels="inside"))
    assert space.widths[0] == (6, 12, 19, 25, 32, 38, 44, 51)
    assert not build_costs(space)["macs"].terms.pairwise
    fixed = ShuffleNetSpace(ShuffleNetSettings())
    blocks = [kind for kind in (0, 1, 2, 3) for _ in range(5)]
    for ratio, width in ((0, 6), (4, 32)):  # 0.2 and 1.0
        encoding = PathEncoding(space.name, tuple((kind, 4 + ratio) for kind in blocks))
        units = [spec for spec in space.block_specs(space.canonical(encoding)) if isinstance(spec, ShuffleUnitSpec)]
        plain = [
            spec
            for spec in fixed.block_specs(Architecture(fixed.name, tuple(blocks)))
            if isinstance(spec, ShuffleUnitSpec)
        ]
        assert units[0].mid_channels == width
        assert [replace(unit, mid_channels=unit.out_channels // 2) for unit in units] == plain
        assert (units == plain) == (ratio == 4)
    narrow = ShuffleNetChannelsSpace(
        ShuffleNetChannelsSettings(
            channels="inside", stages=stages((8, 2, 2)), ratios=(0.1, 0.25, 1.0), blocks=("3x3",)
        )
    )
    assert narrow.widths[0] == (1, 1, 4)
    assert narrow.networks() == 4 < narrow.size() == 9


def test_derived_networks_have_se_and_h_swish() -> None:
    """SE in every inverted bottleneck, also those without expansion; nothing else changes."""
    specs = paper_space("mbconv").block_specs(Architecture("mbconv", (0, 6) * 10 + (5,)))
    found = derive(specs, activation="hard_swish", se_reduction=4)
    for before, after in zip(specs, found, strict=True):
        if isinstance(after, InvertedBottleneckSpec):
            assert (after.se_channels, after.activation) == (after.expanded_channels // 4, "hard_swish")
        elif isinstance(after, ConvSpec):
            assert after.activation == "hard_swish"
        else:
            assert after == before
    assert derive(specs) == specs


def test_every_block_with_a_choice_of_activation_gets_the_derived_one() -> None:
    space = small_channels()
    specs = space.block_specs(space.sample(np.random.default_rng(0)))
    found = [getattr(spec, "activation", None) for spec in derive(specs, activation="hard_swish")]
    assert found == ["hard_swish"] * (len(specs) - 1) + [None]  # the classifier
