"""Depthwise convolutions with a weight gradient of their own: equal to PyTorch's, and plain wherever that matters."""

import copy
import io
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets import build_supernet, depthwise
from anybudget.nets.blocks import channels_last
from anybudget.nets.compiled.kernels import kernels_allowed
from anybudget.nets.depthwise import DepthwiseConv2d, depthwise_conv2d, gains, weight_gradient
from anybudget.spaces import SearchSpace, UnifiedSpace
from tiny_spaces import small_channels, small_mbconv, tiny_macro


def plain(x: Tensor, kernel: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    return F.conv2d(x, kernel, bias, stride, kernel.shape[-1] // 2, groups=x.shape[1])


def draw(
    images: int, channels: int, height: int, width: int, size: int, *, bias: bool = False, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(images + 7 * channels + 31 * height + 101 * width + size)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    x, kernel = normal(images, channels, height, width), normal(channels, 1, size, size)
    return x, kernel, normal(channels) if bias else None


@pytest.fixture
def always() -> Iterator[None]:
    """The gradient of our own for every shape and precision."""
    with mock.patch.object(depthwise, "gains", return_value=True):
        yield


@settings(max_examples=60)
@given(
    images=st.integers(1, 9),
    channels=st.integers(1, 20),
    height=st.integers(1, 15),
    width=st.integers(1, 15),
    size=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    last=st.booleans(),
    chunk=st.sampled_from([1, 500, 2**18]),
)
def test_all_gradients_are_those_of_pytorch(
    images: int, channels: int, height: int, width: int, size: int, stride: int, last: bool, chunk: int
) -> None:
    x, kernel, bias = draw(images, channels, height, width, size, bias=True, dtype=torch.float32)
    assert bias is not None
    entered = x.contiguous(memory_format=torch.channels_last) if last else x
    expected = plain(entered, kernel, bias, stride)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    wanted = torch.autograd.grad((expected * weights).sum(), [x, kernel, bias])
    with mock.patch.object(depthwise, "gains", return_value=True), mock.patch.object(depthwise, "_CHUNK", chunk):
        found = depthwise_conv2d(entered, kernel, bias, stride)
        gradients = torch.autograd.grad((found * weights).sum(), [x, kernel, bias])
    assert torch.equal(found, expected)
    assert torch.equal(gradients[0], wanted[0])
    for gradient, want in zip(gradients[1:], wanted[1:], strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.usefixtures("always")
def test_first_and_second_derivatives_in_double_precision(stride: int) -> None:
    x, kernel, bias = draw(2, 2, 5, 4, 3, bias=True, dtype=torch.float64)
    assert torch.autograd.gradcheck(depthwise_conv2d, (x, kernel, bias, stride))
    assert torch.autograd.gradgradcheck(depthwise_conv2d, (x, kernel, bias, stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(64, 36, 14, 14, 7), (16, 60, 7, 7, 5), (3, 8, 40, 33, 5)])
def test_the_weight_gradient_is_that_of_double_precision(shape: tuple[int, int, int, int, int], stride: int) -> None:
    x, kernel, _ = draw(*shape, dtype=torch.float64)
    out = plain(x, kernel, None, stride)
    gradient = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad(out, kernel, gradient)[0]
    found = weight_gradient(x.detach().float(), gradient.float(), shape[-1], stride)
    assert float((found - wanted).norm() / wanted.norm()) < 3e-6


def test_the_same_shape_gives_the_same_bits() -> None:
    x, kernel, _ = draw(32, 12, 14, 14, 5, dtype=torch.float32)
    assert gains(x, kernel, 1)
    first, second = (torch.autograd.grad(depthwise_conv2d(x, kernel).square().sum(), kernel)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_frozen_kernel_or_input_gets_no_gradient() -> None:
    x, kernel, _ = draw(16, 6, 14, 14, 5, dtype=torch.float32)
    assert not gains(x, kernel.detach(), 1)
    depthwise_conv2d(x.detach(), kernel).sum().backward()
    assert x.grad is None
    assert kernel.grad is not None


def test_where_it_does_not_pay_pytorch_computes() -> None:
    x, kernel, _ = draw(16, 6, 14, 14, 5, dtype=torch.float32)
    small, tiny = draw(64, 6, 14, 14, 3, dtype=torch.float32), draw(99, 60, 4, 4, 7, dtype=torch.float32)
    assert gains(x, kernel, 1)
    assert not gains(small[0], small[1], 1)
    assert gains(tiny[0], tiny[1], 1)
    assert not gains(tiny[0], tiny[1], 2)
    assert not gains(x.double(), kernel.double(), 1)
    assert not gains(x.bfloat16(), kernel.bfloat16(), 1)
    assert not gains(x[:0], kernel, 1)
    assert not gains(x[:4], kernel, 1)
    assert not gains(x.to("meta"), kernel.to("meta"), 1)
    with torch.no_grad():
        assert not gains(x, kernel, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert not gains(x, kernel, 1)
        assert depthwise_conv2d(x, kernel).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        assert not gains(x, kernel, 1)


SPACES: dict[str, SearchSpace] = {
    "unified": UnifiedSpace(tiny_macro()),
    "mbconv": small_mbconv(4, "k3_e6", "k3_e3"),
    "shufflenet-channels": small_channels(),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_whole_step_of_supernets_and_their_networks(name: str) -> None:
    torch.manual_seed(0)
    supernet = channels_last(build_supernet(SPACES[name])).train()
    architecture = supernet.space.sample(np.random.default_rng(3))
    network = supernet.extract(architecture)
    x, labels = torch.randn(8, *image_shape(supernet.space)), torch.arange(8) % 2
    for module, arguments in ((supernet, (x, architecture)), (network, (x,))):
        with torch.no_grad():
            module(*arguments)
        counted = mock.Mock(side_effect=weight_gradient)
        with (
            kernels_allowed(False),
            mock.patch.object(depthwise, "weight_gradient", counted),
            mock.patch.object(depthwise, "_SMALLEST_KERNEL", 3),
            mock.patch.object(depthwise, "_LEAST_WORK", 0),
        ):
            found = gradients_of(module, labels, *arguments)
        with kernels_allowed(False), mock.patch.object(depthwise, "_SMALLEST_KERNEL", 99):
            wanted = gradients_of(module, labels, *arguments)
        assert counted.called
        for name_, want in wanted.items():
            torch.testing.assert_close(found[name_], want, rtol=1e-4, atol=1e-5 * max(1.0, float(want.abs().max())))


def image_shape(space: SearchSpace) -> tuple[int, int, int]:
    settings = space.settings
    return settings.input_channels, settings.input_size, settings.input_size  # type: ignore[attr-defined]


def gradients_of(module: nn.Module, labels: Tensor, *arguments: object) -> dict[str, Tensor]:
    module.zero_grad(set_to_none=True)
    F.cross_entropy(module(*arguments), labels).backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_the_layer_is_a_plain_convolution_to_all_that_reads_it() -> None:
    layer, twin = DepthwiseConv2d(6, 5, 2), nn.Conv2d(6, 6, 5, 2, 2, groups=6, bias=False)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(128, 6, 9, 9)
    assert list(layer.state_dict()) == ["weight"]
    assert torch.equal(layer(x), twin(x))
    assert torch.equal(copy.deepcopy(layer)(x), twin(x))
    assert type(layer(x).grad_fn).__name__ == "_DepthwiseConv2dBackward"
    layer.eval()
    assert type(layer(x).grad_fn).__name__ == "ConvolutionBackward0"
    assert torch.equal(layer(x), twin(x))


@pytest.mark.parametrize("training", [False, True])
def test_a_network_is_traced_and_exported_with_plain_convolutions(training: bool) -> None:
    torch.manual_seed(0)
    space = UnifiedSpace(tiny_macro())
    network = build_supernet(space).train(training).extract(space.sample(np.random.default_rng(0)))
    x = torch.randn(4, *image_shape(space))
    exported = torch.export.export(network, (x,))
    assert not any("Depthwise" in str(node.target) for node in exported.graph.nodes)
    traced = torch.jit.trace(network, (x,), check_trace=False)
    written = io.BytesIO()
    torch.jit.save(traced, written)  # refuses graphs with calls back into Python
    written.seek(0)
    found = torch.jit.load(written)(x)
    torch.testing.assert_close(found, network(x), rtol=1e-4, atol=1e-4)
