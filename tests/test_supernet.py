"""The unified supernet: paths, mixtures, extraction, gradients, statistics."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from anybudget.architecture import Architecture
from anybudget.errors import ConfigError
from anybudget.nets import UnifiedSupernet, build_supernet
from anybudget.spaces import PathEncoding, SearchSpace, UnifiedSpace, stages
from anybudget.testing import check_space, check_supernet, explicit_mixture, randomise_norms
from tiny_spaces import small_channels, small_mbconv, tiny_macro

SPACE = UnifiedSpace(tiny_macro())
ARCHITECTURES = st.tuples(*[st.integers(0, 79)] * 3).map(lambda choices: Architecture("unified", choices))


def make(seed: int = 0, space: SearchSpace = SPACE, dtype: torch.dtype = torch.float64) -> UnifiedSupernet:
    torch.manual_seed(seed)
    net = build_supernet(space)
    assert isinstance(net, UnifiedSupernet)
    randomise_norms(net, torch.Generator().manual_seed(seed))
    return net.eval().to(dtype)


NET = make()
IMAGES = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def one_hot(architecture: Architecture) -> torch.Tensor:
    return F.one_hot(torch.tensor(architecture.choices), 80).double()


@settings(max_examples=40)
@given(ARCHITECTURES)
def test_a_path_equals_its_extracted_network_and_its_one_hot_mixture(architecture: Architecture) -> None:
    with torch.no_grad():
        path = NET(IMAGES, architecture)
        extracted = NET.extract(architecture)
        assert not extracted.training
        torch.testing.assert_close(path, extracted(IMAGES), rtol=0, atol=1e-10)
        torch.testing.assert_close(path, NET(IMAGES, one_hot(architecture)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", ["relu", "relu6", "hard_swish"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_extraction_in_float32_and_both_modes(activation: str, memory_format: torch.memory_format) -> None:
    net = make(1, UnifiedSpace(tiny_macro(activation=activation)), torch.float32).to(memory_format=memory_format)  # type: ignore[call-overload]
    x = IMAGES.float().contiguous(memory_format=memory_format)
    rng = np.random.default_rng(0)
    for training in (False, True):
        net.train(training)
        for _ in range(5):
            architecture = SPACE.sample(rng)
            with torch.no_grad():
                # In training mode a forward normalises by the batch; the copy keeps the fixed norms' own statistics.
                extracted = net.extract(architecture)
                torch.testing.assert_close(net(x, architecture), extracted(x), rtol=0, atol=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.booleans(), st.floats(0.1, 8.0), st.booleans())
def test_merged_mixture_equals_the_explicit_mixture(
    seed: int, batch_statistics: bool, spread: float, joined: bool
) -> None:
    """Values and gradients, in float64: every operation run separately and then mixed, against one convolution."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(3, 80, dtype=torch.float64, generator=generator)
    results = []
    for forward in (
        lambda x, p: NET.relaxed().train(batch_statistics)(x, p),
        lambda x, p: explicit_mixture(NET, x, p, batch_statistics=batch_statistics, joined=joined),
    ):
        probabilities, x = logits.softmax(-1).requires_grad_(), IMAGES.clone().requires_grad_()
        logits_out = forward(x, probabilities)
        F.cross_entropy(logits_out, torch.tensor([0, 1, 2, 0])).backward()
        results.append((logits_out.detach(), probabilities.grad, x.grad))
    for merged, explicit in zip(*results, strict=True):
        torch.testing.assert_close(merged, explicit, rtol=0, atol=1e-5)
        assert explicit is not None
        assert explicit.abs().max() > 0


@pytest.mark.parametrize("activation", ["relu", "hard_swish"])
@pytest.mark.parametrize("first_width", [0, 4])
def test_a_mixture_by_the_own_weights_equals_the_frozen_copy_s(activation: str, first_width: int) -> None:
    net = make(2, UnifiedSpace(tiny_macro(activation=activation, first_width=first_width)))
    logits = 3 * torch.randn(3, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for forward in (net, net.relaxed()):
        probabilities, x = logits.softmax(-1).requires_grad_(), IMAGES.clone().requires_grad_()
        out = forward(x, probabilities)
        (out**2).sum().backward()
        results.append((out.detach(), probabilities.grad, x.grad))
    for own, frozen in zip(*results, strict=True):
        torch.testing.assert_close(own, frozen, rtol=0, atol=1e-10)
        assert own.abs().max() > 0


class CountNumbers(TorchFunctionMode):
    """The size of the largest tensor that a function returns."""

    largest = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor):
            self.largest = max(self.largest, found.numel())
        return found


SPACES = [SPACE, small_mbconv(), small_channels()]


@pytest.mark.parametrize("space", SPACES, ids=[space.name for space in SPACES])
def test_a_mixture_copies_no_weights_and_leaves_them_without_gradients(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = build_supernet(space).eval()
    next(net.parameters()).requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in net.parameters()]

    def refuse(*_: object) -> None:
        raise AssertionError("a copy")

    monkeypatch.setattr(copy, "deepcopy", refuse)
    widest = max(len(decision.choices) for decision in space.decisions)
    probabilities = torch.full((len(space.decisions), widest), 1 / widest).requires_grad_()
    net(torch.randn(2, 1, 8, 8), probabilities).sum().backward()
    assert probabilities.grad is not None
    assert probabilities.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in net.parameters())
    assert [parameter.requires_grad for parameter in net.parameters()] == wanted


def test_a_mixture_makes_no_tensor_as_large_as_the_pointwise_weights() -> None:
    space = UnifiedSpace(tiny_macro(first_width=64, stages=stages((64, 1, 2)), stem_stride=2))
    net = make(0, space, torch.float32)
    pointwise = sum(block.expand.weight.numel() for block in net.layers[0].sub_blocks)
    with CountNumbers() as counter, torch.no_grad():
        net(torch.randn(1, 1, 8, 8), torch.full((1, 80), 1 / 80))
    assert 0 < counter.largest < pointwise


