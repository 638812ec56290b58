"""Quantisation with learned steps, the plain residual blocks that use it and their weight-sharing layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anybudget.errors import ConfigError
from anybudget.nets.blocks import activation, initialise, make_block
from anybudget.nets.choice import SHARED_LAYERS, ChoiceLayer
from anybudget.nets.mixture import taking_part, weighted_sum
from anybudget.nets.norm_activation import norm_activation
from anybudget.nets.pointwise import strided_pointwise
from anybudget.spaces.blocks import BlockSpec, Convolution
from anybudget.spaces.resnet_bits import BasicBlockSpec, MaxPoolSpec

# An update may carry a step to 0, which would divide by 0, or below, which would swap the ends of the range; so its
# size is used, and at least this. Far below any useful step, and half precision still has it.
_SMALLEST_STEP = 1e-6

# Mean of max(0, z) for a standard normal z: what the ReLU after a fresh norm passes on.
_RECTIFIED_MEAN = 1 / math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True)
class Levels:
    """The whole numbers that values are rounded to: `low` to `high`, or only these two if `binary`."""

    low: int
    high: int
    binary: bool = False

    @classmethod
    def signed(cls, bits: int) -> Levels:
        """-2^(bits-1) to 2^(bits-1) - 1, for weights; 1 bit has -1 and 1."""
        return cls(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if bits > 1 else cls(-1, 1, binary=True)

    @classmethod
    def unsigned(cls, bits: int) -> Levels:
        """0 to 2^bits - 1, for activations after a ReLU."""
        return cls(0, 2**bits - 1)

    def nearest(self, x: Tensor) -> Tensor:
        """Every value of `x` rounded into the range; a binary 0 becomes 1."""
        return (x >= 0).to(x.dtype) * 2 - 1 if self.binary else x.clamp(self.low, self.high).round()

    def first_step(self, mean: Tensor | float) -> Tensor | float:
        """Where a step starts, given the mean magnitude of what it quantises (LSQ §2.1)."""
        return 2 * mean / math.sqrt(self.high)


class _Quantise(torch.autograd.Function):
    """One autograd step, so that nothing is kept for backward but the input: its ReLU keeps that anyway."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, levels: Levels, gradient_scale: float) -> Tensor:
        """See `quantise`."""
        ctx.save_for_backward(values, step)
        ctx.levels, ctx.gradient_scale = levels, gradient_scale
        size = step.abs().clamp_min(_SMALLEST_STEP)
        return levels.nearest(values / size) * size

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of the values and the step."""
        values, step = ctx.saved_tensors
        levels: Levels = ctx.levels
        x = values / step.abs().clamp_min(_SMALLEST_STEP)
        inside = (x > levels.low) & (x < levels.high)
        to_values = to_step = None
        if ctx.needs_input_grad[0]:
            to_values = gradients[0] * inside
        if ctx.needs_input_grad[1]:
            slope = levels.nearest(x) - torch.where(inside, x, 0.0)
            # The clamp at the smallest step is left out: a step that lost its gradient could never grow again.
            sign = torch.where(step < 0, -ctx.gradient_scale, ctx.gradient_scale)
            to_step = (gradients[0] * slope).sum() * sign
        return to_values, to_step, None, None


def quantise(values: Tensor, step: Tensor, levels: Levels, gradient_scale: float = 1.0) -> Tensor:
    """`values` on the grid `step * levels`: `round(clip(v / s, low, high)) * s`.

    The gradient of a value is passed straight through where `low < v / s < high` and is 0 elsewhere; that of the step
    is `round(v / s) - v / s` there and `low` or `high` beyond, times `gradient_scale`. `s` is the step's absolute value
    and at least 1e-6.

    Args:
        values: of any shape.
        step: a scalar tensor.
        levels: what to round to.
        gradient_scale: slows the step down, which gathers the gradients of all values.

    Source: LSQ (Esser et al. 2020) §2, Eq. 1 to 5.
    Differs: 1-bit weights, which LSQ has not, are -s and s by their sign, with the same gradients.
    """
    return cast(Tensor, _Quantise.apply(values, step, levels, gradient_scale))  # type: ignore[no-untyped-call]


class QuantisedConv2d(nn.Conv2d):
    """A convolution without bias that quantises its weights and its input, with one or several pairs of bits.

    The float weights are shared by all pairs; `steps` has a learned step per width: `w2` for 2-bit weights, `a4` for
    4-bit inputs. A convolution of a stand-alone network has one pair and so two steps. Weight decay applies to steps
    as to all parameters: a weight step shrinks along with its weights.

    Source: SPOS, mixed-precision quantization search; LSQ §2 for the quantiser and the scale of its gradients.
    Differs: SPOS learns the clipping range of activations alone (PACT); we learn both steps, for LSQ reports better
    networks at 2 bits. LSQ starts activation steps from a first batch; ours start where the ReLU of a unit Gaussian
    puts them, so that a network depends on its seed alone. The number of features that scales their gradients is that
    of one image, so that their pace does not depend on the batch size.
    """

    def __init__(self, shape: Convolution, pairs: Sequence[tuple[int, int]]) -> None:
        super().__init__(
            shape.in_channels, shape.out_channels, shape.kernel, shape.stride, shape.kernel // 2, bias=False
        )
        self.pairs = tuple(pairs)
        self._weights = {bits: Levels.signed(bits) for bits in sorted({pair[0] for pair in self.pairs})}
        self._inputs = {bits: Levels.unsigned(bits) for bits in sorted({pair[1] for pair in self.pairs})}
        names = [*(f"w{bits}" for bits in self._weights), *(f"a{bits}" for bits in self._inputs)]
        self.steps = nn.ParameterDict({name: nn.Parameter(torch.ones(())) for name in names})
        self.reset_steps()

    @torch.no_grad()
    def reset_steps(self) -> None:
        """Start all steps anew: those of weights from the present weights, those of inputs from no data."""
        for bits, levels in self._weights.items():
            self.steps[f"w{bits}"].copy_(levels.first_step(self.weight.abs().mean()))
        for bits, levels in self._inputs.items():
            self.steps[f"a{bits}"].fill_(levels.first_step(_RECTIFIED_MEAN))

    def forward(self, x: Tensor, choice: int = 0) -> Tensor:
        """`[N, C_in, H, W]`, not negative, to `[N, C_out, H / stride, W / stride]` with the bits of `pairs[choice]`."""
        weight_bits, input_bits = self.pairs[choice]
        return self._convolve(self.quantised_input(x, input_bits), self.quantised_weight(weight_bits))

    def mixture(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """The sum of `forward(x, c)` over all pairs, weighted by `probabilities` `[pairs]`.

        A convolution is linear in its weights, so the pairs that share input bits need one convolution together.
        """
        taking = taking_part(probabilities, len(self.pairs), training=self.training)
        weights = {bits: self.quantised_weight(bits) for bits in sorted({self.pairs[choice][0] for choice in taking})}
        outputs = []
        for bits in sorted({self.pairs[choice][1] for choice in taking}):
            members = [choice for choice in taking if self.pairs[choice][1] == bits]
            mixed = weighted_sum(probabilities[members], [weights[self.pairs[choice][0]] for choice in members])
            outputs.append(self._convolve(self.quantised_input(x, bits), mixed))
        return torch.stack(outputs).sum(0) if len(outputs) > 1 else outputs[0]

    def quantised_weight(self, bits: int) -> Tensor:
        """The weights as `bits` bits see them."""
        levels = self._weights[bits]
        scale = 1 / math.sqrt(self.weight.numel() * levels.high)
        return quantise(self.weight, self.steps[f"w{bits}"], levels, scale)

    def quantised_input(self, x: Tensor, bits: int) -> Tensor:
        """The input as `bits` bits see it."""
        levels = self._inputs[bits]
        scale = 1 / math.sqrt(math.prod(x.shape[1:]) * levels.high)
        return quantise(x, self.steps[f"a{bits}"], levels, scale)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.kernel_size[0] == 1 and self.stride[0] > 1:
            return strided_pointwise(x, weight, None, self.stride[0])
        return F.conv2d(x, weight, None, self.stride, self.padding)


Convolve = Callable[[QuantisedConv2d, Tensor], Tensor]


class BasicBlock(nn.Module):
    """The residual block of `BasicBlockSpec`, for one pair of bits or several that share weights and norms.

    Raises:
        ConfigError: the specs differ in more than their bits.
    """

    def __init__(self, specs: Sequence[BasicBlockSpec]) -> None:
        super().__init__()
        if len({replace(spec, weight_bits=0, activation_bits=0) for spec in specs}) != 1:
            raise ConfigError("residual blocks that share weights may differ in their bits only")
        pairs = [(spec.weight_bits, spec.activation_bits) for spec in specs]
        convs = [QuantisedConv2d(shape, pairs) for shape in specs[0].convolutions()]
        self.conv1, self.norm1 = convs[0], nn.BatchNorm2d(convs[0].out_channels)
        self.conv2, self.norm2 = convs[1], nn.BatchNorm2d(convs[1].out_channels)
        self.shortcut = convs[2] if specs[0].projected else None
        self.shortcut_norm = nn.BatchNorm2d(convs[2].out_channels) if specs[0].projected else None
        self.act = activation("relu")

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C_in, H, W]`, not negative, to `[N, C_out, H / stride, W / stride]` with the bits of the first spec."""
        return self.run(x, lambda conv, value: cast(Tensor, conv(value)))

    def run(self, x: Tensor, convolve: Convolve) -> Tensor:
        """The block with `convolve(conv, value)` in the place of every convolution."""
        out = norm_activation(convolve(self.conv1, x), self.norm1, self.act)
        out = norm_activation(convolve(self.conv2, out), self.norm2)
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = norm_activation(convolve(self.shortcut, x), self.shortcut_norm)
        return cast(Tensor, self.act(out + x))


