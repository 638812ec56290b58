"""ONNX Runtime's static quantisation: int8 weights, a scale per output channel, and uint8 activations."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from anybudget.export.onnx_model import EXTRA
from anybudget.runtime.optional import optional

if TYPE_CHECKING:
    import onnx


def static_int8(model: onnx.ModelProto, feeds: Iterable[Mapping[str, NDArray[Any]]]) -> onnx.ModelProto:
    """A model in QDQ format; the ranges of activations are the least and greatest values that the feeds give.

    Args:
        model: of floats; stays as it is.
        feeds: inputs by name, some images at a time.

    Raises:
        ConfigError: onnxruntime is not installed.
    """
    import onnx

    quantisation: Any = optional("onnxruntime.quantization", "--to int8", EXTRA)

    class Reader(quantisation.CalibrationDataReader):  # type: ignore[misc]
        """What activations are ranged on."""

        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            """The next feed; None at the end."""
            found = next(self._feeds, None)
            return None if found is None else dict(found)

    copied = onnx.ModelProto()
    copied.CopyFrom(model)  # the quantiser changes what it is given
    # What it would ask to be done before: shapes and folding, which have been.
    copied.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantisation.quantize_static(
            copied,
            path,
            Reader(),
            quant_format=quantisation.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantisation.QuantType.QUInt8,
            weight_type=quantisation.QuantType.QInt8,
            calibrate_method=quantisation.CalibrationMethod.MinMax,
        )
        return onnx.load(path)
