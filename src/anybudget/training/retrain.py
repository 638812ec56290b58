"""The training of one stand-alone network, from scratch or from inherited weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from anybudget.data import DataSource
from anybudget.nets.synchronised import synchronised
from anybudget.runtime.distributed import Processes
from anybudget.storage.checkpoint import Stateful
from anybudget.training.compiling import CompiledForward, compiling
from anybudget.training.distillation import Teacher
from anybudget.training.graphs import GraphedForward
from anybudget.training.loop import TrainingContext
from anybudget.training.loss import TrainingLoss
from anybudget.training.settings import Schedule
from anybudget.training.sgd import Course, GradientStep, StepResult, run_course, train_on

log = logging.getLogger(__name__)


def train_network(
    network: nn.Module,
    data: DataSource,
    schedule: Schedule,
    *,
    name: str = "retrain",
    seed: int = 0,
    context: TrainingContext | None = None,
    teacher: Teacher | None = None,
) -> None:
    """Train `network` on the training split, with or without a teacher, and leave it in evaluation mode.

    Raises:
        ConfigError: training was begun compiled, and the network cannot be compiled here.
        TrainingError: the loss is not finite or diverges.
        Stopped: training was asked to stop, and has been saved.
    """
    context = context or TrainingContext(processes=Processes(next(network.parameters()).device))
    course = Course.of(data, schedule, seed)
    if schedule.compile == "never":
        train_along(network, course, schedule, context, name=name, teacher=teacher)
    elif context.processes.count > 1:
        log.info("%s: not compiled, since norms of several processes talk to each other in every step", name)
        train_along(network, course, schedule, context, name=name, teacher=teacher)
    else:
        with compiling():
            train_along(network, course, schedule, context, name=name, teacher=teacher, compiled=True)


def train_along(
    network: nn.Module,
    course: Course,
    schedule: Schedule,
    context: TrainingContext,
    *,
    name: str,
    teacher: Teacher | None = None,
    compiled: bool = False,
) -> None:
    """Train `network` on the batches of a course and leave it in evaluation mode; see `run_course`.

    With `compiled`, a trial says whether its steps are compiled; see `CompiledForward`.
    """
    network.train()
    lowered = TrainingLoss(schedule.label_smoothing, course.batches.class_weights)
    # Norms of several processes talk to each other, and what is dropped is drawn anew: a graph can hold neither.
    graphed = context.processes.count == 1 and not (schedule.dropout or schedule.drop_path)
    plain = GraphedForward(network) if graphed else network
    forward = CompiledForward(network, plain) if compiled else plain
    gradients = _NetworkStep(network, forward, schedule.accumulate, lowered, teacher, context, name)
    with synchronised(network, context.processes):
        run_course(gradients, course, schedule, context, name=name)
    network.eval()


class _NetworkStep(GradientStep):
    """Steps of a network on its own, whose logits `forward` gives."""

    def __init__(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        accumulate: int,
        lowered: TrainingLoss,
        teacher: Teacher | None,
        context: TrainingContext,
        name: str,
    ) -> None:
        super().__init__(network)
        self._forward, self._accumulate, self._lowered, self._teacher = forward, accumulate, lowered, teacher
        self._context, self._name = context, name

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """See `GradientStep.parts`."""
        return {"compiled": self._forward} if isinstance(self._forward, CompiledForward) else {}

    def begin(self, trial: Callable[[], Callable[[], float]], steps: int) -> None:
        """See `GradientStep.begin`."""
        forward = self._forward
        if isinstance(forward, CompiledForward):
            forward.chosen = self._context.choose_compiled(self._name, lambda: forward.trial(trial(), steps))

    def backward(self, images: Tensor, labels: Tensor, step: int) -> StepResult:  # noqa: ARG002 - same in all
        """See `GradientStep.backward`."""
        parts, lowered, teacher = self._accumulate, self._lowered, self._teacher
        processes = self._context.processes
        return train_on(images, labels, self._forward, processes, parts, lowered=lowered, teacher=teacher)
