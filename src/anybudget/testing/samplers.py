"""The conformance check of path samplers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from anybudget.errors import ArchitectureError
from anybudget.spaces import PathEncoding, SearchSpace
from anybudget.training.samplers import PathSampler

MakeSampler = Callable[[SearchSpace], PathSampler]
"""Makes a sampler that has not been asked for anything yet, the same one every time."""

_CALLS = 40
"""How often samplers that are compared are asked for paths."""


def check_sampler(
    make_sampler: MakeSampler, space: SearchSpace, *, scores: bool = False, most: int = 5000, seed: int = 0
) -> None:
    """Check everything that supernet training relies on in a path sampler.

    Paths are encodings of the space, and there is always another. They follow from the seed and the losses alone, and
    differ between seeds. Every choice that an architecture can have is trained. Losses are asked for by encoding, all
    of a round at once, and only by samplers that use them. `finished` is a truth value. A sampler that is given
    another's `state_dict`, as JSON, continues as that one does.

    Args:
        make_sampler: makes the sampler with settings so small that 40 calls of `paths` see all that it does.
        space: a small space; its networks are enumerated.
        scores: whether the sampler looks at losses of paths.
        most: within how many paths every choice of every decision has to come.
        seed: draws paths and losses.

    Raises:
        AssertionError: says what does not hold.
    """

    def fresh(number: int = 0) -> _Asked:
        return _Asked(make_sampler(space), space, scores=scores, seed=seed, number=number)

    first, second, other = runs = fresh(), fresh(), fresh(1)
    drawn = [[run.paths() for _ in range(_CALLS)] for run in runs]
    assert drawn[0] == drawn[1], "paths() must depend on nothing but the generator and the losses"
    assert first.scored == second.scored, "what is scored must depend on nothing but the generator and the losses"
    assert first.scored or not scores, f"{_CALLS} calls of paths() asked for no losses; is scores=True right?"
    assert space.networks() == 1 or drawn[0] != drawn[2], "another seed draws the same paths"
    _check_reach(other, space, most)
    for calls in (0, 1, _CALLS // 2, _CALLS):
        _check_copy(fresh, calls)


class _Asked:
    """A sampler, the losses that it sees, and checks of everything it says; `number` tells seeds of paths apart."""

    def __init__(self, sampler: PathSampler, space: SearchSpace, *, scores: bool, seed: int, number: int) -> None:
        self.sampler = sampler
        self.rng = np.random.default_rng([seed, number])
        self.scored: list[list[PathEncoding]] = []
        self.visited: list[set[int]] = [set() for _ in space.decisions]
        self._space, self._scores = space, scores
        worth = np.random.default_rng(seed)
        self._worth = [worth.random((d.slots, len(d.operations))) for d in space.decisions]

    def paths(self) -> list[PathEncoding]:
        """The next paths of the sampler."""
        before = len(self.scored)
        paths = self.sampler.paths(self.rng, self._losses)
        calls = len(self.scored) - before
        assert calls <= 1, f"one call of paths() asked for losses {calls} times; all of a round are scored together"
        assert paths, "paths() gave none, and training would ask for ever"
        for path in paths:
            for visited, choice in zip(self.visited, self._choices(path), strict=True):
                visited.add(choice)
        assert isinstance(self.finished, bool), f"finished is {self.finished!r}, no truth value"
        return paths

    @property
    def finished(self) -> bool:
        """What the sampler says."""
        return self.sampler.finished

    def _losses(self, paths: Sequence[PathEncoding]) -> list[float]:
        """The same for the same path, and another for every other."""
        assert self._scores, "the sampler asked for losses, but was said not to look at any (scores=False)"
        assert paths, "the sampler asked for the losses of no paths"
        for path in paths:
            self._choices(path)
        self.scored.append(list(paths))
        return [
            sum(
                float(row[operation])
                for table, operations in zip(self._worth, path.operations, strict=True)
                for row, operation in zip(table, operations, strict=True)
            )
            for path in paths
        ]

    def _choices(self, path: PathEncoding) -> tuple[int, ...]:
        """The choices of the network that a path spells, which has to be one of the space."""
        assert isinstance(path, PathEncoding), f"{path!r} is no PathEncoding"
        try:
            architecture = self._space.canonical(path)
            self._space.validate(architecture)
        except ArchitectureError as error:
            raise AssertionError(f"{path} is not of the space: {error}") from error
        return architecture.choices


def _check_reach(asked: _Asked, space: SearchSpace, most: int) -> None:
    """Go on until every choice of every decision came; canonical forms do not have all (identities that move)."""
    wanted = [set(choices) for choices in zip(*(a.choices for a in space.enumerate()), strict=True)]
    count = 0
    while asked.visited != wanted and count < most:
        count += len(asked.paths())
    for decision, visited, choices in zip(space.decisions, asked.visited, wanted, strict=True):
        missed = [decision.choices[choice] for choice in sorted(choices - visited)]
        assert not missed, f"{decision.name}: {most} paths never came to {missed} of {', '.join(decision.operations)}"


def _check_copy(fresh: Callable[[], _Asked], calls: int) -> None:
    """Copy a sampler through JSON after some calls; both then go on alike, and the state stays what it was."""
    when = f"after {calls} calls of paths()"
    original, other = fresh(), fresh()
    for _ in range(calls):
        original.paths()
    state = original.sampler.state_dict()
    saved = _through_json(state)
    other.sampler.load_state_dict(_through_json(state))
    other.rng = copy.deepcopy(original.rng)
    assert _through_json(other.sampler.state_dict()) == saved, (
        f"a state_dict() from {when} is another once it has been loaded"
    )
    assert other.finished == original.finished, f"finished {when} is another in a copy"
    for _ in range(_CALLS // 2):
        assert other.paths() == original.paths(), f"a copy made {when} goes on with other paths"
        assert other.finished == original.finished, f"a copy made {when} does not finish with its original"
    # Whoever keeps a state may do so in memory, and load it later.
    assert _through_json(state) == saved, "state_dict() changes with the sampler that gave it"


def _through_json(state: object) -> Any:
    try:
        return json.loads(json.dumps(state))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"state_dict() is no plain data: {error}") from error
