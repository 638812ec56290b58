"""Trained networks on disk: what is kept beside their weights, and loading one anywhere, without its run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anybudget.architecture import Architecture
from anybudget.data import DataFacts
from anybudget.errors import RunError
from anybudget.export.one_file import load_file
from anybudget.export.rebuilding import FORMAT, VERSION, specs_of
from anybudget.nets import build_network
from anybudget.nets.blocks import channels_last
from anybudget.reading import parse_object, read_bytes, unreadable_as
from anybudget.recipe import Recipe
from anybudget.runs.data_identity import FACTS
from anybudget.spaces import BlockSpec
from anybudget.storage.records import Described, Network, ZooBuilt, checked, read_record
from anybudget.storage.weights import read_weights
from anybudget.zoo import ZOO, Images

NETWORK, WEIGHTS = "network.json", "weights.safetensors"
ZOO_FOLDER = "zoo"
"""Where a run keeps the networks of the zoo that it has trained."""

SAFETENSORS = ".safetensors"

_AGAIN = "put the file back as it was, or retrain the network: anybudget retrain RUN architecture.json"


def describe(recipe: Recipe, architecture: Architecture, *, derived: bool = True) -> dict[str, Any]:
    """What it takes to build a network again, as `network.json` has it; `derived` as `[retrain]` says."""
    network = {
        "format": FORMAT,
        "version": VERSION,
        "space": recipe.space.model_dump(mode="json"),
        "architecture": architecture.to_dict(),
        "activation": recipe.retrain.activation if derived else "",
        "se_reduction": recipe.retrain.se_reduction if derived else 0,
    }
    return checked(network, Network, NETWORK).to_json()


def describe_zoo(name: str, images: Images) -> dict[str, Any]:
    """What it takes to build a network of the zoo again, as `network.json` has it."""
    network = {"format": FORMAT, "version": VERSION, "zoo": name, "images": asdict(images)}
    return checked(network, ZooBuilt, NETWORK).to_json()


def load(path: str | Path) -> Any:
    """A trained network in evaluation mode on the CPU: of a run's folder, or of a file that was exported.

    Args:
        path: a folder, see `load_network`; or a `.safetensors` file of `anybudget export --to torch`, see
            `anybudget.export.one_file.load_file`. Both are typed; this function takes what it is given.

    Returns:
        Of a folder the network and the facts of its data, a pair; of a file an `ImageNetwork`, a plain module with
        timm's habits that has these facts as `facts`.

    Raises:
        RunError: there is no network, or a file of it is damaged.

    Example:
        >>> network, data = load("runs/demo/retrain/0123456789")  # doctest: +SKIP
        >>> data.classify(network, "photo.jpg")  # doctest: +SKIP
        {'Coat': 0.93, 'Shirt': 0.05, ...}
        >>> network = load("network.safetensors")  # doctest: +SKIP
        >>> network.feature_info[-1]["reduction"]  # doctest: +SKIP
        16
    """
    if Path(path).suffix == SAFETENSORS:
        return load_file(path, described_specs)
    return load_network(path)


def load_network(folder: str | Path) -> tuple[nn.Module, DataFacts]:
    """A retrained or raced network in evaluation mode on the CPU, and what it takes to give it images.

    Args:
        folder: `retrain/ID`, `race/ID` or `zoo/NAME` of a run, or a copy of it anywhere; `network.json`, `data.json`
            and `weights.safetensors` are read, nothing else.

    Returns:
        A plain torch module, normalised images `[N, C, H, W]` to logits `[N, classes]`, and the facts of its data:
        `prepare` makes such images of files, `classify` says how probable each class is for one.

    Raises:
        RunError: there is no network, or a file of it is damaged.

    Example:
        >>> network, data = load_network("runs/demo/retrain/0123456789")  # doctest: +SKIP
        >>> data.classify(network, "photo.jpg")  # doctest: +SKIP
        {'Coat': 0.93, 'Shirt': 0.05, ...}
    """
    path = Path(folder)
    _check_there(path)
    facts = DataFacts.from_dict(_read(path / FACTS), str(path / FACTS), _AGAIN)
    specs = described_specs(described(path / NETWORK), str(path / NETWORK), _AGAIN)
    with torch.random.fork_rng(devices=[]):  # the first weights are drawn, and replaced
        network = build_network(specs)
    read_weights(path / WEIGHTS, network, _AGAIN, described_by=str(path / NETWORK))
    return channels_last(network).eval(), facts


def _check_there(path: Path) -> None:
    if (path / "recipe.toml").is_file():
        networks = [
            file.parent for kind in ("retrain", "race", ZOO_FOLDER) for file in sorted(path.glob(f"{kind}/*/{NETWORK}"))
        ]
        found = next(iter(networks), None)
        way_out = f"give one of its networks, such as {found}" if found else "retrain a network first"
        raise RunError(f"{path}: a run folder, not a network; {way_out}")
    if not path.is_dir():
        raise RunError(f"{path}: no such folder; give retrain/ID, race/ID or zoo/NAME of a run, or a copy of it")
    missing = [name for name in (NETWORK, FACTS, WEIGHTS) if not (path / name).is_file()]
    if missing:
        raise RunError(f"{path}: no trained network: lacks {', '.join(missing)}; {_AGAIN}")


def _read(path: Path) -> dict[str, Any]:
    with unreadable_as(RunError, path, "damaged", _AGAIN):
        return parse_object(read_bytes(path))


def described(path: Path) -> Described:
    """What `network.json` of a folder describes: a network of a space, or one of the zoo.

    Raises:
        RunError: the file is damaged.
    """
    of_zoo = "zoo" in _read(path)
    found = read_record(path, ZooBuilt, _AGAIN) if of_zoo else read_record(path, Network, _AGAIN)
    assert found is not None  # it has just been read
    return found


def described_specs(network: Described, where: str, way_out: str) -> tuple[BlockSpec, ...]:
    """The blocks that `describe` or `describe_zoo` described: `specs_of`, of networks of the zoo, too.

    Raises:
        RunError: it describes no network of this version of anybudget.
    """
    return specs_of(network, where, way_out, _of_zoo)


def _of_zoo(network: ZooBuilt) -> tuple[BlockSpec, ...]:
    return ZOO[network.zoo].specs(Images(network.images.channels, network.images.size, network.images.classes))
