"""The compiled kernels on tensors, and where they can be used."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import cache
from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor

from anybudget.nets.compiled.build import library

_STRIP = 64
"""Numbers that the kernels of norms work on side by side; STRIP of `norm.c`."""

_WIDEST = 2**14
"""Numbers in a row above which the rows of a norm no longer fit in the cache."""

_SILENT = (
    "norm_forward",
    "norm_backward",
    "depthwise_kernel_gradient",
    "expand_depthwise_forward",
    "expand_depthwise_backward",
    "merged_forward",
    "merged_backward",
)
"""Functions that return nothing."""

SIZES = (3, 5, 7)
"""Of depthwise kernels."""

STRIDES = (1, 2)
"""Of depthwise convolutions."""


class Activated(IntEnum):
    """The activation that follows a norm, as `vectors.h` numbers them."""

    NONE = 0
    RELU = 1
    RELU6 = 2
    HARD_SWISH = 3


class _Switch:
    """Whether compiled kernels may be used in this process."""

    on = True


@contextmanager
def kernels_allowed(allowed: bool) -> Iterator[None]:
    """Within, compiled kernels are used where they can be, or not at all; afterwards as before."""
    before, _Switch.on = _Switch.on, allowed and _Switch.on
    try:
        yield
    finally:
        _Switch.on = before


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels can compute on these: float32 on the CPU, in one thread, neither traced nor compiled."""
    if torch.compiler.is_compiling():  # asked first: what follows would break the graph
        return False
    if not _Switch.on or torch.get_num_threads() != 1 or torch.is_autocast_enabled("cpu"):
        return False
    for tensor in tensors:
        if tensor.dtype != torch.float32 or not tensor.is_cpu:
            return False
    return not torch._C._is_tracing() and _functions() is not None


def is_dense(x: Tensor) -> bool:
    """Whether `[N, C, H, W]` lies in memory pixel by pixel, channels last."""
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)


def rows_of(x: Tensor) -> int:
    """How many rows of equal width the pixels of `[N, C, H, W]` make for the kernels of norms; 0 if they do not."""
    pixels = _pixels(x.shape[1])
    count = x.numel() // x.shape[1]
    fits = pixels * x.shape[1] <= _WIDEST and count % pixels == 0 and count > 1
    return count // pixels if fits else 0


class Running(NamedTuple):
    """Running statistics `[C]` that follow a batch: each moves by `share` of the way to the batch's."""

    mean: Tensor
    variance: Tensor
    share: float


def norm_forward(
    x: Tensor,
    affine: tuple[Tensor, Tensor],
    residual: Tensor | None,
    epsilon: float,
    act: Activated,
    running: Running | None = None,
) -> tuple[Tensor, Tensor]:
    """`activation(norm(x)) + residual` by the moments of the batch, for `x` with `rows_of`; `running` is updated.

    `affine` is weight and bias, contiguous `[C]`.

    Returns:
        The output like `x`, and `[4, C]`: mean, biased variance, and what the norm multiplies by and adds.
    """
    channels = x.shape[1]
    width = _pixels(channels) * channels
    out, moments, room = torch.empty_like(x), torch.empty(4, channels), torch.empty(2 * width)
    _loaded().norm_forward(
        x.data_ptr(),
        None if residual is None else residual.data_ptr(),
        affine[0].data_ptr(),
        affine[1].data_ptr(),
        epsilon,
        x.numel() // width,
        width,
        channels,
        int(act),
        out.data_ptr(),
        moments.data_ptr(),
        None if running is None else running.mean.data_ptr(),
        None if running is None else running.variance.data_ptr(),
        0.0 if running is None else running.share,
        room.data_ptr(),
    )
    return out, moments


