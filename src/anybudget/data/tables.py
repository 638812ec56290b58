"""Data sets of Hugging Face on disk: what `save_to_disk` wrote, and parquet files; their images are read row by row."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from anybudget.data.datasets import IMAGE_COLUMNS, LABEL_COLUMNS, column_of
from anybudget.data.files import ImageFiles
from anybudget.data.identity import Entry, Listing, in_byte_order, names_in_order, normal
from anybudget.data.images import ImageFile
from anybudget.data.layout import ValRole, check_classes, part_named, settle_val
from anybudget.data.looking import Listed, source_of_files
from anybudget.data.sources import FolderSettings, Source
from anybudget.data.table_files import TableFiles, find_tables
from anybudget.errors import DataError, reason, shorten
from anybudget.runtime.optional import optional

ROWS = 1000
"""Rows whose sizes are looked up at a time."""


@dataclass(frozen=True, eq=False)
class Table:
    """A part of a data set: what it is called, its rows, as `datasets` has them, and the columns that are used.

    Images are in the column `image`, encoded or as paths relative to `root`.
    """

    name: str
    root: Path
    rows: Any
    image: str
    label: str

    def encoded(self, row: int) -> bytes:
        """An image as a file has it.

        Raises:
            DataError: the column does not hold encoded images.
            OSError: it is in a file that cannot be read.
        """
        value = self.rows[row][self.image]
        if isinstance(value, dict) and value.get("bytes") is None and value.get("path"):
            return Path(self.root, value["path"]).read_bytes()
        content = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(content, bytes):
            return content
        said = "nothing" if value is None else f"a value of type {type(value).__name__}"
        raise DataError(
            f"{self.root}: {self.name} row {row}: the column {self.image!r} holds {said} instead of an encoded image: "
            "store images with the feature Image of datasets, or give the loaded data set to from_dataset"
        )


@dataclass(frozen=True, slots=True)
class TableImage:
    """An image of a row; see `ImageFile`."""

    table: Table
    row: int

    def __str__(self) -> str:
        return f"{self.table.root}: {self.table.name} row {self.row}"

    def open(self, _mode: Literal["rb"], /) -> BinaryIO:
        """Its bytes; see `ImageFile`."""
        return io.BytesIO(self.table.encoded(self.row))


def open_tables(path: Path, image_size: int | None, skip_unreadable: int, settings: FolderSettings) -> Source:
    """Read what `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote, or parquet files, with `datasets`.

    The columns are those of `from_dataset`. Everything else is as in `open_folder`.

    Raises:
        ConfigError: `datasets` is not installed.
        DataError: it cannot be read, has no column of images or of labels, parts have different classes, or as in
            `open_folder`.
    """
    return source_of_files(in_tables(path, settings.val), image_size, skip_unreadable, settings)


def list_tables(path: Path) -> Listing:
    """What is in the tables, without decoding an image; see `open_tables`.

    Raises:
        ConfigError: `datasets` is not installed.
        DataError: as in `open_tables`.
    """
    return in_tables(path).listing()


def in_tables(path: Path, val: ValRole = "validation") -> InTables:
    """All images of the tables at a path, class by class in each part; see `open_tables`."""
    stored = find_tables(path)
    if stored is None:
        raise DataError(f"{path}: holds no data set of Hugging Face and no parquet files")
    found, notices = _parts(path, _loaded(stored))
    parts: dict[str, dict[str, list[TableImage]]] = {}
    for part, table in found.items():
        classes, said = _by_class(table)
        notices += said
        if classes:
            parts[part] = classes
    if "train" not in parts:
        raise DataError(f"{path}: the training part has no row with a label: add labels")
    notices += settle_val(parts, val, str(path), {part: table.name for part, table in found.items()})
    check_classes(str(path), parts)
    return InTables(path, parts, tuple(notices), stored)


@dataclass(frozen=True)
class InTables(Listed):
    """Images in rows of tables."""

    root: Path
    parts: dict[str, dict[str, list[TableImage]]]
    notices: tuple[str, ...]
    stored: TableFiles = field(repr=False)

    def __str__(self) -> str:
        return str(self.root)

    def relative(self, file: ImageFile) -> str:
        """See `Listed.relative`."""
        assert isinstance(file, TableImage)
        return f"{file.table.name}/{file.row}"

    def class_place(self, part: str, name: str) -> str:
        """See `Listed.class_place`."""
        return f"{self.root}: class {name!r} of the {part} part"

    def files(self, files: list[TableImage]) -> RowFiles:
        """See `Listed.files`."""
        return RowFiles(files, self.stored)

    def listing(self) -> Listing:
        """See `Listed.listing`."""
        sizes: dict[Table, Sequence[int]] = {}
        found = []
        for classes in self.parts.values():
            for name, images in classes.items():
                for image in images:
                    of_table = sizes.get(image.table)
                    if of_table is None:
                        of_table = sizes[image.table] = _sizes(image.table)
                    found.append(Entry(self.relative(image), int(of_table[image.row]), normal(name)))
        return Listing("files", tuple(map(normal, self.parts["train"])), in_byte_order(found))


class RowFiles(ImageFiles):
    """Rows of tables, in little memory.

    Nothing is checked when a row is read: the files are mapped into memory, so they stay readable when they are
    removed, and a new file of the same name is not seen.
    """

    def __init__(self, images: Sequence[TableImage], stored: TableFiles) -> None:
        self._tables = list(dict.fromkeys(image.table for image in images))
        number = {table: place for place, table in enumerate(self._tables)}
        self._places = np.fromiter((number[image.table] for image in images), "<i2", len(images))
        self._rows = np.fromiter((image.row for image in images), "<i8", len(images))
        self._stored = stored

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> TableImage:
        return TableImage(self._tables[self._places[index]], int(self._rows[index]))

    def check(self, index: int) -> None:
        """See `ImageFiles.check`, and above."""

    @property
    def state(self) -> str:
        """See `ImageFiles.state`."""
        return hashlib.sha256(self._stored.state.encode() + self._places.tobytes() + self._rows.tobytes()).hexdigest()


def _loaded(stored: TableFiles) -> dict[str, Any]:
    """The tables by name, loaded with `datasets`: mapped into memory, not read."""
    datasets = optional("datasets", f"{stored.path}: a data set of Hugging Face, which", "anybudget[hf]")
    try:
        if stored.parquet:
            load = datasets.Dataset.from_parquet
            return {name: load(list(map(str, files)), split=name) for name, files in stored.parquet.items()}
        found = datasets.load_from_disk(str(stored.path))
    except Exception as error:  # the library's, pyarrow's and the system's
        raise DataError(
            f"{stored.path}: datasets {datasets.__version__} cannot read it ({reason(error)}): write it again"
        ) from error
    return dict(found) if isinstance(found, dict) else {"train": found}


def _parts(path: Path, tables: dict[str, Any]) -> tuple[dict[str, Table], list[str]]:
    """The table of each part; all of them are the training part where there is one alone."""
    meant = {name: part_named(name) for name in tables}
    if "train" not in meant.values():
        if len(tables) > 1:
            raise DataError(
                f"{path}: has the splits {', '.join(tables)}, and none of them is train: name that of training so"
            )
        meant = dict.fromkeys(tables, "train")
    unused = [name for name, part in meant.items() if part is None]
    notices = [f"{path}: not used beside the parts: {', '.join(unused)}"] if unused else []
    found: dict[str, Table] = {}
    for part in ("train", "validation", "test"):
        names = [name for name, meaning in meant.items() if meaning == part]
        if len(names) > 1:
            raise DataError(f"{path}: holds both {names[0]} and {names[1]}, which mean the {part} part: keep one")
        if names:
            found[part] = _table(path, names[0], tables[names[0]])
    return found, notices


def _table(path: Path, name: str, rows: Any) -> Table:
    """A table whose images stay encoded."""
    image = column_of(rows, IMAGE_COLUMNS, "images", "Image")
    label = column_of(rows, LABEL_COLUMNS, "labels", "ClassLabel")
    rows = rows.with_format(None)
    if type(rows.features[image]).__name__ == "Image":
        features = optional("datasets", str(path), "anybudget[hf]")
        rows = rows.cast_column(image, features.Image(decode=False))
    root = path if path.is_dir() else path.parent
    return Table(name, root, rows, image, label)


def _by_class(table: Table) -> tuple[dict[str, list[TableImage]], list[str]]:
    """The images of each class of a table, and notices; none where no row has a label, as in some test parts."""
    labels = table.rows.select_columns([table.label])[:][table.label]
    missing = [row for row, label in enumerate(labels) if label is None or label == -1]
    if len(missing) == len(labels):
        return {}, [f"{table.root}: {table.name} is not used: none of its {len(labels)} rows has a label"]
    if missing:
        raise DataError(
            f"{table.root}: {table.name} row {missing[0]} has no label, as {len(missing) - 1} more: remove these rows"
        )
    known = getattr(table.rows.features[table.label], "names", None)
    kinds = Counter(type(label).__name__ for label in labels)
    if set(kinds) not in ({"int"}, {"str"}):
        raise DataError(
            f"{table.root}: {table.name}: the column {table.label!r} holds values of type {shorten(', '.join(kinds))}: "
            "store numbers of classes, or their names"
        )
    order: Iterable[Any] = names_in_order(set(labels)) if "str" in kinds else sorted(set(labels))
    name_of = partial(_class_name, known)
    classes: dict[str, list[TableImage]] = {name_of(label): [] for label in order}
    for row, label in enumerate(labels):
        classes[name_of(label)].append(TableImage(table, row))
    unused = [name for name in known or () if name not in classes]
    said = f"{table.root}: {table.name} has no image of the class(es) {shorten(', '.join(unused))}"
    return classes, [said] if unused else []


def _class_name(known: Sequence[str] | None, label: int | str) -> str:
    return known[label] if known and isinstance(label, int) else str(label)


def _sizes(table: Table) -> Sequence[int]:
    """The bytes of each encoded image, without reading any of those that are in the table itself."""
    compute = optional("pyarrow.compute", str(table.root), "anybudget[hf]")
    sizes: list[int] = []
    for batch in table.rows.select_columns([table.image]).with_format("arrow").iter(ROWS):
        column = batch.column(0).combine_chunks()
        content = compute.struct_field(column, "bytes") if str(column.type).startswith("struct") else column
        sizes += [-1 if size is None else size for size in compute.binary_length(content).to_pylist()]
    return sizes
