"""The unified space whose layers may be skipped: its networks, fair rounds, mixtures, and everything that follows."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.data import DataSplits
from anybudget.errors import ArchitectureError, ConfigError
from anybudget.evaluation.evaluator import SubnetEvaluator, evaluate
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.generator.network import gumbel_softmax
from anybudget.nets import UnifiedSupernet, build_supernet
from anybudget.nets.prefix_tree import forward_many
from anybudget.nets.unified_block import UnifiedBlock
from anybudget.recipe import load_recipe
from anybudget.report import blocks
from anybudget.runs.run import Run
from anybudget.spaces import BlockSpec, PathEncoding, SkipSpec, UnifiedSpace, stages
from anybudget.testing import check_space, check_supernet, explicit_mixture, randomise_norms
from anybudget.training.samplers import CanonicalFairSampler, FairSampler
from anybudget.training.settings import SupernetSchedule
from anybudget.training.supernet import train_supernet
from generators import generator_for
from tiny_spaces import tiny_macro

SKIP = (3,) * 6
SPACE = UnifiedSpace(tiny_macro(skip_layers=True))
"""Two layers of one shape, which may be skipped, and one that changes the shape."""
SMALL = UnifiedSpace(
    tiny_macro(kernels=(3, 5), min_expansion=1, max_expansion=2, stages=stages((4, 3, 1)), skip_layers=True)
)
"""Three layers of one shape with five multisets each: 216 encodings."""


def make(seed: int = 0, space: UnifiedSpace = SPACE) -> UnifiedSupernet:
    torch.manual_seed(seed)
    net = build_supernet(space)
    assert isinstance(net, UnifiedSupernet)
    randomise_norms(net, torch.Generator().manual_seed(seed))
    return net.eval().double()


NET = make()
IMAGES = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def computed(space: UnifiedSpace, architecture: Architecture) -> tuple[BlockSpec, ...]:
    """The blocks of a network that compute something: equal for equal networks."""
    return tuple(spec for spec in space.block_specs(architecture) if not isinstance(spec, SkipSpec))


def encodings(space: UnifiedSpace) -> list[Architecture]:
    sizes = [range(len(decision.choices)) for decision in space.decisions]
    return [Architecture("unified", choices) for choices in itertools.product(*sizes)]


def test_only_layers_that_keep_their_shape_have_one_choice_more() -> None:
    assert [len(decision.choices) for decision in SPACE.decisions] == [81, 81, 80]
    plain = UnifiedSpace(tiny_macro())
    for decision, without in zip(SPACE.decisions, plain.decisions, strict=True):
        assert decision.choices == without.choices + ((SKIP,) if len(decision.choices) == 81 else ())
    assert SPACE.size() == 81 * 81 * 80
    assert SPACE.networks() == (1 + 80 + 80**2) * 80
    assert not plain.settings.skip_layers
    assert plain.networks() == plain.size() == 80**3


def test_equal_networks_are_equal_architectures_by_trying_all() -> None:
    networks = {architecture: computed(SMALL, architecture) for architecture in encodings(SMALL)}
    for architecture, network in networks.items():
        canonical = SMALL.simplified(architecture)
        assert networks[canonical] == network
        assert SMALL.simplified(canonical) == canonical
    distinct = list(SMALL.enumerate())
    assert len(distinct) == len(set(networks.values())) == SMALL.networks() == 1 + 5 + 5**2 + 5**3
    assert {networks[architecture] for architecture in distinct} == set(networks.values())


def test_a_run_ends_where_the_shape_changes() -> None:
    """A layer of the same width behind one of stride 2 sees another resolution; its skips stay where they are."""
    space = UnifiedSpace(tiny_macro(stages=stages((4, 2, 1), (4, 2, 2)), skip_layers=True))
    assert [len(decision.choices) for decision in space.decisions] == [81, 81, 80, 81]
    first = space.from_kernels([[3, 3], [], [5, 5], [7, 7]])
    second = space.from_kernels([[3, 3], [7, 7], [5, 5], []])
    assert first != second
    assert space.from_kernels([[], [3, 3], [5, 5], [7, 7]]) == first
    assert space.networks() == (1 + 80 + 80**2) * 80 * 81


@given(st.lists(st.lists(st.sampled_from([3, 5, 7]), max_size=6).filter(lambda k: len(k) != 1), min_size=2, max_size=2))
def test_kernels_round_trip_and_skipped_layers_come_last(layers: list[list[int]]) -> None:
    architecture = SPACE.from_kernels([*layers, [3, 5]])
    kernels = SPACE.kernels(architecture)
    assert SPACE.from_kernels(kernels) == architecture
    used = [tuple(sorted(layer)) for layer in layers if layer]
    assert kernels == (*used, *[()] * (2 - len(used)), (3, 5))
    assert SPACE.describe(architecture)[:2] == [
        [*(f"{kernel}x{kernel}" for kernel in layer), *["skip"] * (6 - len(layer))] for layer in kernels[:2]
    ]
    assert Architecture.from_json(architecture.to_json()) == architecture


@pytest.mark.parametrize(
    ("space", "kernels", "message"),
    [
        (
            SPACE,
            [[], [3, 3], []],
            r"layer 3: skips all sub-blocks, but a layer of stride 2 with 4 channels in and 6 out",
        ),
        (
            UnifiedSpace(tiny_macro()),
            [[], [3, 3], [3, 3]],
            r"layer 1: .* this space can be left out \(skip_layers = fal",
        ),
        (SPACE, [[3], [3, 3], [3, 3]], r"layer 1: operations \[0, 3, 3, 3, 3, 3\] are no choice"),
        (SPACE, [[], [3, 3], [3, 3], []], "4 decisions"),
    ],
)
def test_what_cannot_be_skipped_is_named(space: UnifiedSpace, kernels: list[list[int]], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        space.from_kernels(kernels)


def test_the_choice_exists_where_it_may_be_taken_alone() -> None:
    SPACE.validate(Architecture("unified", (0, 80, 0)))
    with pytest.raises(ArchitectureError, match="layer 3: choice 80 is outside 0 to 79"):
        SPACE.validate(Architecture("unified", (0, 0, 80)))
    with pytest.raises(ConfigError, match=r"skip_layers: every layer changes the shape .* give a stage more repeats"):
        UnifiedSpace(tiny_macro(stages=stages((6, 1, 1), (8, 1, 2)), skip_layers=True))


@pytest.mark.parametrize("name", ["macs", "params", "conv_macs", "bitops"])
def test_a_skipped_layer_costs_nothing(name: str) -> None:
    cost = build_costs(SMALL, (name,))[name]
    fixed = [factor.spec() for factor in SMALL.factors if not factor.decisions]
    assert cost.cost(SMALL.from_kernels([[], [], []])) == cost.count(fixed)
    for architecture in encodings(SMALL):
        assert (
            cost.cost(architecture)
            == cost.terms.cost(architecture.choices)
            == cost.count(computed(SMALL, architecture))
        )


def test_distributions_of_unequal_sizes_have_the_expected_cost() -> None:
    """By the definition of an expectation, over all networks of independent layers of 81 and 80 choices."""
    space = UnifiedSpace(tiny_macro(stages=stages((4, 1, 1), (6, 1, 2)), skip_layers=True))
    cost = build_costs(space, ("macs",))["macs"]
    rng = np.random.default_rng(0)
    rows = [rng.dirichlet(np.full(len(decision.choices), 0.2)) for decision in space.decisions]
    padded = torch.from_numpy(np.stack([np.pad(row, (0, 81 - len(row))) for row in rows]))
    expected = sum(
        rows[0][a] * rows[1][b] * cost.cost(Architecture("unified", (a, b)))
        for a, b in itertools.product(range(81), range(80))
    )
    assert float(cost.relaxed_cost(padded)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_round_is_fair_to_rate_0_too(seed: int) -> None:
    """Where a layer can be skipped it is in one of six paths; all counts of both kinds of layer come out even."""
    paths = FairSampler(SPACE).paths(np.random.default_rng(seed), no_losses)
    assert len(paths) == 90
    for layer, per_rate in enumerate((15, 15, 18)):
        rows = [path.operations[layer] for path in paths]
        rates = [*([0] if layer < 2 else []), *range(2, 7)]
        assert Counter(sum(op != 3 for op in row) for row in rows) == dict.fromkeys(rates, per_rate)
        for sub_block in range(6):
            kernels = Counter(row[sub_block] for row in rows if row[sub_block] != 3)
            assert kernels == dict.fromkeys(range(3), per_rate * (5 - max(0, sub_block - 1)) // 3)
    assert paths == FairSampler(SPACE).paths(np.random.default_rng(seed), no_losses)


def test_a_round_is_short_where_all_layers_can_be_skipped() -> None:
    space = UnifiedSpace(tiny_macro(stages=stages((4, 3, 1)), skip_layers=True))
    rows = [path.operations[1] for path in space.fair_round(np.random.default_rng(0))]
    assert Counter(sum(op != 3 for op in row) for row in rows) == dict.fromkeys([0, 2, 3, 4, 5, 6], 3)


def test_canonical_rounds_skip_the_last_layers_of_a_run() -> None:
    paths = CanonicalFairSampler(SPACE).paths(np.random.default_rng(0), no_losses)
    skipped = [[path.operations[layer] == SKIP for path in paths] for layer in range(3)]
    assert all(second for first, second in zip(skipped[0], skipped[1], strict=True) if first)
    assert sum(skipped[0]) + sum(skipped[1]) == 30
    assert not any(skipped[2])


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize("shadow", [True, False])
def test_spaces_and_supernets_conform(forced: bool, shadow: bool) -> None:
    space = UnifiedSpace(
        tiny_macro(kernels=(3, 5), max_expansion=3, forced_sampling=forced, shadow_norms=shadow, skip_layers=True)
    )
    torch.manual_seed(0)
    if forced:  # without, a sub-block may also be skipped where no canonical encoding skips it
        check_space(space, samples=3)
    check_supernet(build_supernet(space), samples=2)
    for path in space.fair_round(np.random.default_rng(0)):
        space.canonical(path)


def test_small_spaces_conform() -> None:
    check_space(SMALL)


@pytest.mark.parametrize("kernels", [[[], [], [3, 7]], [[5, 5], [], [3, 7]], [[3, 5], [7, 7, 7], [3, 3]]])
def test_a_path_is_its_extracted_network_and_its_mixtures(kernels: list[list[int]]) -> None:
    architecture = SPACE.from_kernels(kernels)
    one_hot = F.one_hot(torch.tensor(architecture.choices), 81).double()
    with torch.no_grad():
        path = NET(IMAGES, architecture)
        for other in (NET.extract(architecture)(IMAGES), NET(IMAGES, one_hot), NET.relaxed()(IMAGES, one_hot)):
            torch.testing.assert_close(other, path, rtol=0, atol=1e-10)
        tree = forward_many(NET, [architecture, SPACE.from_kernels([[5, 5], [3, 3], [3, 7]])], IMAGES)
        torch.testing.assert_close(tree[0], path, rtol=0, atol=1e-10)


def test_a_skipped_layer_passes_its_input() -> None:
    with torch.no_grad():
        whole = list(NET.extract(SPACE.from_kernels([[5, 5], [], [3, 7]])))
        rest = torch.nn.Sequential(*(block for block in whole if not isinstance(block, torch.nn.Identity)))
        assert len(rest) == len(whole) - 1
        torch.testing.assert_close(NET(IMAGES, SPACE.from_kernels([[], [5, 5], [3, 7]])), rest(IMAGES))


@settings(max_examples=15)
@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.floats(0.1, 8.0),
    st.lists(st.sampled_from([-30.0, 0.0, 4.0, 30.0]), min_size=2, max_size=2),
)
def test_merged_mixture_equals_the_explicit_mixture(
    seed: int, batch_statistics: bool, spread: float, skips: list[float]
) -> None:
    """Values and gradients, however sure it is that a layer is skipped."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(3, 81, dtype=torch.float64, generator=generator)
    logits[:2, 80], logits[2, 80] = torch.tensor(skips, dtype=torch.float64), -torch.inf
    results = []
    for forward in (
        lambda x, p: NET.relaxed().train(batch_statistics)(x, p),
        lambda x, p: explicit_mixture(NET, x, p, batch_statistics=batch_statistics),
    ):
        probabilities, x = logits.softmax(-1).requires_grad_(), IMAGES.clone().requires_grad_()
        out = forward(x, probabilities)
        F.cross_entropy(out, torch.tensor([0, 1, 2, 0])).backward()
        results.append((out.detach(), probabilities.grad, x.grad))
    for merged, explicit in zip(*results, strict=True):
        torch.testing.assert_close(merged, explicit, rtol=0, atol=1e-5)
        assert torch.isfinite(merged).all()