def norm_backward(
    gradient: Tensor, x: Tensor, moments: Tensor, epsilon: float, act: Activated
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `x`, weight and bias from that of `norm_forward`'s output."""
    channels = x.shape[1]
    width = _pixels(channels) * channels
    of_x, of_affine, room = torch.empty_like(x), torch.empty(2, channels), torch.empty(5 * width)
    of_weight, of_bias = of_affine.unbind()
    _loaded().norm_backward(
        gradient.data_ptr(),
        x.data_ptr(),
        moments.data_ptr(),
        epsilon,
        x.numel() // width,
        width,
        channels,
        int(act),
        of_x.data_ptr(),
        of_weight.data_ptr(),
        of_bias.data_ptr(),
        room.data_ptr(),
    )
    return of_x, of_weight, of_bias


def depthwise_kernel_gradient(x: Tensor, gradient: Tensor, size: int, stride: int) -> Tensor:
    """The gradient `[C, 1, size, size]` of a depthwise kernel from the input and the output's gradient, channels last.

    Args:
        x: `[N, C, H, W]`.
        gradient: `[N, C, ceil(H / stride), ceil(W / stride)]`.
        size: one of `SIZES`; the convolution is padded by half of it.
        stride: one of `STRIDES`.
    """
    images, channels, height, width = x.shape
    functions = _loaded()
    out, room = torch.empty(channels, 1, size, size), torch.empty(functions.depthwise_room(height, width, size))
    functions.depthwise_kernel_gradient(
        x.data_ptr(),
        gradient.data_ptr(),
        images,
        height,
        width,
        channels,
        size,
        stride,
        out.data_ptr(),
        room.data_ptr(),
    )
    return out


class Pair(NamedTuple):
    """A pointwise convolution with its norm and activation, and the depthwise one that follows.

    `expand` `[C, C_in]` is the pointwise kernel times what the norm multiplies by, `shift` `[C]` what the norm adds to
    the mean of its input, `kernel` `[C, 1, k, k]` with k one of `SIZES`; all are contiguous. The stride is
    one of `STRIDES`.
    """

    expand: Tensor
    shift: Tensor
    kernel: Tensor
    stride: int
    act: Activated

    def geometry(self, x: Tensor) -> tuple[int, ...]:
        """What the functions of `bottleneck.c` are told of an input."""
        images, inputs, height, width = x.shape
        return images, height, width, inputs, len(self.expand), self.kernel.shape[-1], self.stride, int(self.act)

    def room(self, x: Tensor) -> Tensor:
        """Work space."""
        _, inputs, height, width = x.shape
        size = self.kernel.shape[-1]
        return torch.empty(_loaded().expand_depthwise_room(height, width, inputs, len(self.expand), size))


def expand_depthwise_forward(x: Tensor, pair: Pair) -> Tensor:
    """What the pair makes of `x` `[N, C_in, H, W]`, channels last, about its mean: `[N, C, H / stride, W / stride]`."""
    images, _, height, width = x.shape
    shape = (images, len(pair.expand), -(-height // pair.stride), -(-width // pair.stride))
    out, room = torch.empty(shape, memory_format=torch.channels_last), pair.room(x)
    _loaded().expand_depthwise_forward(
        x.data_ptr(),
        pair.expand.data_ptr(),
        pair.shift.data_ptr(),
        pair.kernel.data_ptr(),
        *pair.geometry(x),
        out.data_ptr(),
        room.data_ptr(),
    )
    return out


class PairGradients(NamedTuple):
    """Of `expand_depthwise_forward`, with g for the gradients before the activation.

    `x` is g through the pointwise convolution, `[N, C_in, H, W]`; `expand` the sums of g times x, `[C, C_in]`; `shift`
    those of g, `[C]`; and `kernel` the gradient of the depthwise one.
    """

    x: Tensor
    expand: Tensor
    shift: Tensor
    kernel: Tensor


def expand_depthwise_backward(gradient: Tensor, x: Tensor, pair: Pair) -> PairGradients:
    """The gradients from that of the output, channels last, and the same `x`."""
    found = PairGradients(*(torch.empty_like(of) for of in (x, pair.expand, pair.shift, pair.kernel)))
    room = pair.room(x)
    _loaded().expand_depthwise_backward(
        gradient.data_ptr(),
        x.data_ptr(),
        pair.expand.data_ptr(),
        pair.shift.data_ptr(),
        pair.kernel.data_ptr(),
        *pair.geometry(x),
        *(answer.data_ptr() for answer in found),
        room.data_ptr(),
    )
    return found


class Frozen(NamedTuple):
    """A frozen inverted bottleneck of `C` channels without its depthwise kernel; all are contiguous.

    `expand` is `[C, C_in]`, `shift` `[C]`, `project` `[C_out, C]`; `size` is one of `SIZES`, `stride` of `STRIDES`;
    `act` is RELU, RELU6 or, where there is no backward, HARD_SWISH.
    """

    expand: Tensor
    shift: Tensor
    project: Tensor
    size: int
    stride: int
    act: Activated

    def geometry(self, x: Tensor) -> tuple[int, ...]:
        """What the functions of `merged.c` are told of an input."""
        images, inputs, height, width = x.shape
        outputs, channels = self.project.shape
        return images, height, width, inputs, channels, outputs, self.size, self.stride, int(self.act)

    def room(self, x: Tensor) -> Tensor:
        """Work space."""
        return torch.empty(_loaded().merged_room(*self.geometry(x)[1:-1]))


def merged_forward(x: Tensor, kernel: Tensor, bias: Tensor, frozen: Frozen, keep: bool) -> tuple[Tensor, Tensor | None]:
    """The bottleneck's output for `x` `[N, C_in, H, W]`, channels last, and what its backward keeps if it is to `keep`.

    `kernel` is `[C, 1, k, k]` and `bias` `[C]`; both are contiguous.
    """
    images, _, height, width = x.shape
    outputs, channels = frozen.project.shape
    rows, columns = -(-height // frozen.stride), -(-width // frozen.stride)
    out = torch.empty((images, outputs, rows, columns), memory_format=torch.channels_last)
    lanes = int(_loaded().merged_lanes())
    passed = None
    if keep:
        passed = torch.empty(images * rows * columns * -(-channels // lanes) * lanes, dtype=torch.int8)
    room = frozen.room(x)
    _loaded().merged_forward(
        x.data_ptr(),
        frozen.expand.data_ptr(),
        frozen.shift.data_ptr(),
        kernel.data_ptr(),
        bias.data_ptr(),
        frozen.project.data_ptr(),
        *frozen.geometry(x),
        out.data_ptr(),
        None if passed is None else passed.data_ptr(),
        room.data_ptr(),
    )
    return out, passed


def merged_backward(
    gradient: Tensor, x: Tensor, passed: Tensor, kernel: Tensor, frozen: Frozen, of_input: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of x (if wanted), kernel and bias from that of the output, channels last."""
    of_x, of_kernel = torch.empty_like(x) if of_input else None, torch.empty_like(kernel)
    of_bias, room = torch.empty_like(frozen.shift), frozen.room(x)
    _loaded().merged_backward(
        gradient.data_ptr(),
        x.data_ptr(),
        passed.data_ptr(),
        frozen.expand.data_ptr(),
        frozen.shift.data_ptr(),
        kernel.data_ptr(),
        frozen.project.data_ptr(),
        *frozen.geometry(x),
        None if of_x is None else of_x.data_ptr(),
        of_kernel.data_ptr(),
        of_bias.data_ptr(),
        room.data_ptr(),
    )
    return of_x, of_kernel, of_bias


@cache
def _pixels(channels: int) -> int:
    """Pixels in a row: as few as make its width a multiple of a strip."""
    return _STRIP // gcd(channels, _STRIP)


def _loaded() -> ctypes.CDLL:
    functions = _functions()
    assert functions is not None, "callers ask `usable` first"
    return functions


@cache
def _functions() -> ctypes.CDLL | None:
    """The library with the types of its functions."""
    functions = library()
    if functions is None:
        return None
    pointer, whole, number, switch = ctypes.c_void_p, ctypes.c_long, ctypes.c_float, ctypes.c_int
    sizes = [whole] * 3
    functions.norm_forward.argtypes = [*[pointer] * 4, number, *sizes, switch, *[pointer] * 4, number, pointer]
    functions.norm_backward.argtypes = [*[pointer] * 3, number, *sizes, switch, *[pointer] * 4]
    functions.depthwise_kernel_gradient.argtypes = [*[pointer] * 2, *[whole] * 6, *[pointer] * 2]
    functions.expand_depthwise_forward.argtypes = [*[pointer] * 4, *[whole] * 7, switch, *[pointer] * 2]
    functions.expand_depthwise_backward.argtypes = [*[pointer] * 5, *[whole] * 7, switch, *[pointer] * 5]
    functions.depthwise_room.argtypes, functions.depthwise_room.restype = sizes, whole
    functions.expand_depthwise_room.argtypes, functions.expand_depthwise_room.restype = [whole] * 5, whole
    functions.merged_forward.argtypes = [*[pointer] * 6, *[whole] * 8, switch, *[pointer] * 3]
    functions.merged_backward.argtypes = [*[pointer] * 7, *[whole] * 8, switch, *[pointer] * 4]
    functions.merged_lanes.argtypes, functions.merged_lanes.restype = [], whole
    functions.merged_room.argtypes, functions.merged_room.restype = [whole] * 7, whole
    for name in _SILENT:
        getattr(functions, name).restype = None
    return functions
