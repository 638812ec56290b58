"""Where candidates are evaluated: the registry of engines, by the names that the command line knows."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from anybudget.errors import ConfigError
from anybudget.registry import Registry

if TYPE_CHECKING:  # so that a wrong option is said before torch is imported
    from anybudget.evaluation.evaluator import Engine, Evaluator
    from anybudget.nets import Supernet
    from anybudget.runtime.workers import Workers


class HasEvaluator(Protocol):
    """What an engine asks of a run."""

    @property
    def supernet(self) -> Supernet:
        """The trained weights; another object once they are trained anew."""

    @property
    def workers(self) -> Workers:
        """What would evaluate on this machine."""

    def new_evaluator(self) -> Evaluator:
        """An evaluator as the run sets it; the evaluates of all are equal."""


class Factory(Protocol):
    """Gives a run its engine: the same one as long as its supernet is the same."""

    def __call__(self, run: HasEvaluator) -> Engine:
        """The engine; nothing is started yet."""

    def close(self) -> None:
        """End what the engine has started."""


def engine_factory(name: str, *, address: str | None = None, workers: int | None = None) -> Factory | None:
    """What gives a run its engine; None evaluates on this machine, by the workers of the run.

    Args:
        name: of a registered engine.
        address: of a cluster to join; None starts one here.
        workers: how many processes evaluate; None takes as many as there are cores for.

    Raises:
        ConfigError: there is no such engine, it takes no such options, its package is not installed, or nothing
            answers at the address.
    """
    return ENGINES[name](address, workers)


def local(address: str | None, workers: int | None) -> None:
    """Candidates are evaluated on this machine, by as many workers as the run is told to have."""
    del workers
    if address is not None:
        raise ConfigError("--address: the engine local evaluates on this machine; add --engine ray")


def ray_cluster(address: str | None, workers: int | None) -> Factory:
    """Candidates are evaluated on a Ray cluster."""
    if find_spec("ray") is None:
        raise ConfigError("the engine ray needs Ray, which is not installed; pip install 'anybudget[ray]'")
    from anybudget.evaluation.engines.ray import RayFactory

    return RayFactory(address, workers)


ENGINES: Registry[Callable[[str | None, int | None], Factory | None]] = Registry(
    "engine",
    "anybudget.engines",
    {"local": "anybudget.evaluation.engines:local", "ray": "anybudget.evaluation.engines:ray_cluster"},
)
"""Every engine by its name: given an address and a number of workers, what gives a run its engine."""
