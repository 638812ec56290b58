"""Data sets by path or by name: `load_splits`, and `identify`, which says what they are without decoding an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from anybudget.data.archives import has_idx_files, open_embedded, open_idx, open_npz
from anybudget.data.csv_files import list_csv, open_csv
from anybudget.data.folders import list_folder, open_folder
from anybudget.data.identity import Listing
from anybudget.data.layout import has_class_folders
from anybudget.data.protocol import DataSource
from anybudget.data.shards import has_shards, list_shards, open_shards
from anybudget.data.sources import FASHION_MNIST_SUBSET, SOURCES, DataSettings, FolderSettings, Reading, Source
from anybudget.data.splits import DataSplits, split_source
from anybudget.data.table_files import find_tables
from anybudget.data.tables import list_tables, open_tables
from anybudget.errors import DataError, MissingDataError, reason, shown

SourceKind = Literal["folder", "csv", "shards", "tables", "idx", "npz"]


def fashion_mnist_subset(settings: DataSettings) -> DataSplits:
    """The registered source "fashion-mnist-subset": 12,000 training and 2,000 test images, shipped with the package."""
    opened = open_embedded(settings.image_size)
    listing = opened.listing()
    return split_source(FASHION_MNIST_SUBSET, opened, settings, lambda: listing)


def load_splits(
    source: str,
    *,
    seed: int,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    image_size: int | None = None,
    skip_unreadable: int = 0,
    folders: FolderSettings | None = None,
) -> DataSource:
    """Load a data set and split it into training, validation and test images.

    `source` is the path of a folder of class folders of images, of a `.csv` file that lists images, of a folder of tar
    files with images, of a data set of Hugging Face (what `save_to_disk` wrote, or parquet files), of an `.npz`
    archive, or of a folder with the idx files of MNIST, or the name of a registered source, such as
    "fashion-mnist-subset", which is embedded. Parts that the source ships are used as they are. A
    missing test or validation part is drawn from the training part: of each class the given fraction, rounded, at least
    one image; of groups that a CSV names, whole ones, as near to that as they come. The same seed draws the same
    images, and without groups the test images do not depend on `validation_fraction`; images keep their order. With
    `image_size`, the shorter side is scaled to that many pixels, antialiased, and the centre square is cut; without,
    all images must have the same size. Of image files, up to `skip_unreadable` that cannot be decoded are left out,
    with a warning for each; splits are drawn as if these were not there. `folders` says more on how files are read, and
    where their images are while they are used. What a user should know though the data can be used, such as files that
    are not read, is logged as a warning.

    Raises:
        DataError: the source does not exist, is damaged or cannot be used; the message names the file, key or class.

    Example:
        >>> data = load_splits("fashion-mnist-subset", seed=0)
        >>> data.classes, data.input_shape
        (10, (1, 28, 28))
    """
    reading = folders.reading if folders else Reading()
    settings = DataSettings(seed, validation_fraction, test_fraction, image_size, reading=reading)
    if skip_unreadable < 0:
        raise DataError(f"skip_unreadable {skip_unreadable} must be 0 or more images")
    if source in SOURCES:
        return SOURCES[source](settings)
    kind, path = _located(source)
    if kind == "folder":
        opened = open_folder(path, image_size, skip_unreadable, folders)
    elif kind == "csv":
        opened = open_csv(path, image_size, skip_unreadable, folders)
    elif kind == "shards":
        opened = open_shards(path, image_size, skip_unreadable, folders or FolderSettings())
    elif kind == "tables":
        opened = open_tables(path, image_size, skip_unreadable, folders or FolderSettings())
    else:
        opened = _open_arrays(kind, path, image_size)
    return split_source(source, opened, settings, lambda: identify(source, image_size))


def identify(source: str, image_size: int | None = None) -> Listing:
    """What tells the data set `source` from others; of folders no image is opened, arrays are read.

    Raises:
        MissingDataError: there is nothing of that name.
        DataError: it is no data set, or its arrays cannot be used.
    """
    if source in SOURCES:
        return SOURCES[source](DataSettings(image_size=image_size)).listing()
    kind, path = _located(source)
    lists: dict[SourceKind, Callable[[Path], Listing]] = {
        "folder": list_folder,
        "csv": list_csv,
        "shards": list_shards,
        "tables": list_tables,
    }
    if kind in lists:
        return lists[kind](path)
    return _open_arrays(kind, path, image_size).listing()


def kind_of(source: str) -> tuple[SourceKind | Literal["registered"], Path]:
    """Which kind of data set `source` is, and where it lies; nothing of it is opened.

    Raises:
        MissingDataError: there is nothing of that name.
        DataError: it is no data set.
    """
    return ("registered", Path(source)) if source in SOURCES else _located(source)


def _open_arrays(kind: SourceKind, path: Path, image_size: int | None) -> Source:
    return open_idx(path, image_size) if kind == "idx" else open_npz(path, image_size)


def _located(source: str) -> tuple[SourceKind, Path]:
    """Which kind of source this is, and where it lies."""
    way_out = f"give the path of a folder, .npz, .csv or .parquet file, or {' or '.join(map(repr, SOURCES))}"
    try:
        path = Path(source).expanduser()
        there = bool(source) and path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a folder that is closed, no such user
        raise DataError(f"data.source: {shown(source)} cannot be looked up ({reason(error)}): {way_out}") from error
    if not there:
        if any(character in source for character in "\b\t\n\f\r"):
            way_out = f"in double quotes a backslash begins an escape; write '...' around a path with any, or {way_out}"
        raise MissingDataError(f"data.source: {shown(source)}: no such file or folder: {way_out}")
    if path.is_dir():
        if has_idx_files(path):
            return "idx", path
        if find_tables(path):
            return "tables", path
        if has_class_folders(path):
            return "folder", path
        if has_shards(path):
            return "shards", path
    kinds: dict[str, SourceKind] = {".npz": "npz", ".csv": "csv", ".parquet": "tables"}
    if not path.is_dir() and path.suffix.lower() in kinds:
        return kinds[path.suffix.lower()], path
    raise DataError(
        f"{source}: not recognised as a data set: give a folder with one folder of images per class, a folder of tar "
        "files with images, what save_to_disk of Hugging Face's datasets wrote, a folder of parquet files, a folder "
        "with train-images-idx3-ubyte and its labels, an .npz with arrays x and y, or a .csv with the columns path "
        "and label"
    )
