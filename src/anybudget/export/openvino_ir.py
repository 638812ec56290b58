"""OpenVINO's intermediate representation of exported networks: an `.xml` file and its weights."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from anybudget.export.checking import Answers
from anybudget.export.onnx_file import feed_of
from anybudget.export.subject import Subject
from anybudget.runtime.optional import optional
from anybudget.storage.files import write_together, write_whole

EXTRA = "anybudget[openvino]"


@dataclass(frozen=True)
class IntermediateRepresentation:
    """The two files of a network: `xml` has the graph, `weights` goes into a `.bin` file of the same name."""

    xml: bytes
    weights: bytes


def require_openvino() -> Any:
    """The library.

    Raises:
        ConfigError: it is not installed; says what to install.
    """
    return optional("openvino", "--to openvino", EXTRA)


def to_openvino(onnx_model: bytes, subject: Subject) -> IntermediateRepresentation:
    """An ONNX model of `onnx_file` converted, weights kept as float32, with its metadata as runtime information.

    Raises:
        ConfigError: openvino is not installed.
    """
    ov = require_openvino()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "network.onnx", Path(folder) / "network.xml"
        write_whole(source, onnx_model)
        model = ov.convert_model(str(source))
        for key, value in subject.metadata().items():
            model.set_rt_info(value, ["anybudget", key.replace(" ", "_")])
        ov.save_model(model, str(target), compress_to_fp16=False)
        return IntermediateRepresentation(target.read_bytes(), target.with_suffix(".bin").read_bytes())


def answers_of(found: IntermediateRepresentation, subject: Subject, *, with_preprocessing: bool) -> Answers:
    """What the two files compute on the CPU, in float32."""
    ov = require_openvino()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.xml"
        write_together(path.parent, {path.name: found.xml, path.with_suffix(".bin").name: found.weights})
        # On processors that have bfloat16 it would round to that by itself.
        compiled = ov.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def answer(images: Tensor) -> NDArray[np.float32]:
        feed = feed_of(subject, images, with_preprocessing=with_preprocessing)
        return np.asarray(compiled([feed])[0], dtype=np.float32)

    return answer
