"""Compiled kernels compute what PyTorch does, are used only while networks train, and can always be done without."""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.nets import build_supernet
from anybudget.nets.blocks import channels_last
from anybudget.nets.compiled import build, kernels
from anybudget.nets.compiled.kernels import depthwise_kernel_gradient, kernels_allowed, rows_of, usable
from anybudget.nets.norm_activation import norm_activation
from anybudget.runs.run import Run
from anybudget.runtime.process_state import computing_threads
from anybudget.spaces import SearchSpace, UnifiedSpace
from conftest import open_run
from tiny_spaces import small_channels, small_mbconv, tiny_macro

ACTIVATIONS: dict[str, nn.Module | None] = {
    "none": None,
    "relu": nn.ReLU(inplace=True),
    "relu6": nn.ReLU6(inplace=True),
    "hard_swish": nn.Hardswish(inplace=True),
}

compiled = pytest.mark.skipif(build.library() is None, reason="needs a C compiler")


def drawn(*shape: int, seed: int = 0, spread: float = 2.0, centre: float = 0.7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = spread * torch.randn(*shape, generator=generator) + centre
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def norm_of(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.weight.copy_(drawn(channels, seed=1, spread=0.3, centre=1.5))
        norm.bias.copy_(drawn(channels, seed=2))
    return norm


def outcome(
    x: Tensor, norm: nn.BatchNorm2d, act: nn.Module | None, *, residual: bool, fused: bool
) -> dict[str, Tensor]:
    """The output, all gradients and the running statistics, with or without the compiled kernels."""
    own = copy.deepcopy(norm)
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    added = drawn(*x.shape, seed=3).requires_grad_() if residual else None
    with kernels_allowed(fused):
        out = norm_activation(leaf, own, act, added)
    assert (type(out.grad_fn).__name__ == "_NormActivationBackward") == fused
    leaves = {"x": leaf, "weight": own.weight, "bias": own.bias} | ({} if added is None else {"residual": added})
    gradients = torch.autograd.grad((out * drawn(*x.shape, seed=4)).sum(), list(leaves.values()))
    statistics = {name: buffer.clone() for name, buffer in own.named_buffers()}
    return {"out": out.detach(), **dict(zip(leaves, gradients, strict=True)), **statistics}


@compiled
@settings(max_examples=60)
@given(
    images=st.integers(1, 64),
    channels=st.sampled_from([1, 3, 8, 12, 24, 48, 64, 72, 96, 144]),
    side=st.integers(1, 9),
    act=st.sampled_from(sorted(ACTIVATIONS)),
    residual=st.booleans(),
    momentum=st.sampled_from([0.1, None]),
)
def test_norm_and_activation_are_those_of_double_precision(
    images: int, channels: int, side: int, act: str, residual: bool, momentum: float | None
) -> None:
    x = drawn(images, channels, side, side)
    if not rows_of(x):  # pixels that make no whole rows are left to PyTorch
        assert (images * side * side) % (64 // np.gcd(channels, 64)) or images * side * side == 1
        return
    norm = norm_of(channels)
    norm.momentum = momentum
    found = outcome(x, norm, ACTIVATIONS[act], residual=residual, fused=True)
    # The same numbers decide on which side of a kink a value lies, so kinks are kept away from.
    wanted = outcome(x.double(), norm.double(), ACTIVATIONS[act], residual=residual, fused=False)
    near = kinks(x.double(), norm.double())
    for name, want in wanted.items():
        if near and name in ("x", "weight", "bias"):
            continue
        got = found[name].to(want.dtype)
        torch.testing.assert_close(got, want, rtol=2e-4, atol=2e-4 * max(1.0, float(want.abs().max())))


def kinks(x: Tensor, norm: nn.BatchNorm2d) -> bool:
    """Whether a normalised value lies within rounding of a place where an activation bends."""
    with torch.no_grad():
        out = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
    return any(bool(((out - bend).abs() < 1e-5).any()) for bend in (-3.0, 0.0, 3.0, 6.0))


@compiled
def test_a_large_mean_costs_no_digits() -> None:
    x = drawn(16, 24, 8, 8, spread=0.01, centre=100.0)
    found = outcome(x, norm_of(24), None, residual=False, fused=True)
    wanted = outcome(x.double(), norm_of(24).double(), None, residual=False, fused=False)
    torch.testing.assert_close(found["running_var"].double(), wanted["running_var"], rtol=1e-4, atol=0)
    assert float((found["x"].double() - wanted["x"]).norm() / wanted["x"].norm()) < 1e-3


@compiled
@pytest.mark.parametrize("act", sorted(ACTIVATIONS))
def test_what_is_no_number_stays_none(act: str) -> None:
    x = drawn(4, 8, 4, 4)
    x[2, 5, 1, 3] = float("nan")
    out = norm_activation(x.requires_grad_(), norm_of(8), ACTIVATIONS[act])
    assert out[:, 5].isnan().all()
    assert not out[:, :5].isnan().any()
    out.sum().backward()
    assert x.grad is not None
    assert x.grad[:, 5].isnan().any()


@compiled
@pytest.mark.parametrize("act", ["none", "relu6", "hard_swish"])
def test_gradients_of_gradients_are_those_of_pytorch(act: str) -> None:
    results = []
    for fused in (True, False):
        norm, x = norm_of(8), drawn(4, 8, 4, 4).requires_grad_()
        with kernels_allowed(fused):
            out = norm_activation(x, norm, ACTIVATIONS[act], x if act == "none" else None)
            (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
            results.append(torch.autograd.grad(first.square().sum(), [x, norm.weight, norm.bias]))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))


@compiled
@settings(max_examples=60)
@given(
    images=st.integers(1, 5),
    channels=st.integers(1, 40),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    size=st.sampled_from(kernels.SIZES),
    stride=st.sampled_from(kernels.STRIDES),
)
def test_the_depthwise_gradient_is_that_of_double_precision(
    images: int, channels: int, height: int, width: int, size: int, stride: int
) -> None:
    x = drawn(images, channels, height, width)
    kernel = torch.zeros(channels, 1, size, size, dtype=torch.float64, requires_grad=True)
    out = F.conv2d(x.double(), kernel, None, stride, size // 2, groups=channels)
    gradient = drawn(*out.shape, seed=5)
    (wanted,) = torch.autograd.grad(out, kernel, gradient.double())
    found = depthwise_kernel_gradient(x, gradient, size, stride)
    assert float((found - wanted).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))


def test_where_the_kernels_are_not_for() -> None:
    x, norm, act = drawn(4, 8, 4, 4).requires_grad_(), norm_of(8), nn.ReLU6()

    def fused(value: Tensor, layer: nn.Module = norm, then: nn.Module | None = act) -> bool:
        return type(norm_activation(value, layer, then).grad_fn).__name__ == "_NormActivationBackward"

    assert fused(x) == usable(x) == (build.library() is not None)
    assert not fused(x.double(), copy.deepcopy(norm).double())
    assert not fused(x.contiguous())
    assert not fused(x[:, :, :1, :1].contiguous(memory_format=torch.channels_last)[:1].expand(2, 8, 1, 1))
    assert not fused(x, copy.deepcopy(norm).eval())
    assert not fused(x, then=nn.SiLU())
    with torch.no_grad():
        assert not fused(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not fused(x)
    with computing_threads(2):
        assert not fused(x)
    with kernels_allowed(False), kernels_allowed(True):
        assert not fused(x)
    seen: list[nn.Module] = []
    watched = nn.ReLU6()
    watched.register_forward_hook(lambda module, *_: seen.append(module))
    assert not fused(x, then=watched)
    assert seen == [watched]


def test_one_value_per_channel_is_refused_as_pytorch_does() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_activation(drawn(1, 64, 1, 1).requires_grad_(), norm_of(64), None)


SPACES: dict[str, SearchSpace] = {
    "unified": UnifiedSpace(tiny_macro()),
    "mbconv": small_mbconv(4, "k3_e6", "k3_e3"),
    "shufflenet-channels": small_channels(),
}


@compiled
@pytest.mark.parametrize("name", SPACES)
def test_steps_of_supernets_and_their_networks(name: str) -> None:
    """The same loss and gradients with the kernels and without, and the same running statistics."""
    torch.manual_seed(0)
    supernet = channels_last(build_supernet(SPACES[name])).train()
    architecture = supernet.space.sample(np.random.default_rng(3))
    settings_ = supernet.space.settings
    side = settings_.input_size  # type: ignore[attr-defined]
    x, labels = drawn(8, settings_.input_channels, side, side), torch.arange(8) % 2  # type: ignore[attr-defined]
    for module, arguments in ((supernet, (x, architecture)), (supernet.extract(architecture), (x,))):
        results = []
        for fused in (True, False):
            own = copy.deepcopy(module)
            with kernels_allowed(fused):
                loss = F.cross_entropy(own(*arguments), labels)
                loss.backward()
            gradients = {key: p.grad for key, p in own.named_parameters() if p.grad is not None}
            results.append({"loss": loss.detach(), **gradients, **dict(own.named_buffers())})
        found, wanted = results
        assert found.keys() == wanted.keys()
        for key, want in wanted.items():
            scale = max(1.0, float(want.abs().max()))
            torch.testing.assert_close(found[key], want, rtol=1e-3, atol=1e-4 * scale, msg=key)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No library has been compiled or loaded, and it would lie in the folder that this gives; compiled in no time."""
    monkeypatch.delenv(build.SWITCH, raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "_FLAGS", ("-O0", "-fPIC", "-shared"))
    build.found.cache_clear()
    yield tmp_path / "cache" / "anybudget"
    build.found.cache_clear()


@compiled
def test_they_are_compiled_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.library() is not None
    (made,) = fresh.iterdir()
    assert made.stat().st_mode & 0o777 == 0o700
    build.found.cache_clear()
    monkeypatch.setattr(build, "_compile", lambda *_: 1 / 0)
    assert build.library() is not None
    assert list(fresh.iterdir()) == [made]


@compiled
def test_a_folder_that_others_can_write_is_not_trusted(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.mkdir(parents=True)
    fresh.chmod(0o777)
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(fresh.parent / "temporary"))
    assert build.library() is not None
    assert not list(fresh.iterdir())
    assert list((fresh.parent / "temporary").rglob("*.so"))


def compiler(folder: Path, text: str) -> str:
    """A compiler that is a shell script."""
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'no such instruction' >&2; exit 1", "cannot compile them (no such instruction)"),
        ("exit 3", "cannot compile them (exit code 3)"),
        ('while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"', "cannot be loaded"),
        ("sleep 5", "took more than 0 s"),
        ("true", "No such file"),
    ],
)
def test_a_compiler_that_fails_is_a_notice(
    script: str, said: str, fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anybudget")
    monkeypatch.setenv("CC", compiler(fresh.parents[1], script))
    monkeypatch.setattr(build, "_SECONDS", 0.2 if "sleep" in script else 60.0)
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(fresh.parent / "temporary"))
    assert build.library() is None
    assert "computes with PyTorch's own kernels: " in caplog.text
    assert said in caplog.text
    assert said in build.found().said


@pytest.mark.parametrize("way", ["switch", "no compiler"])
def test_it_works_without(way: str, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "switch":
        monkeypatch.setenv(build.SWITCH, "pytorch")
    else:
        monkeypatch.setattr(build.shutil, "which", lambda _: None)
    assert build.library() is None
    assert not fresh.exists()
    kernels._functions.cache_clear()
    try:
        x = drawn(4, 8, 4, 4).requires_grad_()
        assert not usable(x)
        norm_activation(x, norm_of(8), nn.ReLU()).sum().backward()
        assert x.grad is not None
    finally:
        kernels._functions.cache_clear()


def test_a_run_keeps_which_kernels_it_was_begun_with(
    recipe_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Compiled or not, the note says so, and work that goes on with others is told."""
    run = open_run(recipe_file, tmp_path / "run")
    run.train_supernet()
    noted = json.loads((tmp_path / "run" / "kernels.json").read_text())
    assert noted == {"kernels": build.found().name}
    run.train_generator()
    assert "kernels" not in caplog.text
    (tmp_path / "run" / "kernels.json").write_text('{"kernels": "others"}')
    Run.open(tmp_path / "run").retrain(run.space.sample(np.random.default_rng(0)))
    assert f"was begun with the kernels others, here {noted['kernels']} ({build.found().said})" in caplog.text
    assert json.loads((tmp_path / "run" / "kernels.json").read_text()) == {"kernels": "others"}


@pytest.mark.parametrize("text", ["", "[]", '{"kernels"', "{}"])
def test_a_damaged_note_of_kernels_decides_nothing(text: str, recipe_file: Path, tmp_path: Path) -> None:
    run = open_run(recipe_file, tmp_path / "run")
    (tmp_path / "run" / "kernels.json").write_text(text)
    network = run.space.sample(np.random.default_rng(0))
    run.retrain(network)
    assert (tmp_path / "run" / "retrain" / network.short_id / "result.json").exists()
