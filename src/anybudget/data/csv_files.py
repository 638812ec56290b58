"""Data sets stored as image files that a CSV lists."""

from __future__ import annotations

from pathlib import Path

from anybudget.data.csv_table import CsvTable, Row, read_csv
from anybudget.data.files import FolderFiles
from anybudget.data.identity import Listing, listing_of_files, names_in_order
from anybudget.data.images import ImageFile, is_image
from anybudget.data.layout import PART_FOLDERS
from anybudget.data.looking import Listed, source_of_files
from anybudget.data.sources import FolderSettings, Source
from anybudget.errors import DataError


def open_csv(
    path: Path, image_size: int | None, skip_unreadable: int = 0, settings: FolderSettings | None = None
) -> Source:
    """Read the images that a CSV lists; see `read_csv` for its columns.

    Classes are the labels, sorted as names of folders are; images are in the order of their paths, whatever that of the
    rows. Parts that the CSV says are used as they are: `val` of the settings has no say. All else is as `open_folder`
    says.

    Raises:
        DataError: rows cannot be used, with their lines; parts have different classes; or as `open_folder` says.
    """
    return source_of_files(in_csv(path), image_size, skip_unreadable, settings or FolderSettings())


def list_csv(path: Path) -> Listing:
    """What a CSV lists, without opening an image; an image's mark has its part where the CSV says it.

    Raises:
        DataError: rows cannot be used, or parts have different classes.
    """
    table = table_of(path)
    marked = ((row.file, f"{row.label} ({row.part})" if row.part else row.label) for row in table.rows)
    return listing_of_files(path.parent, table.class_names, marked)


def in_csv(path: Path) -> Listed:
    """The files that a CSV lists, unread.

    Raises:
        DataError: rows cannot be used, or parts have different classes.
    """
    return _InCsv(table_of(path))


def table_of(path: Path) -> CsvTable:
    """The table of a CSV whose parts all have all classes.

    Raises:
        DataError: it has not.
    """
    table = read_csv(path, is_image)
    for part, classes in rows_of(table).items():
        for name, rows in classes.items():
            if not rows:
                raise DataError(
                    f"{path}: no row of class {name!r} has the split {part}: give each split rows of every class"
                )
    return table


def rows_of(table: CsvTable) -> dict[str, dict[str, list[Row]]]:
    """The rows of each class of each part, in the order of their paths; all are in "train" where no part is said."""
    there = {row.part or "train" for row in table.rows}
    found: dict[str, dict[str, list[Row]]] = {
        part: {name: [] for name in table.class_names} for part in PART_FOLDERS if part in there
    }
    root = table.path.parent
    names = {row.file.relative_to(root).as_posix(): row for row in table.rows}
    for row in map(names.__getitem__, names_in_order(names)):
        found[row.part or "train"][row.label].append(row)
    return found


def _without_test(table: CsvTable) -> str:
    return (
        f"{table.path}: no row has the split test, so test images are drawn from those for training; say test of some "
        "to test on these"
    )


class _InCsv(Listed):
    """The files that a CSV lists."""

    def __init__(self, table: CsvTable) -> None:
        found = rows_of(table)
        said = () if "test" in found or "validation" not in found else (_without_test(table),)
        self.table, self.notices = table, (*table.notices, *said)
        self.parts = {
            part: {name: [row.file for row in rows] for name, rows in of.items()} for part, of in found.items()
        }
        self.groups = {row.file: row.group for row in table.rows} if table.grouped else None

    def __str__(self) -> str:
        return str(self.table.path)

    def relative(self, file: ImageFile) -> str:
        """See `Listed.relative`."""
        assert isinstance(file, Path)
        return file.relative_to(self.table.path.parent).as_posix()

    def class_place(self, part: str, name: str) -> str:
        """See `Listed.class_place`."""
        return f"{self.table.path}: class {name!r}, {part}"

    def files(self, files: list[Path]) -> FolderFiles:
        """See `Listed.files`."""
        return FolderFiles(self.table.path.parent, files)

    def listing(self) -> Listing:
        """See `Listed.listing`."""
        return list_csv(self.table.path)
