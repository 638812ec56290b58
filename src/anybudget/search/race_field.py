"""Those that race for the budgets of one answer: who is left, and in which order they came in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anybudget.architecture import Architecture
from anybudget.search.race_settings import Better
from anybudget.search.raced import Raced, Racer, Round


class Field:
    """The networks that race for one budget set: those that are `left` come first, then those that were left behind."""

    def __init__(self, networks: Sequence[Architecture]) -> None:
        self._first, self._order = list(networks), list(networks)
        self._left, self._rounds = len(networks), dict.fromkeys(networks, 0)

    @property
    def left(self) -> list[Architecture]:
        """Those that are still in the race, the best of the last round first."""
        return self._order[: self._left]

    @property
    def goes_on(self) -> bool:
        """Whether there is another round; a network alone runs one, so that every answer has weights of its own."""
        return self._left > 1 or not self._rounds[self._order[0]]

    def halve(self, keys: Mapping[Architecture, tuple[float, ...]]) -> None:
        """Note a round, and keep the better half by these keys; equals stay in their order."""
        for architecture in self.left:
            self._rounds[architecture] += 1
        self._order[: self._left] = sorted(self.left, key=lambda a: keys[a], reverse=True)
        self._left = (self._left + 1) // 2

    def result(self, by: Better, rounds: Mapping[Architecture, Sequence[Round]]) -> Raced:
        """What the race has come to; others may have known more rounds of a network than it has run here."""
        return Raced(
            by,
            tuple(Racer(a, self._first.index(a) + 1, tuple(rounds[a][: self._rounds[a]])) for a in self._order),
        )