def test_a_frozen_copy_needs_evaluation_mode() -> None:
    with pytest.raises(ConfigError, match="evaluation mode"):
        copy.deepcopy(NET).train().relaxed()


def test_the_frozen_copy_does_not_follow_the_supernet() -> None:
    net = copy.deepcopy(NET)
    relaxed = net.relaxed()
    probabilities = torch.full((3, 80), 1 / 80, dtype=torch.float64)
    before = relaxed(IMAGES, probabilities)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    torch.testing.assert_close(relaxed(IMAGES, probabilities), before)
    assert not list(relaxed.layers.parameters())


class CountConvolutions(TorchFunctionMode):
    """Records groups and kernel size of every convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise: list[tuple[int, int]] = []  # kernel size, channels

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        groups = kwargs.get("groups", args[6] if len(args) > 6 else 1)
        if func is F.conv2d and groups > 1:
            self.depthwise.append((args[1].shape[-1], args[1].shape[0]))
        return func(*args, **kwargs)


def test_a_path_computes_its_own_channels_only() -> None:
    space = UnifiedSpace(tiny_macro(first_width=0))
    net = make(0, space)
    architecture = space.from_kernels([[3, 7, 7], [5, 5], [3, 3, 5, 5, 7, 7]])
    with CountConvolutions() as counter, torch.no_grad():
        net(IMAGES, architecture)
    assert counter.depthwise == [(3, 4), (7, 8), (5, 8), (3, 8), (5, 8), (7, 8)]
    with CountConvolutions() as counter, torch.no_grad():
        net(IMAGES, torch.full((3, 80), 1 / 80, dtype=torch.float64))
    assert counter.depthwise == [(7, 24)] * 3  # one merged convolution a layer


def test_arrangements_share_a_network_but_not_its_weights() -> None:
    first = PathEncoding("unified", ((0, 1, 2, 3, 3, 3), (0, 0, 3, 3, 3, 3), (0, 0, 3, 3, 3, 3)))
    second = PathEncoding("unified", ((2, 0, 1, 3, 3, 3), *first.operations[1:]))
    assert SPACE.canonical(first) == SPACE.canonical(second)
    with torch.no_grad():
        assert not torch.allclose(NET(IMAGES, first), NET(IMAGES, second))
        torch.testing.assert_close(NET(IMAGES, first), NET(IMAGES, SPACE.canonical(first)))


def test_gradients_reach_the_path_and_nothing_else() -> None:
    net = copy.deepcopy(NET).train()
    encoding = PathEncoding("unified", ((2, 0, 3, 3, 3, 3),) * 3)
    net(IMAGES, encoding).sum().backward()
    block = net.layers[0]
    used = {(0, 2), (1, 0)}
    for index, sub_block in enumerate(block.sub_blocks):
        assert (sub_block.expand.weight.grad is not None) == (index < 2)
        for kernel in range(3):
            assert (sub_block.depthwise[kernel].weight.grad is not None) == ((index, kernel) in used)
            assert (sub_block.depthwise_norms[kernel].weight.grad is not None) == ((index, kernel) in used)
    assert [norm.weight.grad is not None for norm in block.shadow_norms] == [True, False, False, False, False]


def test_a_fair_round_reaches_every_parameter() -> None:
    net = copy.deepcopy(NET).train()
    for path in SPACE.fair_round(np.random.default_rng(0)):
        (net(IMAGES, path) ** 2).sum().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


def test_a_training_forward_leaves_shared_statistics_alone() -> None:
    net = copy.deepcopy(NET).train()
    before = {name: value.clone() for name, value in net.layers.state_dict().items()}
    net(IMAGES, SPACE.sample(np.random.default_rng(0)))
    assert all(torch.equal(before[name], value) for name, value in net.layers.state_dict().items())


def test_recorded_statistics_are_the_averages_of_the_batches() -> None:
    net = copy.deepcopy(NET)
    net.reset_statistics()
    architecture = SPACE.from_kernels([[3, 7], [5, 5], [3, 3]])
    batches = [IMAGES, IMAGES * 2 + 1]
    for batch in batches:
        net.record_statistics(batch, architecture)
    assert not net.training
    reference = net.extract(architecture).train()
    for layer in reference.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    with torch.no_grad():
        for batch in batches:
            reference(batch)
    for (name, got), want in zip(
        net.extract(architecture).state_dict().items(), reference.state_dict().values(), strict=True
    ):
        if "running" in name:
            torch.testing.assert_close(got, want, msg=name)


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize("shadow", [True, False])
def test_ablations_of_forced_sampling_and_shadow_norms(forced: bool, shadow: bool) -> None:
    """SGNAS Fig. 6a: other arrangements are trained, or one norm serves all rates; the rest holds as before."""
    space = UnifiedSpace(tiny_macro(forced_sampling=forced, shadow_norms=shadow))
    torch.manual_seed(0)
    net = build_supernet(space)
    if forced:  # without, a sub-block may also be skipped where no canonical encoding skips it
        check_space(space, samples=3)
    check_supernet(net, samples=3)
    assert {len(layer.shadow_norms) for layer in net.layers} == {5 if shadow else 1}
    paths = space.fair_round(np.random.default_rng(0))
    holes = [
        operations
        for path in paths
        for operations in path.operations
        if any(op == 3 for op in operations[: sum(op != 3 for op in operations)])
    ]
    assert bool(holes) == (not forced)
    assert all(space.canonical(path) for path in paths)
