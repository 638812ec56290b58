"""Stage `retrain`: train found architectures on their own and measure them on the test split."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from anybudget.architecture import Architecture
from anybudget.data import DataFacts
from anybudget.errors import ConfigError, RunError, shown
from anybudget.nets import build_network
from anybudget.recipe.trainings import Inherit, RetrainSection
from anybudget.runs.answers import ANSWERS, own, read_answers
from anybudget.runs.context import RunContext
from anybudget.runs.data_identity import FACTS
from anybudget.runs.racing import inherited_network, raced_weights
from anybudget.runs.starts import tried_start
from anybudget.runs.teaching import teacher_origin
from anybudget.runs.trained import NETWORK, WEIGHTS, describe
from anybudget.runs.trainings import Measurement, network_specs, steps_of, train_and_measure, trained_costs
from anybudget.runtime.progress import StepsOf, Task
from anybudget.runtime.workers import Piece
from anybudget.storage.records import Retrained, checked, read_record
from anybudget.training.distillation_settings import SUPERNET

log = logging.getLogger(__name__)

RETRAIN_AGAIN = "delete that file, and retrain the network again to have it back"


def retrain_picks(run: RunContext) -> list[dict[str, Any]]:
    """Retrain what was found for the budgets that `retrain.picks` names."""
    picked = _picked(run)
    with run.stage("retrain"):
        run.replace("retrain")
        # One that was finished before the stage was interrupted need not be trained again.
        known = {architecture: _finished(run, architecture) for architecture in picked}
        results = {architecture: result for architecture, result in known.items() if result is not None}
        missing = [architecture for architecture in known if architecture not in results]
        results |= dict(zip(missing, retrain_each(run, missing), strict=True))
    return [results[architecture] for architecture in picked]


def retrain(
    run: RunContext, architecture: Architecture, *, inherit: Inherit | None = None, epochs: int | None = None
) -> dict[str, Any]:
    """Train one architecture and measure it on the test split; see `retrain_each`."""
    return retrain_each(run, [architecture], inherit=inherit, epochs=epochs)[0]


def retrain_each(
    run: RunContext, architectures: Sequence[Architecture], *, inherit: Inherit | None = None, epochs: int | None = None
) -> list[dict[str, Any]]:
    """Train architectures and measure them on the test split; writes `retrain/<id>/` of each.

    As many are trained at once as the run has workers.

    Args:
        run: the run.
        architectures: what to train; one that comes twice is trained once.
        inherit: start from trained weights instead of afresh, those of the race if the network has raced with this
            supernet, or else the supernet's; with "try" a trial says from which; the recipe says when None.
        epochs: how long; the recipe says when None.

    Raises:
        ArchitectureError: an architecture is not one of this run's space.
        ConfigError: a derived network was to inherit weights, or `inherit` is no such answer.
    """
    section = _as_asked(run.recipe.retrain, inherit, epochs)
    distinct = list(dict.fromkeys(architectures))
    for architecture in distinct:  # what is wrong is to be noticed before the work, not after
        run.space.validate(architecture)
        _result_of(run, architecture)
    _check_weights_to_inherit(section)
    results: dict[Architecture, dict[str, Any]] = {}
    if not distinct:
        return []
    name = _said(distinct[0]) if len(distinct) == 1 else f"retrain {len(distinct)} networks"
    steps = steps_of(run, section) + (steps_of(run, section.trial(), run.data) if section.trial_epochs else 0)
    with run.work("retrain"), run.progress.task(name, len(distinct) * steps) as task:
        _ = run.processes  # joined once, and not by each worker; the weights are loaded once, too
        if section.inherit or section.teacher.model == SUPERNET:
            _ = run.supernet
        pieces = [Piece(_said(a), partial(_retrain, run, a, section)) for a in distinct]
        for index, result in run.workers.each(pieces, task, saving=True):
            results[distinct[index]] = result
        if not section.inherit and run.folder.writes:
            _compare_with_the_supernet(run, results)
    return [results[architecture] for architecture in architectures]


def _as_asked(section: RetrainSection, inherit: Inherit | None, epochs: int | None) -> RetrainSection:
    """How networks are retrained: as the recipe says, but for what is asked for.

    Raises:
        ConfigError: `inherit` is something else than a truth value or "try".
    """
    if inherit not in (None, False, True, "try"):
        raise ConfigError(f'inherit: expected True, False or "try", found {shown(inherit)}')
    asked = {"inherit": inherit, "epochs": epochs}
    return section.model_copy(update={key: value for key, value in asked.items() if value is not None})


def _retrain(run: RunContext, architecture: Architecture, section: RetrainSection, task: Task) -> dict[str, Any]:
    """Train one architecture, and write all that is kept of it."""
    settings, started = _settings(run, architecture, section), time.perf_counter()
    # Weights that are inherited decide the result, as those that evaluate do, and so do a teacher's.
    origin = {**(_origin(run, architecture) if section.inherit else {}), **teacher_origin(run)}
    name, decides = f"retrain/{architecture.short_id}", {"inherit": section.inherit, "epochs": section.epochs}
    with run.work(name, **decides, **origin) as work:
        seed, progress = run.recipe.seed, StepsOf(task)
        tried = tried_start(run, work, architecture, section, progress) if section.trial_epochs else None
        inherited = tried.inherits if tried else bool(section.inherit)
        build = partial(_begin, run, architecture, inherited)
        done = train_and_measure(run, work, build, section, name=_said(architecture), seed=seed, progress=progress)
        result = {
            "architecture": architecture.to_dict(),
            **trained_costs(run, architecture),
            **done.figures,
            "test_classes": done.classes,
            "inherited": inherited,
            **({"tried": tried.to_json()} if tried else {}),
            "settings": settings,
            "epochs": section.epochs,
            "seconds": time.perf_counter() - started,
            "layers": run.space.describe(architecture),
        }
        _write(run, architecture, done, result)
    return result


def retrained(run: RunContext) -> dict[Architecture, float]:
    """Test top-1 in percent of the networks that were retrained as they were found."""
    found = {}
    for path in run.folder.path.glob("retrain/*/result.json"):
        if "." not in path.parent.name:  # not one that was kept when its network was trained again
            result = read_record(path, Retrained, RETRAIN_AGAIN)
            if result is not None and not result.derived:
                found[own(run, result.architecture, str(path), RETRAIN_AGAIN)] = result.test_top1_percent
    return found


def _compare_with_the_supernet(run: RunContext, results: Mapping[Architecture, Mapping[str, Any]]) -> None:
    """Say of which networks the supernet's weights, as they are, do better than training new ones has done.

    Both are figures of validation images; nothing is said where these were trained on.
    """
    own_weights = {
        architecture: result["validation_top1_percent"]
        for architecture, result in results.items()
        if "validation_top1_percent" in result and not result["derived"]
    }
    if not own_weights or not run.folder.finished("supernet"):
        return
    scores = run.new_evaluator().scores(list(own_weights))
    for (architecture, percent), score in zip(own_weights.items(), scores, strict=True):
        if score.top1_percent > percent:
            log.warning(
                "%s: %.2f%% of the validation images with new weights, %.2f%% with the supernet's as they are: train "
                "on from these (--inherit, or retrain.inherit = true), or longer (retrain.epochs)",
                _said(architecture),
                percent,
                score.top1_percent,
            )


def _check_weights_to_inherit(section: RetrainSection) -> None:
    """Check that the network that is trained has weights in the supernet, if it is to inherit them."""
    if section.inherit and (section.activation or section.se_reduction):
        raise ConfigError(
            "a network with retrain.activation or retrain.se_reduction has no weights to inherit; train it from "
            "scratch (retrain.inherit = false, --scratch), or leave both out"
        )


def _begin(run: RunContext, architecture: Architecture, inherit: bool) -> nn.Module:
    """The network as its training begins."""
    return inherited_network(run, architecture) if inherit else build_network(network_specs(run, architecture))


def _write(run: RunContext, architecture: Architecture, done: Measurement, result: dict[str, Any]) -> None:
    """Write all files of a retrained network; one that was trained otherwise is kept beside it."""
    folder, name = run.folder, f"retrain/{architecture.short_id}"
    former = _result_of(run, architecture)
    if former and former.settings != result["settings"]:
        folder.keep(name)
    folder.write_csv(f"{name}/retrain.csv", done.rows)
    folder.save_weights(f"{name}/{WEIGHTS}", done.network)
    folder.write_json(f"{name}/architecture.json", architecture.to_dict())
    folder.write_json(f"{name}/{NETWORK}", describe(run.recipe, architecture))
    folder.write_json(f"{name}/{FACTS}", DataFacts.of(run.listing, run.data).to_dict())
    folder.write_json(f"{name}/result.json", checked(result, Retrained, name).to_json())


def _picked(run: RunContext) -> list[Architecture]:
    """What was found for the budgets that `retrain.picks` names."""
    # The last answer to each budget counts: queries may have been added before and after the search.
    found = {budgets: answer.architecture for budgets, answer in read_answers(run)}
    picked = []
    for pick in run.recipe.retrain.picks:
        budgets = run.recipe.budget_sets()[pick - 1]
        if budgets not in found:
            raise RunError(
                f"{run.folder.path / ANSWERS}: has no answer to the budget {budgets}, which "
                f'retrain.picks names; ask for it with: anybudget generate {run.folder.path} --budget "{budgets}"'
            )
        picked.append(found[budgets])
    return picked


def _origin(run: RunContext, architecture: Architecture) -> dict[str, Any]:
    """What tells the weights that are inherited: the supernet's or, once the network has raced, those of the race."""
    return {**run.origin(), **raced_weights(run, architecture)}


def _settings(run: RunContext, architecture: Architecture, section: RetrainSection) -> dict[str, Any]:
    """What decides how a network is retrained, as its `result.json` keeps it."""
    origin = {**(_origin(run, architecture) if section.inherit else {}), **teacher_origin(run)}
    return {**section.model_dump(mode="json", exclude={"picks"}), **origin}


def _result_of(run: RunContext, architecture: Architecture) -> Retrained | None:
    """The result of retraining this architecture, however it was trained; None if it has not been."""
    return read_record(_folder(run, architecture) / "result.json", Retrained, RETRAIN_AGAIN)


def _said(architecture: Architecture) -> str:
    """Names a training in messages."""
    return f"retrain {architecture.short_id}"


def _folder(run: RunContext, architecture: Architecture) -> Path:
    return run.folder.path / "retrain" / architecture.short_id


def _finished(run: RunContext, architecture: Architecture) -> dict[str, Any] | None:
    """What retraining this architecture as the recipe says gave; None if it has not been."""
    result = _result_of(run, architecture)
    if result is None or result.settings != _settings(run, architecture, run.recipe.retrain):
        return None
    return result.to_json()
