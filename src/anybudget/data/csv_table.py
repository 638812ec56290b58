"""CSV files that list images: the columns `path` and `label`, and `split` and `group` where they are there."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath

from anybudget.data.identity import names_in_order
from anybudget.data.layout import PART_FOLDERS
from anybudget.errors import DataError, reason, shorten, shown
from anybudget.reading import UnreadableError, read_text

COLUMNS = ("path", "label", "split", "group")

NAMED = 10
"""Problems that a message has in full; the others are counted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image: the line that names it, from 1, its file, and what the columns say; `part` is "" where it is drawn."""

    line: int
    file: Path
    label: str
    part: str
    group: str


@dataclass(frozen=True)
class CsvTable:
    """The rows of a CSV file, and notices; every row is whole and no file comes twice."""

    path: Path
    rows: tuple[Row, ...]
    grouped: bool
    notices: tuple[str, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, sorted as the names of class folders are."""
        return tuple(names_in_order({row.label for row in self.rows}))


def read_csv(path: Path, is_image: Callable[[Path], bool]) -> CsvTable:
    """Read a CSV file that lists images, and check every row.

    The first line names the columns: `path`, relative to the CSV, and `label`, a class name. Where there is `split`, it
    is train, val or test (or another name that folders of parts may have), in every row or in none. Where there is
    `group`, images of the same group go into the same split.

    Args:
        path: the CSV, in UTF-8, with commas.
        is_image: whether a file is named like an image.

    Raises:
        DataError: the file cannot be read, a column is missing, or rows cannot be used; names their lines.
    """
    names, records = _records(path)
    root, problems, rows = path.parent, [], []
    split, group = "split" in names, "group" in names
    for line, record in records:
        if None in record.values() or None in record:
            problems.append(f"line {line}: does not have {len(names)} columns as the first line has")
            continue
        row = Row(line, root / record["path"], record["label"].strip(), _part(record), record.get("group", "").strip())
        rows.append(row)
        problems += _problems(row, record, root, is_image, grouped=group)
    split = split and any(row.part for row in rows)
    problems += _repeated(rows)
    problems += _across_parts(rows, split=split, grouped=group)
    _refuse(path, problems)
    if not rows:
        raise DataError(f"{path}: has no row below the names of its columns: add a line for each image")
    parts = {row.part for row in rows}
    if split and "train" not in parts:
        raise DataError(f"{path}: no row has the split train: say of some images that they are for training")
    others = [name for name in names if name not in COLUMNS]
    notices = [f"{path}: not read: the column(s) {', '.join(map(repr, others))}"] if others else []
    return CsvTable(path, tuple(rows), group, tuple(notices))


def _records(path: Path) -> tuple[Sequence[str], Iterator[tuple[int, dict[str, str]]]]:
    """The names of the columns, and each row with its line."""
    try:
        text = read_text(path).removeprefix("\ufeff")
        reader = csv.DictReader(StringIO(text), strict=True, skipinitialspace=True)
        names = [name.strip().lower() for name in reader.fieldnames or ()]
    except (OSError, UnreadableError, csv.Error) as error:
        raise DataError(f"{path}: the CSV cannot be read ({reason(error)}): write it again, in UTF-8") from None
    missing = [name for name in ("path", "label") if name not in names]
    doubled = [name for name in COLUMNS if names.count(name) > 1]
    if missing or doubled:
        wrong = f"lacks the column(s) {', '.join(missing)}" if missing else f"has the column {doubled[0]} twice"
        raise DataError(
            f"{path}: {wrong}, its first line is {shown(shorten(','.join(names)))}: begin it with path,label or "
            "path,label,split,group, with commas"
        )
    reader.fieldnames = names
    return names, _numbered(path, reader)


def _numbered(path: Path, reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str]]]:
    while True:
        before = reader.line_num
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}: line {before + 1}: {reason(error)}: mend its quotes") from None
        yield reader.line_num, record


def _part(record: dict[str, str]) -> str:
    """The part that a row is in, by any of its names; the word as it stands where it is none."""
    word = record.get("split", "").strip().lower()
    return next((part for part, words in PART_FOLDERS.items() if word in words), word)


def _problems(
    row: Row, record: dict[str, str], root: Path, is_image: Callable[[Path], bool], *, grouped: bool
) -> Iterator[str]:
    """What is wrong with one row."""
    name = PurePosixPath(record["path"].replace("\\", "/"))
    if not record["path"].strip():
        yield f"line {row.line}: has no path"
    elif name.is_absolute() or ".." in name.parts or Path(record["path"]).is_absolute():
        yield f"line {row.line}: {shown(record['path'])} leads out of the folder of the CSV, {root}"
    elif not is_image(row.file):
        yield f"line {row.line}: {shown(record['path'])} has no name of an image that Pillow opens"
    elif not row.file.is_file():
        yield f"line {row.line}: {shown(record['path'])} is no file in {root}"
    if not row.label:
        yield f"line {row.line}: has an empty label"
    if row.part and row.part not in PART_FOLDERS:
        yield f"line {row.line}: the split {shown(record['split'])} is none of train, val and test"
    if grouped and not row.group:
        yield f"line {row.line}: has an empty group"


def _repeated(rows: Iterable[Row]) -> Iterator[str]:
    """Rows that name a file which another one has named."""
    first: dict[Path, int] = {}
    for row in rows:
        if row.file in first:
            yield f"line {row.line}: names the file of line {first[row.file]} again"
        first.setdefault(row.file, row.line)


def _across_parts(rows: Sequence[Row], *, split: bool, grouped: bool) -> Iterator[str]:
    """Rows without a split among others with one, and groups in two parts."""
    if not split:
        return
    first: dict[str, Row] = {}
    for row in rows:
        if not row.part:
            yield f"line {row.line}: has an empty split, and other rows have one"
        elif grouped and row.group:
            before = first.setdefault(row.group, row)
            if before.part != row.part:
                yield (
                    f"line {row.line}: the group {shown(row.group)} is in {row.part} here and in {before.part} in line "
                    f"{before.line}"
                )


def _refuse(path: Path, problems: Sequence[str]) -> None:
    """Refuse a CSV with problems."""
    if problems:
        more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise DataError(f"{path}: {'; '.join(problems[:NAMED])}{more}: mend these lines or remove them")
