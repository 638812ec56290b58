"""The merged bottleneck against every convolution run separately, in float64: values and gradients."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.errors import ConfigError
from anybudget.nets import build_supernet, merged, relaxed
from anybudget.nets.blocks import ACTIVATIONS, activation
from anybudget.nets.merged import FrozenBottleneck, merged_bottleneck
from anybudget.nets.mixture import weighted_sum
from anybudget.nets.quantised import QuantisedConv2d
from anybudget.spaces import UnifiedSpace
from anybudget.spaces.blocks import ActivationName, Convolution
from conftest import small_channels, tiny_macro

SUB_BLOCKS, CHANNELS, OUT = 4, 3, 5


def frozen_of(sizes: tuple[int, ...], stride: int, activation: ActivationName) -> FrozenBottleneck:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    largest = max(sizes)
    kernels = torch.zeros(SUB_BLOCKS, len(sizes), CHANNELS, largest, largest, dtype=torch.float64)
    for index, size in enumerate(sizes):
        margin = (largest - size) // 2
        kernels[:, index, :, margin : largest - margin, margin : largest - margin] = draw(
            SUB_BLOCKS, CHANNELS, size, size
        )
    width = SUB_BLOCKS * CHANNELS
    return FrozenBottleneck(
        draw(width, CHANNELS, 1, 1), draw(width), kernels, draw(SUB_BLOCKS, len(sizes), CHANNELS), sizes, stride,
        draw(OUT, width, 1, 1), activation,
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


def test_every_activation_of_the_settings_is_in_the_table_and_others_are_refused() -> None:
    assert set(ACTIVATIONS) == set(get_args(ActivationName))
    with pytest.raises(ConfigError, match="unknown activation 'gelu'; known are relu, relu6, hard_swish"):
        activation("gelu")  # type: ignore[arg-type]
    frozen = frozen_of((3, 5), 1, "gelu")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown activation 'gelu'"):
        merged_bottleneck(torch.ones(1, CHANNELS, 5, 5).double(), torch.ones(SUB_BLOCKS, 2).double(), frozen)


def test_the_merged_kernel_has_all_digits_under_autocast() -> None:
    frozen = frozen_of((3, 5, 7), 1, "hard_swish")
    frozen = FrozenBottleneck(*(v.float() if isinstance(v, Tensor) else v for v in vars(frozen).values()))
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
