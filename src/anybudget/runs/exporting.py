"""Networks of a run that leave it: which one is meant, with which weights, and what the run knows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from anybudget.architecture import Architecture
from anybudget.costs.latency import LatencyCost
from anybudget.data import DataFacts
from anybudget.errors import RunError
from anybudget.evaluation.evaluator import evaluate
from anybudget.export.forms import Wanted, check_wanted, export
from anybudget.export.subject import Subject, interval
from anybudget.runs.context import RunContext
from anybudget.runs.finding import KEPT, RACE, RETRAINED, last_answers
from anybudget.runs.racing import inherited_network, raced_weights
from anybudget.runs.stages.latency import FILE as LATENCIES
from anybudget.runs.stages.retrain import RETRAIN_AGAIN
from anybudget.runs.trained import NETWORK, describe, described, described_specs, load_network
from anybudget.runs.trainings import FOLDER as TRAINED
from anybudget.runs.trainings import TRAIN_AGAIN, Training, training_settings
from anybudget.runtime.progress import Progress
from anybudget.storage.provenance import package_version
from anybudget.storage.records import (
    Described,
    Export,
    Interval,
    LatencyOf,
    MeasuredLatency,
    MeasuredResult,
    Network,
    TrainedAlone,
    checked,
    read_record,
    read_records,
)
from anybudget.storage.weights import digest_of

RESULT = "result.json"

FOLDER = "export"
"""Where in a run folder exported networks go, each into a folder of its own, unless another is named."""


def export_network(
    run: RunContext, architecture: Architecture, wanted: Wanted, out: Path | None = None, *, inherited: bool = False
) -> tuple[Path, Export]:
    """Export a network of a run; see `anybudget.export.forms.export`.

    Args:
        run: the run; its data check what is exported.
        architecture: of its space.
        wanted: which forms.
        out: the folder; `export/ID` of the run if None.
        inherited: take the weights that it has from the race or the supernet, and not those of its own training.

    Returns:
        The folder, and what its `export.json` holds.

    Raises:
        RunError: the network has not been retrained, or what `export` raises.
    """
    run.space.validate(architecture)
    folder = out or run.folder.path / FOLDER / architecture.short_id
    check_wanted(wanted, folder)
    if inherited:
        subject = _inherited(run, architecture)
    else:
        kept = run.folder.path / RETRAINED / architecture.short_id
        if not (kept / NETWORK).is_file():
            raise RunError(
                f"{kept}: the network has not been retrained; train it with: anybudget retrain {run.folder.path} "
                "ARCH.json, or export the supernet's weights with --weights inherited"
            )
        subject = _kept(run, kept)
    return folder, export(subject, wanted, folder, run.data, run.progress)


def export_kept(run: RunContext, kept: Path, wanted: Wanted, out: Path | None = None) -> tuple[Path, Export]:
    """Export the network of a folder of the run, `retrain/ID`, `race/ID` or `zoo/NAME`; see `export_network`."""
    folder = out or run.folder.path / FOLDER / kept.name
    check_wanted(wanted, folder)
    return folder, export(_kept(run, kept), wanted, folder, run.data, run.progress)


def export_folder(
    path: Path, wanted: Wanted, out: Path | None = None, progress: Progress | None = None
) -> tuple[Path, Export]:
    """Export the network of a folder that is no part of a run any more, without data; see `anybudget.load`.

    Images of random pixels check it, and there is no int8.

    Raises:
        RunError: the folder holds no network, or what `export` raises.
    """
    folder = out or path / FOLDER
    check_wanted(wanted, folder)
    module, facts = load_network(path)
    network, result = described(path / NETWORK), _result(path)
    record = Export(
        version=package_version("anybudget"),
        run=path.resolve().name,
        network=network,
        data=facts.to_dict(),
        weights="retrained",
        digest=digest_of(module),
        costs={} if result is None else result.costs,
        epochs=None if result is None else result.epochs,
        test=None if result is None else _tested(result),
    )
    return folder, export(_subject(module, path, facts, record), wanted, folder, None, progress)


def kept_in_run(path: Path) -> Path | None:
    """The run that a folder of a network, such as `retrain/ID`, is in; None if it is in none."""
    run = path.resolve().parent.parent
    inside = path.resolve().parent.name in KEPT and (run / "recipe.toml").is_file()
    return run if inside and (path / NETWORK).is_file() else None


def _kept(run: RunContext, folder: Path) -> Subject:
    """A network with the weights that its folder in the run has: of its own training, or of the race."""
    module, facts = load_network(folder)
    network, result = described(folder / NETWORK), _result(folder)
    record = _record(run, network, facts, module)
    if result is None:
        raise RunError(f"{folder}: lacks {RESULT}; {RETRAIN_AGAIN}")
    known: dict[str, Any] = {"costs": result.costs, "epochs": result.epochs}
    known["test"] = _tested(result) or _measured(run, module)
    if folder.parent.name == RACE:
        known["weights"] = "raced"
    elif isinstance(network, Network) and not result.inherited and result.epochs is not None:
        alone = _trainings(run, network.architecture, result.epochs)
        known["seeds"] = tuple(one.test_top1_percent for one in alone if one.seed != run.recipe.seed)
    return _subject(module, folder, facts, record.model_copy(update=known))


def _subject(module: nn.Module, folder: Path, facts: DataFacts, record: Export) -> Subject:
    specs = described_specs(record.network, str(folder / NETWORK), RETRAIN_AGAIN)
    return Subject(_contiguous(module), specs, facts, record)


def _result(folder: Path) -> MeasuredResult | None:
    """What is known of a network with weights of its own; None where nothing is."""
    return read_record(folder / RESULT, MeasuredResult, RETRAIN_AGAIN)


def _inherited(run: RunContext, architecture: Architecture) -> Subject:
    """A network with the weights of the race or of the supernet, measured on the test split."""
    run.folder.require("supernet", f"supernet {run.folder.path}")
    module = inherited_network(run, architecture).cpu().eval()
    network = checked(describe(run.recipe, architecture, derived=False), Network, NETWORK)
    facts = DataFacts.of(run.listing, run.data)
    known = {
        "weights": "raced" if raced_weights(run, architecture) else "inherited",
        "costs": {name: model.cost(architecture) for name, model in run.costs.items()},
        "test": _measured(run, module),
    }
    record = _record(run, network, facts, module).model_copy(update=known)
    return Subject(_contiguous(module), run.space.block_specs(architecture), facts, record)


def _measured(run: RunContext, module: nn.Module) -> Interval:
    """Test top-1 with its interval, measured now."""
    test = run.data.test()
    share = evaluate(module, test, run.data).top1_percent / 100
    return interval(round(share * len(test)), len(test))


def _record(run: RunContext, network: Described, facts: DataFacts, module: nn.Module) -> Export:
    """What the run knows of a network, whatever its weights are."""
    data, splits = run.data, ("training", "validation", "test")
    return Export(
        version=package_version("anybudget"),
        run=run.recipe.name,
        network=network,
        data=facts.to_dict(),
        weights="retrained",
        digest=digest_of(module),
        images=dict(zip(splits, map(len, (data.train, data.validation, data.test())), strict=True)),
        budgets=_budgets(run, network),
        costs={},
        latency=_latencies(run, network),
    )


def _budgets(run: RunContext, network: Described) -> tuple[dict[str, float], ...]:
    """Those that the run answered with a network."""
    if not isinstance(network, Network):
        return ()
    return tuple(b.limits() for b, answer in last_answers(run).items() if answer == network.architecture)


def _latencies(run: RunContext, network: Described) -> dict[str, LatencyOf]:
    """What the profiles of the run say of a network; nothing of one that is none of the space, as it is derived."""
    if not isinstance(network, Network) or network.activation or network.se_reduction:
        return {}
    architecture, file = network.architecture, run.folder.path / LATENCIES
    rows = [row for row in read_records(file, MeasuredLatency) if row.architecture == architecture]
    measured = {row.cost: row.measured_ms for row in rows}  # the last counts
    return {
        name: LatencyOf(
            predicted=model.predicted(architecture),
            promised=model.cost(architecture),
            note=model.note,
            measured=measured.get(name),
        )
        for name, model in run.costs.items()
        if isinstance(model, LatencyCost)
    }


def _tested(result: MeasuredResult) -> Interval | None:
    """Test top-1 with its interval; None where it is not known, or not of how many images."""
    images = sum(one.images for one in result.test_classes)
    if result.test_top1_percent is None or not images:
        return None
    return interval(round(result.test_top1_percent * images / 100), images)


def _trainings(run: RunContext, architecture: Architecture, epochs: int) -> list[TrainedAlone]:
    """Trainings of the same architecture, as long and with the settings and data of now, with any seed."""
    settings = training_settings(run, Training(architecture, run.recipe.seed, epochs))
    files = sorted((run.folder.path / TRAINED).glob(f"{architecture.short_id}-*.json"))
    found = [read_record(path, TrainedAlone, TRAIN_AGAIN) for path in files]
    return [one for one in found if one is not None and one.settings == settings]


def _contiguous(module: nn.Module) -> nn.Sequential:
    """A network whose weights lie as those of a file do: what computes is then what others compute."""
    module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return cast(nn.Sequential, module)
