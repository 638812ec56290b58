"""Networks in one safetensors file: weights by the names of the stand-alone source, and all else in the metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from anybudget.data import DataFacts
from anybudget.errors import RunError, reason
from anybudget.export.image_network import ImageNetwork
from anybudget.export.rebuilding import specs_of
from anybudget.export.standalone import named_weights, restored_weights
from anybudget.export.subject import FORMAT, Subject
from anybudget.nets import build_network
from anybudget.nets.blocks import channels_last
from anybudget.spaces import BlockSpec
from anybudget.storage.records import Described, Export, checked
from anybudget.storage.weights import fill

AGAIN = "export the network again: anybudget export RUN ARCHITECTURE --to torch"


def to_one_file(subject: Subject) -> bytes:
    """The content of a `.safetensors` file that `load_file` builds the network from, and nothing else is needed."""
    return save(named_weights(subject.network, subject.specs), {"format": "pt", FORMAT: subject.description()})


Rebuild = Callable[[Described, str, str], tuple[BlockSpec, ...]]
"""Gives the blocks of a description; see `specs_of`."""


def load_file(path: str | Path, rebuild: Rebuild = specs_of) -> ImageNetwork:
    """A network from a file that `anybudget export --to torch` wrote, in evaluation mode on the CPU.

    Nothing is unpickled, and none of the Python source beside the file is run.

    Args:
        path: a `.safetensors` file, anywhere.
        rebuild: gives the blocks; `anybudget.load` knows those of the zoo, too.

    Returns:
        A plain torch module with timm's habits, and the facts of its data as `facts`.

    Raises:
        RunError: there is no such file, it is damaged, or no exported network.

    Example:
        >>> network = load_file("network.safetensors")  # doctest: +SKIP
        >>> network.facts.classify(network, "photo.jpg")  # doctest: +SKIP
        {'Coat': 0.93, 'Shirt': 0.05, ...}
    """
    path = Path(path)
    record, tensors = _read(path)
    facts = DataFacts.from_dict(record.data, str(path), AGAIN)
    specs = rebuild(record.network, str(path), AGAIN)
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and replaced
        network = build_network(specs)
    fill(network, restored_weights(tensors, network, specs), str(path), AGAIN, described_by="its metadata")
    return ImageNetwork(channels_last(network).eval(), specs, facts)


def described_file(path: Path) -> Export:
    """What a file says of its network.

    Raises:
        RunError: see `load_file`.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Export, dict[str, Tensor]]:
    """The description and the tensors of a file."""
    try:
        with safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get(FORMAT)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; {AGAIN}") from None
    except (SafetensorError, OSError, KeyError) as error:
        raise RunError(f"{path}: damaged or not safetensors: {reason(error)}; {AGAIN}") from None
    if described is None:
        raise RunError(f"{path}: weights without a description of their network; {AGAIN}")
    return _record(described, path), tensors


def _record(described: str, path: Path) -> Export:
    """What the metadata of a file say of its network."""
    try:
        return checked(json.loads(described), Export, str(path), AGAIN)
    except (ValueError, ValidationError, RecursionError):
        raise RunError(f"{path}: damaged: its description is no JSON; {AGAIN}") from None
