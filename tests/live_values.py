"""Counts the bytes of activations that are alive while a network runs, operator by operator, from real tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Interpreter, Node

OVER_ITS_INPUT = (
    "relu",
    "hardtanh",
    "hardswish",
    "silu",
    "hardsigmoid",
    "sigmoid",
    "batch_norm",
    "add",
    "mul",
    "dropout",
)
"""What is computed number by number, and may be written over an input that nothing else needs."""


def live_bytes(network: nn.Module, shape: tuple[int, ...]) -> int:
    """The most bytes alive at once in evaluation, for one image `shape`."""
    image = torch.randn(1, *shape)
    with torch.no_grad():
        program = torch.export.export(network.eval(), (image,)).module()
        assert isinstance(program, torch.fx.GraphModule)
        run = _LiveRun(program)
        run.run(image)
    return run.most


class _LiveRun(Interpreter):
    """Runs a graph, which frees every value behind its last use, and looks at the storages that are left."""

    def __init__(self, program: torch.fx.GraphModule) -> None:
        super().__init__(program)
        self.most = 0
        self._values = {node for node in program.graph.nodes if node.op == "placeholder"}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if n.op != "call_function":
            return result
        alive = self._storages(node for node in self.env if node in self._values)
        made = {key: size for key, size in _storages(result).items() if key not in alive}
        self.most = max(self.most, sum(alive.values()) + (0 if self._over_an_input(n, result) else sum(made.values())))
        self._values.add(n)
        return result

    def _storages(self, nodes: Any) -> dict[int, int]:
        found: dict[int, int] = {}
        for node in nodes:
            found |= _storages(self.env[node])
        return found

    def _over_an_input(self, n: Node, result: Any) -> bool:
        """Whether the result may take the storage of an input that ends here."""
        if not str(getattr(n.target, "__name__", n.target)).startswith(OVER_ITS_INPUT):
            return False
        ending = set(self.user_to_last_uses.get(n, []))
        kept = self._storages(node for node in self.env if node in self._values and node not in ending)
        inputs = [self.env[node] for node in n.all_input_nodes if node in ending and node in self._values]
        return any(value.shape == result.shape and not _storages(value).keys() & kept.keys() for value in inputs)


def _storages(value: Any) -> dict[int, int]:
    """The storages of a tensor, or of several, with their bytes."""
    if isinstance(value, list | tuple):
        return {key: size for part in value for key, size in _storages(part).items()}
    return {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()} if isinstance(value, Tensor) else {}