class QuantisedLayer(ChoiceLayer):
    """One residual block whose bits are chosen: the float weights and norms are the same for every choice.

    The mixture is taken of each convolution, before its norm; it is exact where one choice has all the probability.

    Source: SPOS, mixed-precision quantization search.
    """

    def __init__(self, specs: Sequence[BlockSpec]) -> None:
        super().__init__()
        self.block = BasicBlock(cast(Sequence[BasicBlockSpec], specs))
        initialise(self.block)

    def forward(self, x: Tensor, operation: int) -> Tensor:
        """See `ChoiceLayer.forward`."""
        return self.block.run(x, lambda conv, value: cast(Tensor, conv(value, operation)))

    def mixture(self, x: Tensor, probabilities: Tensor) -> Tensor:
        """See `ChoiceLayer.mixture`."""
        return self.block.run(x, lambda conv, value: conv.mixture(value, probabilities))

    def copy_to(self, target: nn.Module, operation: int) -> None:  # noqa: ARG002 - the names of its steps say it
        """See `ChoiceLayer.copy_to`."""
        state = self.block.state_dict()
        target.load_state_dict({name: state[name] for name in target.state_dict()})


@make_block.register
def _(spec: BasicBlockSpec) -> nn.Module:
    return BasicBlock([spec])


@make_block.register
def _(_spec: MaxPoolSpec) -> nn.Module:
    return nn.MaxPool2d(3, stride=2, padding=1)


SHARED_LAYERS[BasicBlockSpec] = QuantisedLayer
