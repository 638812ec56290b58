"""The mixed-precision space: published BitOps, the quantiser, and the layer whose bits share weights."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load, save
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from anybudget.architecture import Architecture
from anybudget.costs import build_costs, counts
from anybudget.errors import ConfigError
from anybudget.nets import ChoiceBlockSupernet, build_network, build_supernet
from anybudget.nets.blocks import initialise
from anybudget.nets.quantised import BasicBlock, Levels, QuantisedConv2d, QuantisedLayer, quantise
from anybudget.spaces.blocks import FLOAT_BITS, Convolution
from anybudget.spaces.resnet_bits import BasicBlockSpec, MaxPoolSpec, ResNetBitsSettings, ResNetBitsSpace
from anybudget.testing import check_cost_model, check_space, check_supernet, randomise_norms

RESNETS = {"ResNet-18": (2, 2, 2, 2), "ResNet-34": (3, 4, 6, 3)}
ALL_LEVELS = [Levels.signed(bits) for bits in range(1, 9)] + [Levels.unsigned(bits) for bits in range(1, 9)]


def make_space(**changes: object) -> ResNetBitsSpace:
    """Three blocks, one of them projected, on 8x8 images."""
    values: dict[str, object] = {
        "input_size": 8,
        "input_channels": 1,
        "classes": 3,
        "blocks": (2, 1),
        "widths": (4, 6),
        "stem_kernel": 3,
        "stem_stride": 1,
        "pool": False,
    }
    return ResNetBitsSpace(ResNetBitsSettings.model_validate({**values, **changes}))


def make(space: ResNetBitsSpace, seed: int = 0) -> ChoiceBlockSupernet:
    """A supernet with random norms and steps of its own everywhere, one of them negative."""
    torch.manual_seed(seed)
    net = build_supernet(space)
    assert isinstance(net, ChoiceBlockSupernet)
    generator = torch.Generator().manual_seed(seed)
    randomise_norms(net, generator)
    for name, parameter in net.named_parameters():
        if ".steps." in name:
            parameter.data *= 0.5 + torch.rand((), generator=generator)
    net.get_parameter("layers.1.block.conv1.steps.w2").data.neg_()
    return net.eval().double()


SPACE = make_space()
NET = make(SPACE)
IMAGES = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
ARCHITECTURES = st.tuples(*[st.integers(0, 5)] * 3).map(lambda choices: Architecture(SPACE.name, choices))


@pytest.mark.parametrize(
    ("name", "bits", "expected"),
    [
        ("ResNet-18", 2, 6.32),
        ("ResNet-18", 3, 14.21),
        ("ResNet-18", 4, 25.27),
        ("ResNet-34", 2, 13.21),
        ("ResNet-34", 3, 29.72),
        ("ResNet-34", 4, 52.83),
    ],
)
def test_published_bitops(name: str, bits: int, expected: float) -> None:
    """SPOS's table of uniform networks on ImageNet, in units of 2^30."""
    space = ResNetBitsSpace(ResNetBitsSettings(blocks=RESNETS[name], bits=((bits, bits),)))
    model = build_costs(space)["bitops"]
    architecture = Architecture(space.name, (0,) * len(space.decisions))
    assert round(model.cost(architecture) / 2**30, 2) == expected
    assert model.terms.cost(architecture.choices) == model.cost(architecture)


@pytest.mark.parametrize(("name", "blocks", "convolutions"), [("ResNet-18", 8, 19), ("ResNet-34", 16, 35)])
def test_published_spaces(name: str, blocks: int, convolutions: int) -> None:
    space = ResNetBitsSpace(ResNetBitsSettings(blocks=RESNETS[name]))
    assert space.size() == space.networks() == 6**blocks
    assert space.decisions[0].operations == ("w1a2", "w2a2", "w1a4", "w2a4", "w3a4", "w4a4")
    specs = space.block_specs(space.sample(np.random.default_rng(0)))
    quantised = [c for spec in specs for c in spec.convolutions() if c.weight_bits < FLOAT_BITS]
    assert len(quantised) == convolutions
    assert all(c.activation_bits < FLOAT_BITS for c in quantised)
    # torchvision's float networks, and a step for the weights and the input of every quantised convolution.
    floats = {"ResNet-18": 11_689_512, "ResNet-34": 21_797_672}[name]
    assert sum(map(counts.params, specs)) == floats + 2 * convolutions
    macs = {"ResNet-18": 1_813_561_344, "ResNet-34": 3_663_249_408}[name]
    assert sum(map(counts.conv_macs, specs)) == macs


