"""Loading the data of a run: those that were handed over, those of a registered source, or files."""

from __future__ import annotations

from pathlib import Path

from anybudget.data import SOURCES, DataSettings, DataSource, FolderSettings, Reading, load_splits
from anybudget.errors import ConfigError, MissingDataError
from anybudget.recipe import Recipe
from anybudget.recipe.registered import table_of
from anybudget.runs.data_identity import IN_PYTHON
from anybudget.runtime.progress import Progress
from anybudget.settings import settings_type
from anybudget.spaces import SearchSpace
from anybudget.storage.run_folder import RunFolder

INDEX = "data.index.json"
"""What looking at every image of the run's data has found."""


def placed(source: str) -> str:
    """Where data lie, wherever later commands are begun."""
    return source if source in (*SOURCES, IN_PYTHON) else str(Path(source).expanduser().absolute())


def registered_data(recipe: Recipe, source: str, run: Path) -> DataSource | None:
    """The data of a registered source; None if `source` names files.

    Raises:
        MissingDataError: they were handed over to whoever began the run, and have not been this time.
    """
    if source == IN_PYTHON:
        raise MissingDataError(
            f"{run}: its data were handed over in Python: hand the same over again, with "
            "Run.create(recipe, path, data=source) or Run.open(path, data=source)"
        )
    if source not in SOURCES:
        return None
    section = recipe.data
    size = recipe.space.input_size
    load = SOURCES[source]
    kind = settings_type(load)
    own = table_of(section, kind, source) if kind.model_fields else None
    return load(DataSettings(recipe.seed, section.validation_fraction, section.test_fraction, size, own))


def reading(recipe: Recipe, folder: RunFolder, progress: Progress) -> Reading:
    """How images are read: as the recipe says; what looking at all of them finds is kept in the run folder."""
    section = recipe.data
    return Reading(
        section.keep,
        None if section.readers == "auto" else section.readers,
        recipe.devices,
        section.patience,
        folder.path / INDEX,
        folder.writes and folder.exists(),
        progress,
    )


def load_files(recipe: Recipe, source: str, space: SearchSpace, how: Reading) -> DataSource:
    """The data in files, read as `how` says.

    Raises:
        DataError: they cannot be used.
    """
    section = recipe.data
    return load_splits(
        source,
        seed=recipe.seed,
        validation_fraction=section.validation_fraction,
        test_fraction=section.test_fraction,
        image_size=recipe.space.input_size,
        skip_unreadable=section.skip_unreadable,
        folders=FolderSettings(section.val, space.input_shape[0], how),
    )


def check_fit(data: DataSource, source: str, space: SearchSpace) -> None:
    """Check that the networks of a space take these data.

    Raises:
        ConfigError: they do not; says which keys of the recipe to set.
    """
    wrong = [
        f"space.{key}={found} (the recipe says {said})"
        for key, found, said in (
            ("input_channels", data.input_shape[0], space.input_shape[0]),
            ("classes", data.classes, space.classes),
        )
        if found != said
    ]
    if wrong:
        fewest = f"; {data.fewest()}" if data.classes > space.classes else ""
        raise ConfigError(f"{source}: this data set needs {' and '.join(wrong)}; set it with --set{fewest}")
    if data.input_shape != space.input_shape:
        height, width = data.input_shape[1:]
        raise ConfigError(
            f"{source}: its images are {width}×{height} pixels, and the networks of the recipe take "
            f"{space.input_shape[2]}×{space.input_shape[1]}; set space.input_size, or scale the images, as "
            "DataSettings(image_size=...) does"
        )
