"""Blocks that are ONNX models, joined to the model of a network: each distinct block is exported once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def joined(blocks: Sequence[bytes]) -> bytes:
    """One model in which every block takes the output of the one before.

    Exporting a network takes seconds, and joining its blocks milliseconds. Names get the number of the block in front;
    input and output keep those of the first and the last block.

    Args:
        blocks: serialised models of one input and one output each, at least one.
    """
    import onnx

    models = [onnx.load_from_string(block) for block in blocks]
    whole = onnx.ModelProto()
    whole.CopyFrom(models[0])
    whole.ClearField("graph")
    whole.graph.name = "network"
    whole.graph.input.append(models[0].graph.input[0])
    value = models[0].graph.input[0].name
    for number, model in enumerate(models):
        value = _append(whole.graph, model, f"{number}.", value)
    _name_output(whole, models[-1], value)
    return bytes(whole.SerializeToString())


def _append(graph: GraphProto, block: ModelProto, prefix: str, value: str) -> str:
    """Add a block that takes `value`; gives the name of what it makes."""
    given = block.graph.input[0].name

    def named(name: str) -> str:
        return value if name == given else name and prefix + name

    for tensor in block.graph.initializer:
        graph.initializer.append(tensor)
        graph.initializer[-1].name = prefix + tensor.name
    for node in block.graph.node:
        graph.node.append(node)
        added = graph.node[-1]
        added.name = prefix + node.name
        added.input[:] = [named(name) for name in node.input]
        added.output[:] = [named(name) for name in node.output]
    return named(block.graph.output[0].name)


def _name_output(whole: ModelProto, last: ModelProto, value: str) -> None:
    """Give the output of the network the name that the last block's has."""
    output = last.graph.output[0]
    whole.graph.output.append(output)
    for node in whole.graph.node:
        node.input[:] = [output.name if name == value else name for name in node.input]
        node.output[:] = [output.name if name == value else name for name in node.output]
