"""An inverted bottleneck's first half as one operator: what PyTorch's layers give, without what lies between."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets.blocks import InvertedBottleneck, channels_last
from anybudget.nets.compiled import build
from anybudget.nets.compiled.kernels import SIZES, STRIDES, kernels_allowed
from anybudget.nets.expand_depthwise import expand_depthwise
from anybudget.nets.norm_activation import Norm
from anybudget.spaces import Branch, InvertedBottleneckSpec

compiled = pytest.mark.skipif(build.library() is None, reason="needs a C compiler")

ACTIVATIONS = {"relu": nn.ReLU(), "relu6": nn.ReLU6(), "hard_swish": nn.Hardswish(), "none": nn.Identity()}


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def leaves(images: int, inputs: int, channels: int, height: int, width: int, size: int) -> dict[str, Tensor]:
    """What the operator takes, in double precision; biases keep most values away from the bends of activations."""
    generator = torch.Generator().manual_seed(images + 3 * inputs + 7 * channels + 31 * height + 101 * width + size)
    return {
        "x": 2 * normal(generator, images, inputs, height, width) + 0.7,
        "expand": normal(generator, channels, inputs, 1, 1) / inputs**0.5,
        "scale": 1.0 + 0.3 * normal(generator, channels),
        "shift": normal(generator, channels),
        "kernel": normal(generator, channels, 1, size, size) / size,
    }


def reference(of: dict[str, Tensor], act: nn.Module, stride: int, norm: nn.BatchNorm2d | None = None) -> Tensor:
    running = (None, None) if norm is None else (norm.running_mean, norm.running_var)
    hidden = F.batch_norm(F.conv2d(of["x"], of["expand"]), *running, of["scale"], of["shift"], training=True)
    return F.conv2d(act(hidden), of["kernel"], None, stride, of["kernel"].shape[-1] // 2, groups=len(of["kernel"]))


def single(of: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {name: tensor.float() for name, tensor in of.items()}
    found["x"] = found["x"].contiguous(memory_format=torch.channels_last)
    return {name: tensor.detach().requires_grad_() for name, tensor in found.items()}


def operator(of: dict[str, Tensor], act: nn.Module, stride: int, follower: nn.BatchNorm2d | None = None) -> Tensor:
    norm = Norm(of["scale"], of["shift"], 1e-5, follower)
    found = expand_depthwise(of["x"], of["expand"], norm, act, of["kernel"], stride)
    assert found is not None
    return found


def distance(found: Tensor, wanted: Tensor) -> float:
    """Relative to the whole, as values near a bend of the activation may fall on either side of it."""
    return float((found.detach().double() - wanted.detach()).norm() / wanted.detach().norm().clamp_min(1e-6))


@compiled
@settings(max_examples=80)
@given(
    images=st.integers(1, 4),
    inputs=st.integers(1, 40),
    channels=st.integers(1, 40),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    size=st.sampled_from(SIZES),
    stride=st.sampled_from(STRIDES),
    act=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_output_and_gradients_are_those_of_double_precision(
    images: int, inputs: int, channels: int, height: int, width: int, size: int, stride: int, act: str
) -> None:
    if images * height * width < 8:  # of so few values the norm makes ±1 whatever they are
        return
    exact = leaves(images, inputs, channels, height, width, size)
    own = single(exact)
    for tensor in exact.values():
        tensor.requires_grad_()
    out, wanted = operator(own, ACTIVATIONS[act], stride), reference(exact, ACTIVATIONS[act], stride)
    assert out.shape == wanted.shape
    assert distance(out, wanted.detach()) < 1e-5
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = torch.autograd.grad((out * weights).sum(), list(own.values()))
    want = torch.autograd.grad((wanted * weights).sum(), list(exact.values()))
    smooth = act in ("none", "hard_swish")
    for name, gradient, gradient_wanted in zip(own, found, want, strict=True):
        size_of = max(float(gradient_wanted.norm()), 1e-2 * float(weights.norm()))
        off = float((gradient.double() - gradient_wanted).norm()) / size_of
        assert off < (1e-3 if smooth else 2e-2), (name, off)


@compiled
@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_follow_as_the_norm_s_would(momentum: float | None) -> None:
    exact = leaves(8, 6, 20, 9, 9, 5)
    norm = nn.BatchNorm2d(20, momentum=momentum)
    twin = copy.deepcopy(norm).double()
    share = 1.0 if momentum is None else momentum
    for tensor in (twin.running_mean, twin.running_var):
        assert tensor is not None
    hidden = F.conv2d(exact["x"], exact["expand"])
    F.batch_norm(hidden, twin.running_mean, twin.running_var, training=True, momentum=share)
    operator(single(exact), nn.ReLU(), 1, norm)
    assert int(norm.num_batches_tracked or 0) == 1
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(norm, name).double(), getattr(twin, name), rtol=1e-5, atol=1e-5)


@compiled
def test_channels_that_cancel_keep_their_variance() -> None:
    """A pointwise channel that is the small difference of two large inputs."""
    exact = leaves(16, 4, 16, 8, 8, 3)
    exact["x"][:, 1] = exact["x"][:, 0] * 30 + 0.05 * exact["x"][:, 2] + 40
    exact["x"][:, 0] *= 30
    exact["expand"][:8, :, 0, 0] = torch.tensor([1.0, -1.0, 0.0, 0.0], dtype=torch.float64)
    out, wanted = operator(single(exact), nn.Identity(), 1), reference(exact, nn.Identity(), 1)
    layers = reference({name: tensor.detach() for name, tensor in single(exact).items()}, nn.Identity(), 1)
    assert distance(out.detach(), wanted) < max(1e-4, 3 * distance(layers, wanted))


@compiled
def test_a_constant_input_has_no_variance() -> None:
    exact = leaves(4, 3, 8, 6, 6, 3)
    exact["x"] = torch.full_like(exact["x"], 2.5)
    own = single(exact)
    out = operator(own, nn.ReLU(), 1)
    torch.testing.assert_close(out.detach().double(), reference(exact, nn.ReLU(), 1), rtol=1e-3, atol=1e-3)
    out.sum().backward()
    assert all(tensor.grad is not None and bool(tensor.grad.isfinite().all()) for tensor in own.values())


@compiled
def test_what_is_no_number_reaches_the_output() -> None:
    own = single(leaves(4, 3, 8, 6, 6, 3))
    with torch.no_grad():
        own["x"][1, 1, 2, 2] = float("nan")
    assert bool(operator(own, nn.ReLU6(), 1).isnan().any())


@compiled
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_of_gradients(stride: int) -> None:
    exact = leaves(3, 4, 6, 6, 6, 3)
    results = []
    for function, of in ((operator, single(exact)), (reference, single(exact))):
        out = function(of, nn.Hardswish(), stride)
        (first,) = torch.autograd.grad(out.square().sum(), of["x"], create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), list(of.values())))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-3 * float(wanted.abs().max()))


@compiled
def test_frozen_parts_get_no_gradient() -> None:
    own = single(leaves(4, 4, 8, 6, 6, 3))
    own["x"], own["scale"] = own["x"].detach(), own["scale"].detach()
    operator(own, nn.ReLU(), 1).sum().backward()
    assert own["x"].grad is own["scale"].grad is None
    assert own["expand"].grad is not None


def test_where_it_is_not_for() -> None:
    own = single(leaves(4, 4, 8, 6, 6, 3))

    def taken(stride: int = 1, **changes: Tensor) -> bool:
        of = {**own, **changes}
        norm = Norm(of["scale"], of["shift"], 1e-5)
        return expand_depthwise(of["x"], of["expand"], norm, nn.ReLU(), of["kernel"], stride) is not None

    assert taken() == (build.library() is not None)
    assert not taken(x=own["x"].detach().contiguous())
    assert not taken(x=own["x"].double())
    assert not taken(expand=own["expand"].detach())
    assert not taken(kernel=torch.ones(8, 1, 9, 9))
    assert not taken(stride=3)
    assert not taken(x=torch.ones(1, 4, 1, 1))
    wide = single(leaves(2, 200, 8, 4, 4, 3))
    assert not taken(**wide)
    with torch.no_grad():  # as norms are calibrated
        assert taken() == (build.library() is not None)
    norm = Norm(own["scale"], own["shift"], 1e-5)
    assert expand_depthwise(own["x"], own["expand"], norm, nn.SiLU(), own["kernel"], 1) is None


def block_of(*branches: Branch, groups: int = 1) -> InvertedBottleneck:
    spec = InvertedBottleneckSpec(8, 8, 1, 9, branches, "relu6", groups=groups)
    return channels_last(InvertedBottleneck(spec)).train()


@compiled
def test_blocks_use_it_and_their_hooks_are_called() -> None:
    block = block_of(Branch(3, 16), Branch(5, 8))
    x = torch.randn(4, 8, 9, 9).contiguous(memory_format=torch.channels_last).requires_grad_()
    results = []
    for allowed in (True, False):
        twin = copy.deepcopy(block)
        with kernels_allowed(allowed):
            out = twin(x)
        assert ("_ExpandDepthwiseBackward" in graph(out)) == allowed
        results.append((out, *torch.autograd.grad(out.square().sum(), [x, *twin.parameters()]), *twin.buffers()))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * max(1.0, float(wanted.abs().max())))
    seen: list[nn.Module] = []
    conv = block.branches[0].expand.conv
    conv.register_forward_hook(lambda module, *_: seen.append(module))
    block(x)
    assert seen == [conv]
    assert "_ExpandDepthwiseBackward" not in graph(block_of(Branch(3, 16), groups=2)(x))
    assert "_ExpandDepthwiseBackward" not in graph(block.eval()(x))


def graph(out: Tensor) -> set[str]:
    """The names of all operations that a tensor came from."""
    seen, waiting = set(), [out.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [parent for parent, _ in node.next_functions]
    return {node.name() for node in seen}