@pytest.mark.parametrize("changes", [{}, {"pool": True, "stem_kernel": 5, "stem_stride": 2, "input_size": 16}])
def test_conformance(changes: dict[str, object]) -> None:
    space = make_space(**changes)
    check_space(space)
    for model in build_costs(space).values():
        check_cost_model(model)
    check_supernet(make(space))


@pytest.mark.parametrize("changes", [{}, {"pool": True, "stem_kernel": 7, "stem_stride": 2, "input_size": 33}])
def test_formulas_equal_an_operator_count(changes: dict[str, object]) -> None:
    space = make_space(**changes)
    rng = np.random.default_rng(0)
    for _ in range(3):
        specs = space.block_specs(space.sample(rng))
        network = build_network(specs).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, *space.input_shape))
        assert counter.get_total_flops() == 2 * sum(map(counts.macs, specs))
        assert sum(p.numel() for p in network.parameters()) == sum(map(counts.params, specs))


@pytest.mark.parametrize("size", [7, 8])
def test_max_pooling_halves_the_resolution(size: int) -> None:
    (pool,) = build_network([MaxPoolSpec(size, 1)])
    assert pool(torch.zeros(1, 2, size, size)).shape == (1, 2, 4, 4)


def test_settings_from_toml_lists_and_mistakes() -> None:
    assert make_space(bits=[[1, 2], [8, 8]]).settings.bits == ((1, 2), (8, 8))
    for wrong in ([], [[0, 2]], [[2, 9]], [[2]], [["2", 2]], [[2.0, 2]], [[True, 2]], [2, 2]):
        with pytest.raises(ValidationError, match="bits"):
            make_space(bits=wrong)
    with pytest.raises(ConfigError, match=r"bits: \[2, 2\] is listed twice"):
        make_space(bits=[[2, 2], [1, 2], [2, 2]])
    with pytest.raises(ConfigError, match="blocks has 3 entries and widths 2"):
        make_space(blocks=(1, 1, 1))


@given(
    st.sampled_from(ALL_LEVELS),
    st.floats(1e-3, 10.0),
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=300),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=100)
def test_quantised_values(levels: Levels, size: float, numbers: list[float], dtype: torch.dtype) -> None:
    values, step = torch.tensor(numbers, dtype=dtype), torch.tensor(size, dtype=dtype)
    out = quantise(values, step, levels)
    count = 2 if levels.binary else levels.high - levels.low + 1
    assert count & (count - 1) == 0  # all of the 2^bits levels and no more
    assert len(out.unique()) <= count
    assert torch.equal(quantise(out, step, levels), out)
    assert torch.equal(quantise(values, -step, levels), out)
    within = (values >= levels.low * step) & (values <= levels.high * step)
    largest = step if levels.binary else step / 2
    assert ((out - values)[within].abs() <= largest * (1 + 1e-5)).all()
    if levels.binary:
        assert torch.equal(out.abs(), step.expand_as(out))


@given(st.sampled_from(ALL_LEVELS), st.floats(0.01, 3.0), st.booleans(), st.integers(0, 10**6))
@settings(max_examples=100)
def test_gradients_of_values_and_step(levels: Levels, size: float, negative: bool, seed: int) -> None:
    """Straight through for values in the range; for the step, finite differences with each rounding error held."""
    generator = torch.Generator().manual_seed(seed)
    values = (torch.randn(50, dtype=torch.float64, generator=generator) * size * levels.high).requires_grad_()
    step = torch.tensor(-size if negative else size, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(50, dtype=torch.float64, generator=generator)
    quantise(values, step, levels, 0.25).backward(upstream)
    x = values.detach() / size
    inside = (x > levels.low) & (x < levels.high)
    assert values.grad is not None
    assert step.grad is not None
    assert torch.equal(values.grad, upstream * inside)

    clipped = x.clamp(levels.low, levels.high)
    error = levels.nearest(x) - clipped

    def held(other: float) -> float:
        moved = (values.detach() / other).clamp(levels.low, levels.high)
        return float(((moved + error) * other * upstream).sum())

    change = 1e-7 * size
    if ((x - levels.low).abs() > 1e-5).all() and ((x - levels.high).abs() > 1e-5).all():  # else it is not smooth
        difference = (held(size + change) - held(size - change)) / (2 * change)
        expected = 0.25 * difference * (-1 if negative else 1)
        assert float(step.grad) == pytest.approx(expected, rel=1e-4, abs=1e-4 * levels.high)


def test_step_gradient_where_everything_is_clipped() -> None:
    """There the function is smooth in the step, and the gradient is its own."""
    levels = Levels.unsigned(2)
    values = torch.tensor([5.0, 9.0, -3.0], dtype=torch.float64)
    step = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: quantise(values, s, levels), (step,))


