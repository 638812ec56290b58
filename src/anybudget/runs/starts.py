"""From which weights a network is retrained where that is tried: new ones, or those that it inherits."""

from __future__ import annotations

from functools import partial

from anybudget.architecture import Architecture
from anybudget.evaluation.evaluator import evaluate
from anybudget.nets import build_network
from anybudget.nets.blocks import channels_last
from anybudget.recipe.trainings import RetrainSection
from anybudget.runs.context import RunContext
from anybudget.runs.racing import inherited_network
from anybudget.runs.trainings import compared_by, network_specs, train_alone
from anybudget.runs.work import Work
from anybudget.runtime.process_state import seeded
from anybudget.runtime.progress import Progress
from anybudget.storage.records import TriedStart

PART = "start"
"""Names the trial among what a retraining keeps until it has ended."""


def tried_start(
    run: RunContext, work: Work, architecture: Architecture, section: RetrainSection, progress: Progress
) -> TriedStart:
    """What new weights reach in a trial, and inherited ones as they are, on the validation images.

    A supernet that has learned little gives a worse start than new weights; one that scores networks about as high as
    they are trained to, a better one. docs/training.md has what was measured.

    Args:
        run: the run.
        work: the retraining; what is found is kept there, so that one that was stopped does not try again.
        architecture: what is to be retrained.
        section: how; the trial is `section.trial()`, on the training split.
        progress: where the trial says how far it is.
    """
    journal, metric, schedule = work.journal(PART), compared_by(run), section.trial()
    work.checkpoint(PART)  # that of the trial, which an earlier process may have left
    if architecture.choices not in journal.entries:
        context = work.training_context(rollbacks=section.rollbacks, part=PART)
        build = partial(build_network, network_specs(run, architecture))
        name = f"try new weights for {architecture.short_id}"
        with seeded(run.recipe.seed):
            seed = run.recipe.seed
            new = train_alone(run, context, build, schedule, run.data, name=name, seed=seed, progress=progress)
            inherited = channels_last(inherited_network(run, architecture).to(run.device))
            found = [
                evaluate(network.eval(), run.data.validation, run.data).figures[metric] for network in (new, inherited)
            ]
        # Processes that train together have to start alike, even if their arithmetic should differ.
        new_percent, inherited_percent = context.processes.same(found)
        journal.add([(architecture.choices, {"new": new_percent, "inherited": inherited_percent})])
    known = journal.entries[architecture.choices]
    return TriedStart(metric=metric, epochs=schedule.epochs, new=known["new"], inherited=known["inherited"])
