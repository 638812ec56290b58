"""Norms of ONNX models folded through sums of convolutions, which torch's exporter leaves as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx
    from onnx import NodeProto

_NORM, _SUM, _CONVOLUTION = "BatchNormalization", "Add", "Conv"


def fold_summed_norms(model: onnx.ModelProto) -> None:
    """Fold every norm of a sum of convolutions into these, in place; outputs differ by rounding.

    `scale * (a + b) + shift` is `scale * a + (scale * b + shift)`, so each convolution takes the scale and one of them
    the shift. Done where nothing else reads a part of the sum, and weights and statistics are constants; a block with
    several depthwise kernel sizes ends in such a sum.
    """
    graph = _Graph(model)
    for norm in [node for node in model.graph.node if node.op_type == _NORM]:
        convolutions = graph.summed(norm.input[0])
        if convolutions and all(name in graph.constants for name in norm.input[1:5]):
            graph.fold(norm, convolutions)


class _Graph:
    """A graph by the names of its values."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.makers = {name: node for node in self.graph.node for name in node.output}
        names = [name for node in self.graph.node for name in node.input]
        self.uses = {name: names.count(name) for name in set(names)}
        for output in self.graph.output:
            self.uses[output.name] = self.uses.get(output.name, 0) + 1

    def summed(self, name: str) -> list[NodeProto]:
        """The convolutions of which a value is the sum; none if it is not one, or something else reads a part of it."""
        node = self.makers.get(name)
        if node is None or self.uses[name] != 1:
            return []
        if node.op_type == _CONVOLUTION:
            own = [given for given in node.input[1:] if given]
            return [node] if all(given in self.constants and self.uses[given] == 1 for given in own) else []
        if node.op_type != _SUM:
            return []
        left, right = (self.summed(part) for part in node.input)
        return [*left, *right] if left and right else []

    def fold(self, norm: NodeProto, convolutions: list[NodeProto]) -> None:
        """Let convolutions take on the scale of a norm, and the first of them its shift."""
        from onnx import helper

        gamma, beta, mean, variance = (self._read(name) for name in norm.input[1:5])
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in norm.attribute}
        scale = gamma / np.sqrt(variance + given.get("epsilon", 1e-5))
        shift = beta - mean * scale
        for number, conv in enumerate(convolutions):
            self._write(conv.input[1], self._read(conv.input[1]) * scale[:, None, None, None])
            added = np.zeros_like(shift) if number else shift
            if len(conv.input) > 2 and conv.input[2]:
                self._write(conv.input[2], self._read(conv.input[2]) * scale + added)
            elif not number:
                self._add_bias(conv, added)
        self.makers[norm.input[0]].output[0] = norm.output[0]
        self.graph.node.remove(norm)
        for name in norm.input[1:5]:
            self.uses[name] -= 1
            if not self.uses[name]:
                self.graph.initializer.remove(self.constants.pop(name))

    def _read(self, name: str) -> np.ndarray:
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name]).astype(np.float64)

    def _write(self, name: str, values: np.ndarray) -> None:
        from onnx import numpy_helper

        self.constants[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))

    def _add_bias(self, conv: NodeProto, values: np.ndarray) -> None:
        from onnx import numpy_helper

        name = f"{conv.input[1]}_bias"
        self.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        self.constants[name], self.uses[name] = self.graph.initializer[-1], 1
        conv.input.append(name)
