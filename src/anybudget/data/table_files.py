"""Where a data set of Hugging Face lies on disk, found without its library: `find_tables`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from anybudget.data.layout import entries, part_named
from anybudget.errors import DataError

SAVED = (("dataset_dict.json",), ("dataset_info.json", "state.json"))
"""What `DatasetDict.save_to_disk` and `Dataset.save_to_disk` write into their folder."""


@dataclass(frozen=True)
class TableFiles:
    """A data set at `path`: the parquet files of each split, or none if `save_to_disk` wrote it."""

    path: Path
    parquet: dict[str, list[Path]]

    @property
    def state(self) -> str:
        """What changes when a file is added, removed, renamed or written to: SHA-256, in hexadecimal."""
        files = [file for files in self.parquet.values() for file in files] or sorted(self.path.rglob("*.arrow"))
        found = hashlib.sha256()
        for file in files:
            stat = file.stat()
            found.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return found.hexdigest()


def find_tables(path: Path) -> TableFiles | None:
    """A data set of Hugging Face at a path; None if there is none.

    Parquet files lie in the folder itself, or in the only one that it holds (`data`, or that of a configuration), and
    are named after their split (`train-00000-of-00002.parquet`), or lie in a folder of its name. Where none is named
    so, all are of the training split. A folder with other folders, such as those of classes, is none.

    Raises:
        DataError: there are several configurations.
    """
    if path.is_file():
        return TableFiles(path, {"train": [path]}) if path.suffix.lower() == ".parquet" else None
    if any(all((path / name).is_file() for name in names) for names in SAVED):
        return TableFiles(path, {})
    folders = {folder: _parquet(folder) for folder in entries(path) if folder.is_dir()}
    if not all(folders.values()):
        return None
    files = [] if folders else _parquet(path)
    if folders and all(part_named(folder.name) for folder in folders):
        return TableFiles(path, {folder.name: found for folder, found in folders.items()})
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise DataError(f"{path}: parquet files lie in the folders {names}: give the path of one of them")
    files = files or next(iter(folders.values()), [])
    return TableFiles(path, _by_split(files)) if files else None


def _parquet(folder: Path) -> list[Path]:
    return [file for file in entries(folder) if file.suffix.lower() == ".parquet" and file.is_file()]


def _by_split(files: list[Path]) -> dict[str, list[Path]]:
    """Files by the split that their names begin with."""
    named: dict[str, list[Path]] = {}
    for file in files:
        named.setdefault(re.split(r"[-_.]", file.stem)[0], []).append(file)
    return named if any(map(part_named, named)) else {"train": files}
