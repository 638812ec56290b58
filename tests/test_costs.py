"""Costs: published numbers, closed forms against an operator count, and the relaxed form."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from anybudget.costs import COST_MODELS, CostTerms, build_costs
from anybudget.errors import BudgetError
from anybudget.nets import build_network
from anybudget.spaces import Macro, UnifiedSpace
from conftest import SGNAS_STAGES, tiny_macro

SPACE = UnifiedSpace(tiny_macro())


@pytest.mark.parametrize(
    ("name", "plain", "se"),
    [
        ("SGNAS-A", (371.15, 3.9622), (373.18, 6.0019)),
        ("SGNAS-B", (324.32, 3.7689), (326.03, 5.4823)),
        ("SGNAS-C", (279.32, 3.4030), (280.56, 4.6523)),
    ],
)
def test_published_numbers(shared_data: Path, name: str, plain: tuple[float, float], se: tuple[float, float]) -> None:
    """SGNAS Table 3: convolution multiply-adds and parameters in millions, without and with SE and h-swish."""
    kernels = json.loads((shared_data / "sgnas_published.json").read_text())[name]["kernels"]
    for expected, reduction, activation in ((plain, 0, "relu"), (se, 4, "hard_swish")):
        space = UnifiedSpace(
            Macro(224, 3, 1000, 32, 2, 16, SGNAS_STAGES, 1280, se_reduction=reduction, activation=activation)  # type: ignore[arg-type]
        )
        costs = build_costs(space)
        architecture = space.from_kernels(kernels)
        assert round(costs["conv_macs"].cost(architecture) / 1e6, 2) == expected[0]
        assert round(costs["params"].cost(architecture) / 1e6, 4) == expected[1]
        assert costs["macs"].cost(architecture) == costs["conv_macs"].cost(architecture) + 1280 * 1000
        network = build_network(space.block_specs(architecture))
        assert sum(parameter.numel() for parameter in network.parameters()) == costs["params"].cost(architecture)


@pytest.mark.parametrize("changes", [{}, {"first_width": 0, "head_width": 0}, {"se_reduction": 4}, {"input_size": 9}])
def test_formulas_equal_an_operator_count(changes: dict[str, object]) -> None:
    space = UnifiedSpace(tiny_macro(**changes))
    costs = build_costs(space)
    rng = np.random.default_rng(0)
    for _ in range(5):
        architecture = space.sample(rng)
        network = build_network(space.block_specs(architecture)).eval()
        size = space.macro.input_size
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 1, size, size))
        assert counter.get_total_flops() == 2 * costs["macs"].cost(architecture)
        assert sum(p.numel() for p in network.parameters()) == costs["params"].cost(architecture)


@pytest.mark.parametrize("name", COST_MODELS)
def test_terms_and_relaxed_cost_equal_the_cost(name: str) -> None:
    model = COST_MODELS[name](SPACE)
    rng = np.random.default_rng(0)
    architectures = [SPACE.sample(rng) for _ in range(20)]
    expected = [model.cost(architecture) for architecture in architectures]
    assert [model.terms.cost(architecture.choices) for architecture in architectures] == expected
    choices = np.array([architecture.choices for architecture in architectures])
    assert model.terms.costs(choices).tolist() == expected
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(choices), 80).double()
    assert model.relaxed_cost(one_hot).tolist() == expected


def test_relaxed_cost_is_the_expected_cost_and_differentiable() -> None:
    model = build_costs(SPACE)["macs"]
    probabilities = torch.rand(3, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1)
    probabilities.requires_grad_()
    cost = model.relaxed_cost(probabilities)
    rng = np.random.default_rng(0)
    rows = probabilities.detach().numpy()
    draws = np.stack([rng.choice(80, size=20_000, p=row) for row in rows], axis=1)
    assert cost.item() == pytest.approx(model.terms.costs(draws).mean(), rel=0.01)
    cost.backward()
    assert probabilities.grad is not None
    assert torch.allclose(probabilities.grad, torch.from_numpy(np.stack(model.terms.unary)))


def test_pairwise_terms() -> None:
    rng = np.random.default_rng(0)
    terms = CostTerms(5.0, (rng.random(2), rng.random(3)), {(0, 1): rng.random((2, 3))})
    for first in range(2):
        for second in range(3):
            probabilities = torch.zeros(2, 3, dtype=torch.float64)
            probabilities[0, first] = probabilities[1, second] = 1
            expected = 5 + terms.unary[0][first] + terms.unary[1][second] + terms.pairwise[0, 1][first, second]
            assert terms.cost((first, second)) == pytest.approx(expected)
            assert terms.relaxed(probabilities).item() == pytest.approx(expected)
            assert terms.costs(np.array([[first, second]]))[0] == pytest.approx(expected)


def test_unknown_cost_is_named() -> None:
    with pytest.raises(BudgetError, match="unknown cost 'joules'; known costs are macs"):
        build_costs(SPACE, ("joules",))
