"""The merged bottleneck against every convolution run separately, in float64: values and gradients."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.errors import ConfigError
from anybudget.nets import build_supernet, merged, relaxed
from anybudget.nets.blocks import ACTIVATIONS, activation
from anybudget.nets.compiled import build, kernels
from anybudget.nets.merged import FrozenBottleneck, merged_bottleneck
from anybudget.nets.mixture import weighted_sum
from anybudget.nets.quantised import QuantisedConv2d
from anybudget.spaces import UnifiedSpace
from anybudget.spaces.blocks import ActivationName, Convolution
from tiny_spaces import small_channels, tiny_macro

SUB_BLOCKS, CHANNELS, OUT = 4, 3, 5


def frozen_of(
    sizes: tuple[int, ...], stride: int, activation: ActivationName, inputs: int = CHANNELS, outputs: int = OUT
) -> FrozenBottleneck:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    largest = max(sizes)
    every = torch.zeros(SUB_BLOCKS, len(sizes), CHANNELS, largest, largest, dtype=torch.float64)
    for index, size in enumerate(sizes):
        margin = (largest - size) // 2
        every[:, index, :, margin : largest - margin, margin : largest - margin] = draw(
            SUB_BLOCKS, CHANNELS, size, size
        )
    width = SUB_BLOCKS * CHANNELS
    return FrozenBottleneck(
        draw(width, inputs, 1, 1), draw(width), every, draw(SUB_BLOCKS, len(sizes), CHANNELS), sizes, stride,
        draw(outputs, width, 1, 1), activation,
    )  # fmt: skip


def explicit(x: torch.Tensor, weights: torch.Tensor, frozen: FrozenBottleneck) -> torch.Tensor:
    known = {"relu": F.relu, "relu6": F.relu6, "hard_swish": F.hardswish, "silu": F.silu}
    act = known[frozen.activation]
    hidden = act(F.conv2d(x, frozen.expand, frozen.expand_bias))
    padding = frozen.kernels.shape[-1] // 2
    parts = []
    for s, part in enumerate(hidden.split(CHANNELS, dim=1)):
        convs = [
            F.conv2d(part, frozen.kernels[s, k].unsqueeze(1), frozen.biases[s, k], frozen.stride, padding, 1, CHANNELS)
            for k in range(len(frozen.sizes))
        ]
        parts.append(torch.stack([w * conv for w, conv in zip(weights[s], convs, strict=True)]).sum(0))
    return F.conv2d(act(torch.cat(parts, dim=1)), frozen.project)


@pytest.mark.parametrize("name", ["relu", "relu6", "hard_swish", "silu"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("sizes", [(3, 5, 7), (1, 5)])
@pytest.mark.parametrize("chunk", [1, 2**20])
def test_values_and_gradients(
    name: ActivationName, stride: int, sizes: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of an activation that is added to the table: nothing but the table knows them all."""
    monkeypatch.setattr(merged, "_CHUNK", chunk)
    monkeypatch.setitem(ACTIVATIONS, "silu", nn.SiLU)  # type: ignore[misc]
    frozen = frozen_of(sizes, stride, name)
    generator = torch.Generator().manual_seed(1)
    results = []
    for forward in (merged_bottleneck, explicit):
        generator.manual_seed(1)
        x = torch.randn(3, CHANNELS, 9, 9, dtype=torch.float64, generator=generator).requires_grad_()
        weights = torch.rand(SUB_BLOCKS, len(sizes), dtype=torch.float64, generator=generator).requires_grad_()
        out = forward(x, weights, frozen)
        upstream = torch.randn(out.shape, dtype=torch.float64, generator=generator)
        kept = upstream.clone()
        results.append((out.detach(), *torch.autograd.grad(out, (x, weights), upstream)))
        assert torch.equal(upstream, kept)  # gradients are masked in place, but never one that belongs to others
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert theirs.abs().max() > 0


compiled = pytest.mark.skipif(build.library() is None, reason="needs a C compiler")