@pytest.mark.parametrize("start", [0.0, -1e-12, 1e-12])
def test_a_step_near_zero_recovers(start: float) -> None:
    step = torch.tensor(start, requires_grad=True)
    out = quantise(torch.tensor([-1.0, 0.0, 2.0]), step, Levels.signed(2))
    assert torch.isfinite(out).all()
    out.backward(torch.ones(3))
    assert step.grad is not None
    assert abs(float(step.grad)) == 1.0  # -2 + 0 + 1, with the sign that makes the size follow


def test_steps_start_from_the_initialised_weights_and_from_no_data() -> None:
    torch.manual_seed(0)
    conv = QuantisedConv2d(Convolution(4, 8, 3), [(1, 2), (4, 4)])
    initialise(conv)
    mean = conv.weight.detach().abs().mean()
    for name, expected in {
        "w1": 2 * mean,
        "w4": 2 * mean / math.sqrt(7),
        "a2": 2 * 0.3989423 / math.sqrt(3),
        "a4": 2 * 0.3989423 / math.sqrt(15),
    }.items():
        torch.testing.assert_close(conv.steps[name].detach(), torch.as_tensor(expected))
    assert len(list(conv.steps)) == 4
    before = {name: tensor.clone() for name, tensor in NET.state_dict().items()}
    NET(IMAGES, SPACE.sample(np.random.default_rng(0)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in NET.state_dict().items())


def test_step_gradients_have_the_scale_of_lsq() -> None:
    """1 / sqrt(count * Qp), with the weights' count and the input's per image."""
    conv = QuantisedConv2d(Convolution(2, 3, 1), [(3, 2)]).double()
    x = torch.rand(5, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    conv(x).square().sum().backward()
    found = {name: float(step.grad) for name, step in conv.steps.items()}
    weight, value = conv.weight.detach(), x.clone()
    steps = {name: step.detach().clone().requires_grad_() for name, step in conv.steps.items()}
    quantised = quantise(weight, steps["w3"], Levels.signed(3))
    F.conv2d(quantise(value, steps["a2"], Levels.unsigned(2)), quantised).square().sum().backward()
    for name, count, high in (("w3", 6, 3), ("a2", 32, 3)):
        gradient = steps[name].grad
        assert gradient is not None
        assert found[name] == pytest.approx(float(gradient) / math.sqrt(count * high))


@settings(max_examples=40)
@given(ARCHITECTURES)
def test_a_path_equals_its_extracted_network_and_its_one_hot_mixture(architecture: Architecture) -> None:
    one_hot = F.one_hot(torch.tensor(architecture.choices), 6).double()
    with torch.no_grad():
        path = NET(IMAGES, architecture)
        extracted = NET.extract(architecture)
        assert len([name for name, _ in extracted.named_parameters() if ".steps." in name]) == 2 * (4 + 3)
        torch.testing.assert_close(path, extracted(IMAGES), rtol=0, atol=1e-10)
        torch.testing.assert_close(path, NET(IMAGES, one_hot), rtol=0, atol=1e-10)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_block_by_definition(layer: int) -> None:
    module = NET.layers[layer]
    assert isinstance(module, QuantisedLayer)
    block = module.block

    def norm_of_conv(conv: QuantisedConv2d, norm: torch.nn.BatchNorm2d, value: torch.Tensor) -> torch.Tensor:
        weight_step, input_step = conv.steps["w3"].abs(), conv.steps["a4"].abs()
        weight = (conv.weight / weight_step).round().clamp(-4, 3) * weight_step
        value = (value / input_step).round().clamp(0, 15) * input_step
        out = F.conv2d(value, weight, stride=conv.stride, padding=conv.kernel_size[0] // 2)
        return F.batch_norm(out, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    x = torch.rand(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = norm_of_conv(block.conv2, block.norm2, norm_of_conv(block.conv1, block.norm1, x).relu())
    assert (block.shortcut is not None) == (layer == 2)
    shortcut = norm_of_conv(block.shortcut, block.shortcut_norm, x) if block.shortcut and block.shortcut_norm else x
    operation = SPACE.decisions[layer].operations.index("w3a4")
    torch.testing.assert_close(module(x, operation), (out + shortcut).relu(), rtol=0, atol=1e-10)


def test_paths_differ_by_their_bits() -> None:
    with torch.no_grad():
        outputs = [NET(IMAGES, Architecture(SPACE.name, (choice, 0, choice))) for choice in range(6)]
    for index, out in enumerate(outputs):
        assert all((out - other).abs().max() > 1e-6 for other in outputs[:index])


def test_extraction_in_training_mode() -> None:
    net = copy.deepcopy(NET).train()
    architecture = Architecture(SPACE.name, (5, 1, 2))
    with torch.no_grad():
        extracted = net.extract(architecture)
        torch.testing.assert_close(net(IMAGES, architecture), extracted(IMAGES), rtol=0, atol=1e-10)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0, 2]), st.booleans())
def test_a_mixture_equals_the_explicit_mixture_of_convolutions(seed: int, layer: int, training: bool) -> None:
    """Values and gradients, with every convolution run once per choice and the results added before the norm."""
    generator = torch.Generator().manual_seed(seed)
    module = NET.layers[layer]
    assert isinstance(module, QuantisedLayer)
    module = copy.deepcopy(module).train(training)
    logits = torch.randn(6, dtype=torch.float64, generator=generator)
    images = torch.rand(2, 4, 8, 8, dtype=torch.float64, generator=generator)
    upstream = torch.randn(2, 6 if layer else 4, 4 if layer else 8, 4 if layer else 8, generator=generator)
    results = []
    for explicit in (False, True):
        probabilities, x = logits.softmax(-1).requires_grad_(), images.clone().requires_grad_()
        if explicit:
            out = module.block.run(
                x,
                lambda conv, value, p=probabilities: sum(p[c] * conv(value, c) for c in range(6)),  # type: ignore[misc]
            )
        else:
            out = module.mixture(x, probabilities)
        out.backward(upstream.double())
        results.append((out.detach(), probabilities.grad, x.grad))
    for cheap, slow in zip(*results, strict=True):
        assert slow is not None
        assert slow.abs().max() > 0
        torch.testing.assert_close(cheap, slow, rtol=0, atol=1e-9)


def test_relaxed_supernet_passes_gradients_to_probabilities_only() -> None:
    relaxed = NET.relaxed()
    probabilities = torch.full((3, 6), 1 / 6, dtype=torch.float64, requires_grad=True)
    for training in (False, True):
        out = relaxed.train(training)(IMAGES, probabilities)
        (gradient,) = torch.autograd.grad(out.square().sum(), probabilities)
        assert (gradient.abs().amax(1) > 0).all()
    assert not any(parameter.requires_grad for parameter in relaxed.parameters())


def test_a_path_trains_its_own_steps_and_a_fair_round_trains_everything() -> None:
    net = copy.deepcopy(NET).train()
    trained: set[str] = set()
    for encoding in SPACE.fair_round(np.random.default_rng(0)):
        net.zero_grad(set_to_none=True)
        F.cross_entropy(net(IMAGES, encoding), torch.tensor([0, 1, 2, 0])).backward()
        got = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
        wanted = set()
        for name, _ in net.named_parameters():
            if ".steps." in name:
                layer, step = int(name.split(".")[1]), name.rsplit(".", 1)[1]
                operation = SPACE.decisions[layer].operations[encoding.operations[layer][0]]
                if step not in (operation[:2], operation[2:]):
                    continue
            wanted.add(name)
        assert got == wanted
        trained |= got
    assert trained == {name for name, _ in net.named_parameters()}


def test_statistics_are_recorded_and_the_state_is_only_tensors() -> None:
    net = copy.deepcopy(NET)
    net.reset_statistics()
    net.record_statistics(IMAGES, Architecture(SPACE.name, (0, 1, 2)))
    block = net.layers[0]
    assert isinstance(block, QuantisedLayer)
    assert block.block.norm1.running_mean is not None
    assert block.block.norm1.running_mean.abs().max() > 0
    state = load(save(net.state_dict()))
    other = make(SPACE, seed=1)
    other.load_state_dict(state)
    architecture = Architecture(SPACE.name, (3, 4, 5))
    assert torch.equal(other(IMAGES, architecture), net(IMAGES, architecture))


def test_specs_that_share_weights_differ_in_bits_only() -> None:
    specs = [BasicBlockSpec(4, 4, 1, 8, 2, 2), BasicBlockSpec(4, 4, 1, 9, 2, 2)]
    with pytest.raises(ConfigError, match="bits only"):
        BasicBlock(specs)


@pytest.mark.parametrize("pair", [(1, 2), (2, 2), (4, 4)])
def test_a_tiny_network_learns(pair: tuple[int, int]) -> None:
    """A bright row at one of three heights, from noise."""
    torch.manual_seed(0)
    space = make_space(widths=(8, 8), blocks=(1, 1), bits=(pair,))
    network = build_network(space.block_specs(Architecture(space.name, (0, 0)))).train()
    labels = torch.arange(48) % 3
    images = torch.randn(48, 1, 8, 8)
    images[torch.arange(48), :, 1 + 2 * labels] += 2
    optimiser = torch.optim.SGD(network.parameters(), lr=0.2, momentum=0.9)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 0.9
    assert max(losses[-5:]) < 0.3
