"""Networks that detectors are built on: of a run, of a folder, or of an exported file, with which weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from torch import nn

from anybudget.architecture import Architecture
from anybudget.data import DataFacts
from anybudget.errors import ConfigError, RunError
from anybudget.export.image_network import ImageNetwork
from anybudget.export.one_file import described_file, load_file
from anybudget.nets import build_network
from anybudget.nets.blocks import channels_last
from anybudget.runs.context import RunContext
from anybudget.runs.finding import RACE, RETRAINED
from anybudget.runs.racing import inherited_network, raced_weights
from anybudget.runs.stages.retrain import RETRAIN_AGAIN
from anybudget.runs.trained import NETWORK, SAFETENSORS, describe, described, described_specs, load_network
from anybudget.runs.trainings import network_specs
from anybudget.runtime.process_state import seeded
from anybudget.spaces import BlockSpec
from anybudget.storage.records import Described, Network, checked
from anybudget.storage.weights import digest_of

Weights = Literal["retrained", "raced", "inherited", "random"]
"""Where the weights of a backbone come from: its own training, a race, the supernet, or nowhere."""

OWN: Mapping[Weights, str] = {"retrained": RETRAINED, "raced": RACE}
"""Weights that a network has a folder with, and the folders these are in, in the order in which they are looked for."""


@dataclass(frozen=True)
class Backbone:
    """A classifier that a detector is built on.

    `network` describes it, so that it can be built again of its blocks `specs`; `facts` say how it takes images.
    `trained` is None where its `weights` are random.
    """

    name: str
    network: Described
    facts: DataFacts
    weights: Weights
    specs: tuple[BlockSpec, ...]
    trained: ImageNetwork | None

    def build(self, seed: int) -> ImageNetwork:
        """A classifier of its own each time; random weights are drawn with the seed."""
        if self.trained is not None:
            return copy.deepcopy(self.trained)
        with seeded(seed):
            return rebuilt(self.specs, self.facts)

    @property
    def origin(self) -> dict[str, Any]:
        """What decides what is built, besides the seed of random weights."""
        network = self.network.to_json()
        return {"network": network, "weights": self.weights, "digest": digest_of(self.trained) if self.trained else ""}


def rebuilt(specs: tuple[BlockSpec, ...], facts: DataFacts) -> ImageNetwork:
    """A classifier of these blocks with new weights."""
    return ImageNetwork(channels_last(build_network(specs)), specs, facts)


def backbone_of_run(run: RunContext, architecture: Architecture, weights: Weights | None) -> Backbone:
    """A network of a run.

    Args:
        run: the run.
        architecture: of its space.
        weights: which; None takes those of its own training or, where it has none, of its race.

    Raises:
        ArchitectureError: it is not one of the run's space.
        RunError: there are no such weights; says how to get them.
    """
    run.space.validate(architecture)
    folders = {kind: run.folder.path / folder / architecture.short_id for kind, folder in OWN.items()}
    there = {kind: folder for kind, folder in folders.items() if (folder / NETWORK).is_file()}
    if weights == "inherited":
        return _inherited(run, architecture)
    wanted = [weights] if weights in OWN else list(there)
    kept = next((there[kind] for kind in there if kind in wanted), None)
    if kept is not None:
        return backbone_of_folder(kept, "random" if weights == "random" else None)
    if weights == "random":
        network = checked(describe(run.recipe, architecture), Network, NETWORK)
        facts = DataFacts.of(run.listing, run.data)
        return Backbone(architecture.short_id, network, facts, weights, network_specs(run, architecture), None)
    raise RunError(
        f"{run.folder.path}: the network {architecture.short_id} has no {weights or 'trained'} weights; train it with: "
        f"anybudget retrain {run.folder.path} ARCH.json, or take the supernet's with --weights inherited, or new ones "
        "with --random-weights"
    )


def _inherited(run: RunContext, architecture: Architecture) -> Backbone:
    """A network with the weights of its race or, where it has not raced, of the supernet."""
    run.folder.require("supernet", f"supernet {run.folder.path}")
    network = checked(describe(run.recipe, architecture, derived=False), Network, NETWORK)
    facts, specs = DataFacts.of(run.listing, run.data), run.space.block_specs(architecture)
    weights: Weights = "raced" if raced_weights(run, architecture) else "inherited"
    blocks = cast(nn.Sequential, inherited_network(run, architecture).cpu().eval())
    return Backbone(architecture.short_id, network, facts, weights, specs, ImageNetwork(blocks, specs, facts))


def backbone_of_folder(path: Path, weights: Weights | None = None) -> Backbone:
    """The network of a folder or a file that `anybudget.load` takes; of "random" weights its layers alone.

    Raises:
        ConfigError: other weights are asked for than it has.
        RunError: there is no network, or it is damaged.
    """
    if weights == "inherited":
        raise ConfigError("--weights inherited: needs a run and one of its networks, ARCH or BUDGET")
    if path.suffix == SAFETENSORS:
        record = described_file(path)
        trained = load_file(path, described_specs)
        assert trained.facts is not None  # every file has them
        network, facts, own = record.network, trained.facts, record.weights
        specs = described_specs(network, str(path), RETRAIN_AGAIN)
    else:
        module, facts = load_network(path)
        network, own = described(path / NETWORK), "raced" if path.resolve().parent.name == RACE else "retrained"
        specs = described_specs(network, str(path / NETWORK), RETRAIN_AGAIN)
        trained = ImageNetwork(cast(nn.Sequential, module), specs, facts)
    if weights == "random":
        return Backbone(path.stem, network, facts, "random", specs, None)
    if weights not in (None, own):
        raise ConfigError(f"--weights {weights}: {path} has {own} weights; leave it out")
    return Backbone(path.stem, network, facts, own, specs, trained)