def single(frozen: FrozenBottleneck) -> FrozenBottleneck:
    return FrozenBottleneck(*(v.float() if isinstance(v, Tensor) else v for v in vars(frozen).values()))


@compiled
@settings(max_examples=80)
@given(
    images=st.integers(1, 12),
    inputs=st.sampled_from([1, 3, 16, 20]),
    outputs=st.sampled_from([1, 5, 16, 33]),
    height=st.integers(1, 18),
    width=st.integers(1, 34),
    sizes=st.sampled_from([(3,), (3, 5), (3, 5, 7), (1, 7)]),
    stride=st.sampled_from(kernels.STRIDES),
    name=st.sampled_from(["relu", "relu6"]),
)
def test_the_compiled_bottleneck_is_that_of_double_precision(
    images: int, inputs: int, outputs: int, height: int, width: int, sizes: tuple[int, ...], stride: int, name: str
) -> None:
    frozen = frozen_of(sizes, stride, name, inputs, outputs)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(images + 7 * height + 31 * width)
    shape = (images, inputs, height, width)
    x = torch.randn(shape, dtype=torch.float64, generator=generator).contiguous(memory_format=torch.channels_last)
    weights = torch.rand(SUB_BLOCKS, len(sizes), dtype=torch.float64, generator=generator)
    if bends(x, weights, frozen):
        return  # rounding decides what passes
    results = []
    for of, forward in ((single(frozen), merged_bottleneck), (frozen, explicit)):
        leaf, shares = (t.to(of.expand.dtype).requires_grad_() for t in (x, weights))
        out = forward(leaf, shares, of)
        assert ("_CompiledBottleneck" in type(out.grad_fn).__name__) == (forward is merged_bottleneck)
        upstream = torch.randn(out.shape, dtype=torch.float64, generator=generator.manual_seed(1)).to(out.dtype)
        results.append((out.detach(), *torch.autograd.grad(out, (leaf, shares), upstream)))
        (alone,) = torch.autograd.grad(forward(leaf.detach(), shares, of), shares, upstream)
        assert torch.equal(alone, results[-1][-1])  # also where no gradient of the input is wanted
    for ours, theirs in zip(*results, strict=True):
        assert float((ours - theirs).abs().max()) <= 2e-5 * max(1.0, float(theirs.abs().max()))


def bends(x: Tensor, weights: Tensor, frozen: FrozenBottleneck) -> bool:
    """Whether something lies within rounding of a place where an activation bends."""
    hidden = F.conv2d(x, frozen.expand, frozen.expand_bias)
    kernel, bias = frozen.mixed(weights)
    padding, act = frozen.kernels.shape[-1] // 2, F.relu if frozen.activation == "relu" else F.relu6
    mixed = F.conv2d(act(hidden), kernel, bias, frozen.stride, padding, groups=len(bias))
    return any(bool(((v - bend).abs() < 1e-5).any()) for v in (hidden, mixed) for bend in (0.0, 6.0))


@compiled
def test_where_the_compiled_bottleneck_is_not_for() -> None:
    frozen = single(frozen_of((3, 5), 1, "relu"))
    x, weights = torch.ones(2, CHANNELS, 6, 6).contiguous(memory_format=torch.channels_last), torch.ones(SUB_BLOCKS, 2)

    def taken(of: FrozenBottleneck = frozen, entered: Tensor = x) -> bool:
        out = merged_bottleneck(entered, weights.to(entered.dtype).requires_grad_(), of)
        return type(out.grad_fn).__name__ == "_CompiledBottleneckBackward"

    assert taken()
    assert not taken(entered=torch.ones(2, CHANNELS, 6, 6))
    assert not taken(frozen_of((3, 5), 1, "relu"), x.double())
    assert not taken(single(frozen_of((3, 9), 1, "relu")))
    assert not taken(single(frozen_of((3, 5), 3, "relu")))
    assert not taken(single(frozen_of((3, 5), 1, "hard_swish")))
    with kernels.kernels_allowed(False):
        assert not taken()


