"""Networks as ONNX models: exported by torch, with norms and constants folded, and nothing of this machine in them."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from anybudget.export.folding import fold_summed_norms
from anybudget.runtime.optional import optional

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""The version of ONNX's operators that models use: the one torch's exporter writes without a conversion after it."""

BATCH = "batch"
"""The name of the dimension that may have any length: the first of input and output."""

EXTRA = "anybudget[onnx]"

_EXAMPLES = 2  # one image would be taken for a constant
_LARGEST_CONSTANT = 2**31
_NOISY = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def to_onnx(
    module: nn.Module,
    shape: tuple[int, ...],
    *,
    input_name: str = "image",
    output_name: str = "logits",
    dtype: torch.dtype = torch.float32,
) -> onnx.ModelProto:
    """A module as an ONNX model of opset `OPSET`, for any number of images, as it computes in evaluation mode.

    Norms are folded into the convolutions before them, also through the sum of several convolutions, and what depends
    on no input, such as quantised weights, is computed once. A norm that no convolution precedes stays a
    `BatchNormalization`: the last one of `nas-bench-201`, which normalises a sum that has the cell's input in it.
    Neither names of files nor lines of source are left in the model. The module itself is not changed.

    The first export of a process takes about three seconds, most of it for imports, and later ones a second or so.

    Args:
        module: takes one tensor `[N, *shape]` and gives one tensor.
        shape: of the input without the batch, such as channels, height and width in pixels.
        input_name: what the input is called in the model.
        output_name: what the output is called.
        dtype: of the input.

    Raises:
        ConfigError: onnx or onnxscript is not installed.

    Example:
        >>> model = to_onnx(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (1, 8, 8))
        >>> [node.op_type for node in model.graph.node]
        ['Conv', 'Relu']
    """
    require_onnx("an ONNX model")
    from onnxscript import optimizer

    # Weights whose channels come last are exported as transposed constants by some versions of torch.
    plain = copy.deepcopy(module).cpu().eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.zeros(_EXAMPLES, *shape, dtype=dtype)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            plain,
            (example,),
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=[output_name],
            dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            verbose=False,
        )
        assert program is not None  # it is None for the exporter before dynamo alone
        # Once more without limits: by itself it leaves constants of more than a few thousand numbers as computations.
        optimizer.optimize(program.model, input_size_limit=_LARGEST_CONSTANT, output_size_limit=_LARGEST_CONSTANT)
        model = program.model_proto
    fold_summed_norms(model)
    _forget_origin(model)
    return model


def require_onnx(needed_by: str) -> None:
    """Check that onnx and onnxscript are there.

    Raises:
        ConfigError: one of them is not installed; says what to install.
    """
    for library in ("onnx", "onnxscript"):
        optional(library, needed_by, EXTRA)


def _forget_origin(model: onnx.ModelProto) -> None:
    """Remove what says where and from what lines the model was made, which is most of the file for a small network."""
    for holder in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]
        initializer.doc_string = ""
    del model.graph.value_info[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Within, the exporter says nothing of what is no concern of the user, such as that torchvision is not there."""
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
