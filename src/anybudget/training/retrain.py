"""The training of one stand-alone network, from scratch or from inherited weights."""

from __future__ import annotations

from torch import Tensor, nn

from anybudget.data import DataSource
from anybudget.nets.synchronised import synchronised
from anybudget.runtime.distributed import Processes
from anybudget.training.distillation import Teacher
from anybudget.training.graphs import GraphedForward
from anybudget.training.loop import TrainingContext
from anybudget.training.loss import TrainingLoss
from anybudget.training.settings import Schedule
from anybudget.training.sgd import Course, GradientStep, StepResult, run_course, train_on


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
        TrainingError: the loss is not finite or diverges.
        Stopped: training was asked to stop, and has been saved.
    """
    context = context or TrainingContext(processes=Processes(next(network.parameters()).device))
    train_along(network, Course.of(data, schedule, seed), schedule, context, name=name, teacher=teacher)


def train_along(
    network: nn.Module,
    course: Course,
    schedule: Schedule,
    context: TrainingContext,
    *,
    name: str,
    teacher: Teacher | None = None,
) -> None:
    """Train `network` on the batches of a course and leave it in evaluation mode; see `run_course`."""
    network.train()
    lowered = TrainingLoss(schedule.label_smoothing, course.batches.class_weights)
    # Norms of several processes talk to each other, and what is dropped is drawn anew: a graph can hold neither.
    graphed = context.processes.count == 1 and not (schedule.dropout or schedule.drop_path)
    gradients = _NetworkStep(network, context.processes, schedule.accumulate, lowered, teacher, graphed)
    with synchronised(network, context.processes):
        run_course(gradients, course, schedule, context, name=name)
    network.eval()


class _NetworkStep(GradientStep):
    """Steps of a network on its own."""

    def __init__(
        self,
        network: nn.Module,
        processes: Processes,
        accumulate: int,
        lowered: TrainingLoss,
        teacher: Teacher | None,
        graphed: bool,
    ) -> None:
        super().__init__(network)
        self._processes, self._accumulate, self._lowered, self._teacher = processes, accumulate, lowered, teacher
        self._forward = GraphedForward(network) if graphed else network

    def backward(self, images: Tensor, labels: Tensor, step: int) -> StepResult:  # noqa: ARG002 - same in all
        """See `GradientStep.backward`."""
        parts, lowered, teacher = self._accumulate, self._lowered, self._teacher
        return train_on(images, labels, self._forward, self._processes, parts, lowered=lowered, teacher=teacher)