@compiled
def test_what_is_no_number_stays_none() -> None:
    frozen = single(frozen_of((3, 5), 1, "relu6"))
    x = torch.ones(2, CHANNELS, 6, 6).contiguous(memory_format=torch.channels_last)
    x[1, 0, 2, 2] = float("nan")
    weights = torch.ones(SUB_BLOCKS, 2, requires_grad=True)
    out = merged_bottleneck(x, weights, frozen)
    assert out[1, :, 2, 2].isnan().all()
    assert not out[0].isnan().any()
    out[1].sum().backward()
    assert weights.grad is not None
    assert weights.grad.isnan().any()


def test_every_activation_of_the_settings_is_in_the_table_and_others_are_refused() -> None:
    assert set(ACTIVATIONS) == set(get_args(ActivationName))
    with pytest.raises(ConfigError, match="unknown activation 'gelu'; known are relu, relu6, hard_swish"):
        activation("gelu")  # type: ignore[arg-type]
    frozen = frozen_of((3, 5), 1, "gelu")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown activation 'gelu'"):
        merged_bottleneck(torch.ones(1, CHANNELS, 5, 5).double(), torch.ones(SUB_BLOCKS, 2).double(), frozen)


def test_the_merged_kernel_has_all_digits_under_autocast() -> None:
    frozen = frozen_of((3, 5, 7), 1, "hard_swish")
    frozen = single(frozen)
    weights = torch.rand(SUB_BLOCKS, 3, generator=torch.Generator().manual_seed(2))
    plain = frozen.mixed(weights)
    with torch.autocast("cpu", torch.bfloat16):
        under = frozen.mixed(weights)
    for ours, theirs in zip(under, plain, strict=True):
        assert ours.dtype is torch.float32
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["relu", "hard_swish"])
@pytest.mark.parametrize("training", [False, True])
def test_mixing_weights_have_all_digits_under_autocast(
    name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    space = UnifiedSpace(tiny_macro(activation=name))
    net = build_supernet(space).eval().relaxed().train(training)
    seen: list[Tensor] = []

    def spy(x: Tensor, weights: Tensor, frozen: FrozenBottleneck) -> Tensor:
        seen.extend([weights, *frozen.mixed(weights)])
        return merged_bottleneck(x, weights, frozen)

    monkeypatch.setattr(relaxed, "merged_bottleneck", spy)
    probabilities = torch.rand(3, 80, generator=torch.Generator().manual_seed(0)).mul(5).softmax(-1)
    with torch.no_grad():
        net(torch.randn(2, 1, 8, 8), probabilities)
        plain, seen[:] = list(seen), []
        with torch.autocast("cpu", torch.bfloat16):
            net(torch.randn(2, 1, 8, 8), probabilities)
    assert len(seen) == len(plain) == 9
    for ours, theirs in zip(seen, plain, strict=True):
        assert ours.dtype is torch.float32
        assert torch.equal(ours, theirs)


def test_the_shares_of_channels_have_all_digits_under_autocast() -> None:
    torch.manual_seed(0)
    net = build_supernet(small_channels())
    row = torch.rand(6).softmax(0)
    plain = net._joint(0, row)  # type: ignore[operator]
    with torch.autocast("cpu", torch.bfloat16):
        under = net._joint(0, row)  # type: ignore[operator]
    assert under.dtype is torch.float32
    assert torch.equal(under, plain)


def test_a_sum_of_low_precision_is_weighted_in_full() -> None:
    """A probability of 1/3 times values of bfloat16 is no bfloat16, in which three of them are not 1."""
    values = [torch.ones(1, 2, 3, 3, dtype=torch.bfloat16)] * 3
    total = weighted_sum(torch.full((3,), 1 / 3), values)
    torch.testing.assert_close(total, torch.ones(1, 2, 3, 3))
    conv = QuantisedConv2d(Convolution(2, 2, 3), [(2, 4), (4, 4), (3, 4)])
    seen: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(conv, "_convolve", lambda x, weight: seen.append(weight) or x)
        conv.mixture(torch.rand(1, 2, 4, 4), torch.tensor([0.2, 0.3, 0.5]))
    assert [weight.dtype for weight in seen] == [torch.float32]