@pytest.mark.parametrize("first_width", [0, 4])
def test_a_mixture_by_the_own_weights_equals_the_frozen_copy_s(first_width: int) -> None:
    net = make(2, UnifiedSpace(tiny_macro(first_width=first_width, skip_layers=True)))
    logits = 3 * torch.randn(3, 81, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits[2, 80] = -torch.inf
    results = []
    for forward in (net, net.relaxed()):
        probabilities = logits.softmax(-1).requires_grad_()
        out = forward(IMAGES, probabilities)
        (out**2).sum().backward()
        results.append((out.detach(), probabilities.grad))
    for own, frozen in zip(*results, strict=True):
        torch.testing.assert_close(own, frozen, rtol=0, atol=1e-10)


@settings(max_examples=20)
@given(st.floats(0.0, 1.0), st.integers(0, 10**6))
def test_what_a_block_adds_is_weighted_by_how_likely_it_is_used(skipped: float, seed: int) -> None:
    """With p of skipping, `x + (1 - p) * (what the block adds given that it is used)`."""
    layer, decision = NET.layers[0], SPACE.decisions[0]
    assert isinstance(layer, UnifiedBlock)
    encoding = torch.from_numpy(decision.encoding())
    given_used = torch.rand(81, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    given_used[80] = 0.0
    given_used /= given_used.sum()
    row = (1.0 - skipped) * given_used
    row[80] = skipped
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        added = layer.mixture(x, given_used, encoding) - x
        torch.testing.assert_close(layer.mixture(x, row, encoding), x + (1.0 - skipped) * added, rtol=0, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_a_hard_sample_that_skips_still_says_what_using_the_layer_would_change(training: bool) -> None:
    """Straight-through gradients of the choices not drawn are finite and not all 0."""
    logits = torch.full((3, 81), 0.0, dtype=torch.float64)
    logits[:2, 80], logits[2, 80] = 50.0, -torch.inf
    logits.requires_grad_()
    sample = gumbel_softmax(logits.log_softmax(-1), 5.0, hard=True, generator=torch.Generator().manual_seed(0))
    assert sample[:2, 80].tolist() == [1.0, 1.0]
    assert not sample[:2, :80].any()
    sample.retain_grad()
    F.cross_entropy(NET.relaxed().train(training)(IMAGES, sample), torch.tensor([0, 1, 2, 0])).backward()
    assert sample.grad is not None
    assert torch.isfinite(sample.grad).all()
    assert (sample.grad[:2, :80].abs().amax(1) > 0).all()


def test_training_reaches_all_weights_and_scores_are_those_of_the_networks(data: DataSplits) -> None:
    space = UnifiedSpace(tiny_macro(max_expansion=3, skip_layers=True))
    torch.manual_seed(0)
    net = build_supernet(space)
    before = {name: value.clone() for name, value in net.named_parameters()}
    schedule = SupernetSchedule(epochs=1, batch_size=24, learning_rate=0.01, paths_per_step="round")
    train_supernet(net, FairSampler(space), replace(data, train=data.train.subset(torch.arange(24))), schedule)
    assert not [name for name, value in net.named_parameters() if torch.equal(value, before[name])]
    evaluator = SubnetEvaluator(net, data, EvaluatorSettings(calibration_images=32))
    architectures = [space.from_kernels(k) for k in ([[], [], [3, 3]], [[3, 5], [], [3, 3]], [[3, 5], [7, 7], [3, 3]])]
    together = evaluator.scores(architectures)
    for architecture in architectures:
        assert evaluator.scores([architecture])[architecture] == together[architecture]
        alone = evaluate(evaluator.network(architecture), data.validation, data)
        assert alone.loss == pytest.approx(together[architecture].loss, rel=1e-4)
        assert alone.top1_percent == pytest.approx(together[architecture].top1_percent, abs=3.0)


def test_a_generator_of_unequal_layers_knows_the_choice() -> None:
    generator = generator_for(SPACE, 8)
    assert generator.sizes == [81, 81, 80]
    rows = generator.log_probabilities(0.5, generator.random_priors(2, np.random.default_rng(0)))
    for row, decision in zip(rows[0], SPACE.decisions, strict=True):
        assert len(row) == len(decision.choices)
        assert np.exp(row).sum() == pytest.approx(1.0, abs=1e-5)


def test_a_skipped_layer_is_drawn_as_one_empty_column() -> None:
    layers = tuple(map(tuple, SPACE.describe(SPACE.from_kernels([[3, 7], [], [5, 5, 5]]))))
    picture = str(blocks.draw(layers, blocks.legend([layers]), "a", "An architecture"))
    assert picture.count('class="passing"') == 1
    assert "<title>layer 2: skipped</title>" in picture
    assert "layer 2, sub-block" not in picture
    assert picture.count('class="skipped"') == 1 + 4 + 3
    assert "layer 1: 3×3, 7×7; layer 2: skipped; layer 3: 5×5, 5×5, 5×5" in picture


def test_a_whole_run_with_layers_that_may_be_skipped(recipe_file: Path, tmp_path: Path) -> None:
    run = Run.create(
        load_recipe(
            recipe_file,
            ["space.skip_layers=true", "space.max_expansion=3", "search.budgets=['macs<=12k']", "retrain.picks=[]"],
        ),
        tmp_path / "run",
    )
    run.run_all(lambda _: None)
    assert isinstance(run.space, UnifiedSpace)
    (row,) = (tmp_path / "run" / "candidates.jsonl").read_text().splitlines()
    assert run.space.kernels(Architecture.from_dict(json.loads(row)["architecture"]))[0] == ()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "a layer that is left out" in page


def no_losses(paths: Sequence[PathEncoding]) -> list[float]:
    raise AssertionError(f"a fair sampler asked for the losses of {len(paths)} paths")
