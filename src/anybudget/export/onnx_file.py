"""ONNX files of trained networks: their metadata, and ONNX Runtime to run them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anybudget.data.preparation import normalise
from anybudget.export.checking import Answers
from anybudget.export.onnx_model import EXTRA, to_onnx
from anybudget.export.preprocessing import FLOATS, PIXELS, WithPreprocessing
from anybudget.export.subject import Subject
from anybudget.runtime.optional import optional

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "image", "logits"


def onnx_file(subject: Subject, *, with_preprocessing: bool) -> onnx.ModelProto:
    """The ONNX model of a trained network, which says of itself what it is; see `Subject.metadata`.

    Args:
        subject: the network.
        with_preprocessing: take pixels uint8 `[N, H, W, C]` instead of normalised images; see `WithPreprocessing`.

    Raises:
        ConfigError: onnx or onnxscript is not installed.
    """
    channels, height, width = subject.shape
    if with_preprocessing:
        module = WithPreprocessing(subject.network, subject.facts)
        model = to_onnx(module, (height, width, channels), dtype=torch.uint8)
    else:
        model = to_onnx(subject.network, subject.shape)
    describe(model, subject, with_preprocessing=with_preprocessing)
    return model


def describe(model: onnx.ModelProto, subject: Subject, *, with_preprocessing: bool) -> None:
    """Write into a model what it is and what it takes, in place of what was written there."""
    from onnx import helper

    model.producer_name, model.producer_version = "anybudget", subject.record.version
    model.graph.name = f"anybudget_{subject.name}"
    said = {**subject.metadata(), "input": input_of(subject, with_preprocessing=with_preprocessing)}
    helper.set_model_props(model, said)


def input_of(subject: Subject, *, with_preprocessing: bool) -> str:
    """What a form takes, in words."""
    channels, height, width = subject.shape
    return (PIXELS if with_preprocessing else FLOATS).format(channels=channels, height=height, width=width)


def session_of(model: bytes, *, threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU that prints nothing.

    Raises:
        ConfigError: onnxruntime is not installed.
    """
    runtime = optional("onnxruntime", "running an ONNX model", EXTRA)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # 4: what is fatal
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def feed_of(subject: Subject, images: Tensor, *, with_preprocessing: bool) -> NDArray[Any]:
    """Images uint8 `[N, C, H, W]` as a model takes them."""
    if with_preprocessing:
        return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
    return np.ascontiguousarray(normalise(images, subject.facts.mean, subject.facts.std).numpy())


def answers_of(session: Any, subject: Subject, *, with_preprocessing: bool) -> Answers:
    """What a session computes."""

    def answer(images: Tensor) -> NDArray[np.float32]:
        feed = feed_of(subject, images, with_preprocessing=with_preprocessing)
        return np.asarray(session.run([OUTPUT], {INPUT: feed})[0], dtype=np.float32)

    return answer
