"""Many paths at once: the same logits and scores as one by one, whatever was evaluated before, with less work."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anybudget.architecture import Architecture
from anybudget.data import DataSplits
from anybudget.evaluation.evaluator import Evaluator, evaluate
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import Supernet, build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.nets.prefix_tree import build_prefix_tree, forward_many, run_prefix_tree
from anybudget.recipe import load_recipe
from anybudget.testing import randomise_norms

SMALL = sorted((Path(__file__).parents[1] / "recipes" / "small").glob("*.toml"))


def make(path: Path) -> Supernet:
    space = load_recipe(path, ["space.input_size=8", "space.classes=3"]).build_space()
    torch.manual_seed(0)
    net = build_supernet(space)
    randomise_norms(net, torch.Generator().manual_seed(0))
    return net.eval()


def architectures(net: Supernet, count: int = 12) -> list[Architecture]:
    rng = np.random.default_rng(0)
    found = [net.space.sample(rng) for _ in range(count)]
    # Offspring of the first, so that much is shared.
    for layer, decision in enumerate(net.space.decisions):
        choices = list(found[0].choices)
        choices[layer] = (choices[layer] + 1) % len(decision.choices)
        found.append(net.space.simplified(Architecture(net.space.name, tuple(choices))))
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
@pytest.mark.parametrize("training", [False, True])
def test_logits_equal_one_forward_each(path: Path, training: bool) -> None:
    net = make(path).double().train(training)
    x = torch.randn(5, *net.space.input_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    paths = architectures(net)
    together = forward_many(net, paths, x)
    with torch.no_grad():
        for architecture, logits in zip(paths, together, strict=True):
            torch.testing.assert_close(logits, net(x, architecture), rtol=0, atol=1e-10)


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_scores_equal_those_of_extracted_networks(path: Path, data: DataSplits) -> None:
    """Recalibrated scores over several chunks of images, against one network at a time."""
    net = channels_last(make(path))
    found = architectures(net, 4)
    evaluator = Evaluator(net, data, EvaluatorSettings(calibration_images=40, batch_size=16))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    scores = evaluator.scores([*found, found[0]])
    assert scores[-1] == scores[0]
    assert evaluator.spent.evaluations == len(found)
    assert evaluator.spent.images == len(found) * (40 + len(data.validation))
    for architecture, score in zip(found, scores, strict=False):
        alone = evaluate(evaluator.network(architecture), data.validation, data)
        assert score.loss == pytest.approx(alone.loss, abs=1e-4)
        assert abs(score.top1_percent - alone.top1_percent) <= 100 / len(data.validation) + 1e-9
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_scores_do_not_depend_on_company_or_order(data: DataSplits) -> None:
    net = channels_last(make(next(path for path in SMALL if path.stem == "mbconv")))
    found = architectures(net, 6)
    together = Evaluator(net, data, EvaluatorSettings(calibration_images=32)).scores(found)
    backwards = Evaluator(net, data, EvaluatorSettings(calibration_images=32)).scores(found[::-1])[::-1]
    some = Evaluator(net, data, EvaluatorSettings(calibration_images=32))
    alone = [some.score(architecture) for architecture in found]
    assert together == backwards
    assert together == alone


def test_common_starts_are_counted_once() -> None:
    net = make(next(path for path in SMALL if path.stem == "nas-bench-macro"))
    space = net.space
    found = [
        Architecture(space.name, choices) for choices in ((1, 1, 1, 1, 1, 1), (1, 1, 1, 1, 1, 2), (1, 1, 2, 1, 1, 1))
    ]
    steps = len(net.steps(found[0]))
    assert steps == 6 + 3  # stem, head and classifier
    (root,) = build_prefix_tree(net, found)
    assert root.count() == steps + 3 + (steps - 3)
    assert sum(node.count() for node in build_prefix_tree(net, found[:1])) == steps


def test_few_activations_are_alive_at_a_time() -> None:
    """Depth first: the number of states held is the length of a path, not the number of paths."""
    net = make(next(path for path in SMALL if path.stem == "nas-bench-macro"))
    everything = list(net.space.enumerate())
    x = torch.randn(1, *net.space.input_shape)
    alive: set[int] = set()
    most = 0

    class Counted:
        def __init__(self, value: torch.Tensor) -> None:
            nonlocal most
            self.value = value
            alive.add(id(self))
            most = max(most, len(alive))

        def __del__(self) -> None:
            alive.discard(id(self))

    with torch.no_grad():
        for _ in run_prefix_tree(
            build_prefix_tree(net, everything), Counted(x), lambda node, state: Counted(node.step.run(state.value))
        ):
            pass
    assert most <= len(net.steps(everything[0])) + 2 < len(everything)
