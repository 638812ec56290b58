"""What networks an answer is compared with, and how often each is trained."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from anybudget.settings import Count, Natural, Settings

FEWEST = 2
"""Random networks that a comparison needs: one has no spread."""


class WorthSettings(Settings):
    """`[worth]`: whether a run ends with trained comparisons, and how they are made.

    `random` networks of about the cost of each answer are trained beside it, each with `seeds` seeds; 0 leaves the
    stage out of a run. `scored` random networks are judged by the supernet, whose first is trained, too; 0 for none.
    `epochs` are those of `[retrain]` if 0. `picks` are positions in `search.budgets` from 1; none means all.
    """

    random: Natural = 0
    seeds: Count = 2
    scored: Natural = 200
    epochs: Natural = 0
    picks: list[Count] = Field(default=[])

    def problems(self, table: str) -> Iterator[str]:
        """See `Settings.problems`."""
        if 0 < self.random < FEWEST:
            yield f"{table}.random: {self.random} network has no spread; take {FEWEST} or more, or 0 for no comparison"
