"""Networks compiled by `torch.compile` where a trial of a few steps says that it pays: `CompiledForward`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from anybudget.errors import ConfigError, TrainingError, reason

log = logging.getLogger(__name__)

STEPS = 10
"""Steps of each kind that are timed in a trial."""

LEAST_SECONDS = 60.0
"""How long training has to take for a trial to be worth it: compiling alone takes about so long."""


@dataclass(frozen=True, slots=True)
class CompileTrial:
    """What a trial has found: seconds of a step, plain and compiled, and of compiling; `steps` are to come.

    Without `compiled_seconds` the network was not compiled, and `why` says why not.
    """

    steps: int
    plain_seconds: float
    compiled_seconds: float | None = None
    compile_seconds: float = 0.0
    why: str = ""

    @property
    def pays(self) -> bool:
        """Whether all steps to come, with the time that compiling takes, are faster compiled."""
        if self.compiled_seconds is None:
            return False
        return self.compile_seconds + self.steps * self.compiled_seconds < self.steps * self.plain_seconds

    def __str__(self) -> str:
        if self.compiled_seconds is None:
            return self.why
        return (
            f"a step takes {1000 * self.compiled_seconds:.3g} ms compiled and {1000 * self.plain_seconds:.3g} ms as it "
            f"is, compiling {self.compile_seconds:.3g} s, and there are {self.steps:,} steps"
        )


ChooseCompiled = Callable[[str, Callable[[], CompileTrial]], bool]
"""Decides whether a training of this name is compiled, given a trial that can be made."""


def as_the_trial_says(name: str, trial: Callable[[], CompileTrial]) -> bool:
    """Compile if it pays, and say so."""
    found = trial()
    log.info("%s: %s: %s", name, "compiled" if found.pays else "not compiled", found)
    return found.pays


class CompiledForward:
    """The forward of a network that is trained, compiled if `chosen`; whether it is belongs to the training's state.

    Every shape is compiled for itself, so what is computed does not depend on which came first, and a training that is
    resumed computes as before. Batches outside of training are computed by the network itself.

    Args:
        network: is left as it is; weights are shared.
        plain: computes where nothing is compiled.
    """

    def __init__(self, network: nn.Module, plain: Callable[[Tensor], Tensor]) -> None:
        self._network, self._plain = network, plain
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self.chosen = False

    def __call__(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]` of images `[B, C, H, W]`.

        Raises:
            ConfigError: the network cannot be compiled here.
        """
        if not self.chosen:
            return self._plain(images)
        from torch._dynamo.exc import TorchDynamoException

        try:
            if self._compiled is None:
                self._compiled = torch.compile(self._network, dynamic=False)
            return self._compiled(images)
        except TorchDynamoException as error:
            raise ConfigError(
                f"the network cannot be compiled here ({reason(error)}), and its training was begun so: mend what "
                'torch.compile misses, or set retrain.compile = "never" and train it again from the start'
            ) from error

    def state_dict(self) -> dict[str, Any]:
        """Whether steps are compiled."""
        return {"compiled": self.chosen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as `state_dict` says."""
        self.chosen = bool(state["compiled"])

    def trial(self, timed: Callable[[], float], steps: int) -> CompileTrial:
        """Time a few steps of each kind.

        Args:
            timed: does a step without a trace, and gives its seconds.
            steps: of all the training.
        """
        timed()
        plain = median(timed() for _ in range(STEPS))
        if plain * steps < LEAST_SECONDS:
            return CompileTrial(
                steps, plain, why=f"all {steps:,} steps take {plain * steps:.3g} s, and compiling alone takes longer"
            )
        self._plain, kept = self._insisting, self._plain
        try:
            first = timed()
            compiled = median(timed() for _ in range(STEPS))
        except TrainingError:
            raise
        except Exception as error:  # torch.compile meets what the system lacks in many ways
            return CompileTrial(steps, plain, why=f"torch.compile fails ({reason(error)})")
        finally:
            self._plain = kept
        return CompileTrial(steps, plain, compiled, max(0.0, first - compiled))

    def _insisting(self, images: Tensor) -> Tensor:
        """The compiled forward, in a trial: steps put back whether it was chosen."""
        self.chosen = True
        return self(images)


@contextmanager
def compiling() -> Iterator[None]:
    """Within, networks are compiled; what was, is forgotten afterwards, so that no number of networks is too many.

    A shape too many is an error instead of being computed otherwise.
    """
    import torch._dynamo as dynamo

    dynamo.reset()
    try:
        with dynamo.config.patch(fail_on_recompile_limit_hit=True):
            yield
    finally:
        dynamo.reset()
