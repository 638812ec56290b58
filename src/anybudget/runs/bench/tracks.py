"""Tracks of `anybudget bench`: a recipe, how many images it takes, and which strategies answer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from anybudget.errors import ConfigError, shown
from anybudget.recipe import Recipe, read_recipe, settled_recipe
from anybudget.recipe.problems import problems
from anybudget.search import STRATEGIES
from anybudget.settings import Images, Natural, Settings
from anybudget.storage.toml import read_value
from anybudget.tabular import TABLES

COST = "table_macs"
"""The cost that budgets limit: multiply-adds of the full network, as the table counts them."""


class TrackSettings(Settings):
    """`[track]`: how many images a supernet trains on and is judged by, and the strategies that answer; all if none.

    `scored` is how many networks, drawn once for all seeds, are scored to say how well the supernet orders networks;
    0 scores all. What takes the scores of all, such as the best of all networks by them, is then left out.
    """

    train_images: Images
    validation_images: Images
    scored: Natural = 0
    strategies: list[str] = Field(default=[])

    @property
    def names(self) -> list[str]:
        """The strategies by name."""
        return self.strategies or list(STRATEGIES)


class TrackFile(Settings):
    """What the file of a track has besides the recipe."""

    track: TrackSettings


@dataclass(frozen=True)
class Track:
    """A track that has been read: its name, its settings, and its recipe but for data and costs.

    Args:
        benchmark: the name of its space.
        name: as it was asked for.
        path: the file.
        settings: its table `[track]`.
        data: plain data.
        overrides: of the recipe, such as `supernet.epochs=3`.
    """

    benchmark: str
    name: str
    path: Path
    settings: TrackSettings
    data: dict[str, Any]
    overrides: tuple[str, ...] = ()

    def recipe(self, seed: int, images: Path, costs: Path) -> Recipe:
        """The recipe of one seed, on the images of an archive, with the costs of a table.

        Raises:
            ConfigError: a key is unknown or a value is wrong.
        """
        whole, count = self.settings, self.settings.train_images + self.settings.validation_images
        given = {
            **deepcopy(self.data),  # overrides change it in place
            "seed": seed,
            "data": {"source": str(images.absolute()), "validation_fraction": whole.validation_images / count},
            "costs": {COST: {"kind": "table", "file": str(costs.absolute())}},
        }
        return settled_recipe(given, self.path, self.overrides)


def load_track(benchmark: str, name: str, overrides: Sequence[str] = ()) -> Track:
    """A track of a benchmark: one that is packaged, by its name, or a TOML file.

    Args:
        benchmark: the name of a space that has a table.
        name: such as `quick`, or the path of a file.
        overrides: of keys of the recipe, and of `track.KEY`.

    Raises:
        ConfigError: there is no such benchmark or track, it is of another benchmark, its table `[track]` is wrong, or a
            strategy is not registered.
    """
    if benchmark not in TABLES:
        close = get_close_matches(benchmark, TABLES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(TABLES)}"
        raise ConfigError(f"{shown(benchmark)} is no tabular benchmark; {hint}")
    path = _located(benchmark, name)
    data = read_recipe(path)
    table = data.pop("track", {})
    own = [override for override in overrides if override.strip().startswith("track.")]
    if isinstance(table, dict):
        table |= dict(_override(override) for override in own)
    try:
        settings = TrackFile.model_validate({"track": table}).track
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(problems(error, TrackFile))}") from None
    for strategy in settings.names:
        _ = STRATEGIES[strategy]  # an unknown name is said to be one before any work
    space = data.get("space")
    if not isinstance(space, dict) or space.get("name") != benchmark:
        found = space.get("name") if isinstance(space, dict) else None
        raise ConfigError(f"{path}: space.name: the track is of {shown(found)}, not of {benchmark}; give one that is")
    rest = tuple(override for override in overrides if override not in own)
    return Track(benchmark, name, path, settings, data, rest)


def packaged_tracks(benchmark: str) -> dict[str, Path]:
    """The tracks of a benchmark that come with the package, by name."""
    folder = resources.files("anybudget") / "tracks"
    found = sorted(Path(str(folder)).glob(f"{benchmark}-*.toml"))
    return {path.stem.removeprefix(f"{benchmark}-"): path for path in found}


def _located(benchmark: str, name: str) -> Path:
    known = packaged_tracks(benchmark)
    if name in known:
        return known[name]
    if name.endswith(".toml"):
        return Path(name)
    names = " or ".join(known) or "none"
    raise ConfigError(f"--track {shown(name)}: {benchmark} has {names}; give one of these, or the path of a .toml file")


def _override(override: str) -> tuple[str, Any]:
    """The key of `[track]` that an override sets, and its value."""
    key, separator, text = override.partition("=")
    name = key.strip().removeprefix("track.")
    field = TrackSettings.model_fields.get(name)
    if not separator or field is None:
        known = ", ".join(f"track.{known}" for known in TrackSettings.model_fields)
        raise ConfigError(f"--set {shown(override)}: known are {known}")
    return name, read_value(key.strip(), text, field.annotation)
