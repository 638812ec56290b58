"""The conformance checks of supernets."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.nets import Supernet
from anybudget.spaces import SearchSpace
from anybudget.testing.norms import randomise_norms

_IMAGES = 3
_ROUNDS = 5
"""Fair rounds that must reach every parameter: in one, an operation of a cell may stand on a dead edge."""


def check_supernet(supernet: Supernet, *, samples: int = 5, seed: int = 0, tolerance: float = 1e-10) -> None:
    """Check everything that training, search and extraction rely on in a supernet.

    With random norm statistics and in double precision: a path equals its extracted network and its one-hot mixture; it
    computes no more than the network costs, by an operator count; scores do not depend on what was run before; a
    training forward leaves the shared statistics alone and `record_statistics` averages them; a path gives gradients to
    no more numbers than its network has, fair rounds to every parameter; a frozen mixture gives them to probabilities
    only and leaves the supernet as it was. In training mode a one-hot mixture gives the output and the gradients of its
    path, one of all choices gives gradients to every parameter, and neither touches the shared statistics.

    Args:
        supernet: of a small space; a copy of it is checked.
        samples: how many random architectures to look at.
        seed: draws images, statistics and architectures.
        tolerance: largest difference of logits that are the same by definition.

    Raises:
        AssertionError: says what does not hold.
    """
    space = supernet.space
    generator = torch.Generator().manual_seed(seed)
    net = copy.deepcopy(supernet)
    randomise_norms(net, generator)
    net = net.double().eval()
    x = torch.randn(_IMAGES, *space.input_shape, generator=generator, dtype=torch.float64)
    architectures = [space.sample(np.random.default_rng([seed, index])) for index in range(samples)]
    for architecture in architectures:
        _check_path(net, x, architecture, tolerance)
    _check_order(net, x, architectures)
    _check_statistics(net, x, architectures[0], tolerance)
    _check_gradients(net, x, architectures, seed)
    _check_mixture(net, x, generator)
    _check_trained_mixture(net, x, architectures, tolerance)


def one_hot(space: SearchSpace, architecture: Architecture) -> Tensor:
    """Probabilities `[decisions, choices]` that are certain of `architecture`, in double precision."""
    widest = max(len(decision.choices) for decision in space.decisions)
    return F.one_hot(torch.tensor(architecture.choices), widest).double()


@torch.no_grad()
def _check_path(net: Supernet, x: Tensor, architecture: Architecture, tolerance: float) -> None:
    with FlopCounterMode(display=False) as counter:
        path = net(x, architecture)
    counted = counter.get_total_flops() / (2 * len(x))
    cost = build_costs(net.space, ("macs",))["macs"].cost(architecture)
    assert counted == cost, f"{architecture}: the path computes {counted:.0f} multiply-adds, its network {cost:.0f}"
    extracted = net.extract(architecture)
    assert not extracted.training, "extract() must keep the supernet's mode"
    shared = {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in extracted.parameters()}
    assert not shared, "extract() must copy weights"
    _assert_close(extracted(x), path, tolerance, f"{architecture}: the extracted network differs from the path")
    mixture = net(x, one_hot(net.space, architecture))
    _assert_close(mixture, path, tolerance, f"{architecture}: the one-hot mixture differs from the path")


@torch.no_grad()
def _check_order(net: Supernet, x: Tensor, architectures: list[Architecture]) -> None:
    alone = [net(x, architecture) for architecture in architectures]
    backwards = [net(x, architecture) for architecture in reversed(architectures)]
    for first, second in zip(alone, reversed(backwards), strict=True):
        assert torch.equal(first, second), "logits depend on what was run before"


@torch.no_grad()
def _check_statistics(net: Supernet, x: Tensor, architecture: Architecture, tolerance: float) -> None:
    net = copy.deepcopy(net).train()
    ends = {f"{end}." for end in ("before", "after")}
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(x, architecture)
    for name, value in net.state_dict().items():
        assert name.startswith(tuple(ends)) or torch.equal(value, before[name]), f"a training forward changed {name}"
    net.eval()
    net.record_statistics(5 * x, architecture)  # to be forgotten
    net.reset_statistics()
    batches = [x, 2 * x + 1]
    for batch in batches:
        net.record_statistics(batch, architecture)
    assert not net.training, "record_statistics() must restore the mode"
    reference = net.extract(architecture).train()
    for layer in reference.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    for batch in batches:
        reference(batch)
    for (name, got), wanted in zip(
        net.extract(architecture).state_dict().items(), reference.state_dict().values(), strict=True
    ):
        if "running" in name:
            _assert_close(got, wanted, tolerance, f"record_statistics() gave {name} another average")


def _check_gradients(net: Supernet, x: Tensor, architectures: list[Architecture], seed: int) -> None:
    net = copy.deepcopy(net).train()
    params = build_costs(net.space, ("params",))["params"]
    for architecture in architectures:
        net.zero_grad(set_to_none=True)
        (net(x, architecture) ** 2).sum().backward()
        trained = sum(int((p.grad != 0).sum()) for p in net.parameters() if p.grad is not None)
        cost = params.cost(architecture)
        assert 0 < trained <= cost, f"{architecture}: a path trains {trained} numbers, its network has {cost:.0f}"
    rng = np.random.default_rng(seed)
    for path in (path for _ in range(_ROUNDS) for path in net.space.fair_round(rng)):
        (net(x, path) ** 2).sum().backward()
    missed = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert not missed, f"fair rounds give no gradient to {', '.join(missed)}"


def _check_mixture(net: Supernet, x: Tensor, generator: torch.Generator) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    relaxed, absent = net.relaxed(), _absent(net.space)
    logits = torch.randn(absent.shape, generator=generator, dtype=torch.float64).masked_fill(absent, -torch.inf)
    first = relaxed(x, logits.softmax(-1)).detach()
    for training in (False, True):
        probabilities = logits.softmax(-1).requires_grad_()
        (relaxed.train(training)(x, probabilities) ** 2).sum().backward()
        gradient = probabilities.grad
        assert gradient is not None
        assert torch.isfinite(gradient).all(), "the mixture's gradient is not finite"
        for decision, row in zip(net.space.decisions, gradient.masked_fill(absent, 0.0), strict=True):
            assert row.any(), f"the mixture's gradient misses {decision.name}"
    assert all(p.grad is None for p in relaxed.parameters()), "the mixture must freeze its weights"
    assert torch.equal(relaxed.eval()(x, logits.softmax(-1)), first), "training mode of the mixture changed it"
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), f"the mixture changed {name}"


def _check_trained_mixture(net: Supernet, x: Tensor, architectures: list[Architecture], tolerance: float) -> None:
    net = copy.deepcopy(net).train()
    before = {name: value.clone() for name, value in net.named_buffers()}
    for architecture in architectures:
        path, of_path = _gradients(net, x, architecture)
        mixture, of_mixture = _gradients(net, x, one_hot(net.space, architecture))
        said = f"{architecture}: in training mode the one-hot mixture"
        _assert_close(mixture, path, tolerance, f"{said} differs from the path")
        others = sorted(of_mixture.keys() ^ of_path.keys())
        assert not others, f"{said} does not give gradients to what the path does: {', '.join(others)}"
        for name, wanted in of_path.items():
            scale = max(1.0, float(wanted.abs().max()))
            _assert_close(of_mixture[name] / scale, wanted / scale, tolerance, f"{said} gives {name} another gradient")
    probabilities = torch.zeros_like(one_hot(net.space, architectures[0])).masked_fill(_absent(net.space), -torch.inf)
    probabilities = probabilities.softmax(-1).requires_grad_()
    _, found = _gradients(net, x, probabilities)
    missed = [name for name, _ in net.named_parameters() if name not in found]
    assert not missed, f"in training mode the mixture gives no gradient to {', '.join(missed)}"
    assert probabilities.grad is not None
    for decision, row in zip(net.space.decisions, probabilities.grad, strict=True):
        assert row.any(), f"in training mode the mixture's gradient misses {decision.name}"
    for name, value in net.named_buffers():
        shared = not name.startswith(("before.", "after."))
        assert not shared or torch.equal(value, before[name]), f"in training mode a mixture changed {name}"


def _gradients(net: Supernet, x: Tensor, path: Architecture | Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The output of a path or mixture, and the gradient of each parameter that has one."""
    net.zero_grad(set_to_none=True)
    out = net(x, path)
    (out**2).sum().backward()
    return out.detach(), {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def _absent(space: SearchSpace) -> Tensor:
    """Where a decision has fewer choices than the widest: `[decisions, choices]`."""
    widest = max(len(decision.choices) for decision in space.decisions)
    return torch.tensor([[c >= len(d.choices) for c in range(widest)] for d in space.decisions])


def _assert_close(got: Tensor, wanted: Tensor, tolerance: float, message: str) -> None:
    difference = float((got - wanted).abs().max())
    assert difference <= tolerance, f"{message} by {difference:.3g}"
