"""The files of a data set as they lie, with all that a loader would refuse: `Listed`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from anybudget.data import looking as loader
from anybudget.data.folders import list_folder
from anybudget.data.images import ImageFile, is_image
from anybudget.data.layout import entries, part_folders
from anybudget.data.overview.contents import SPLITS
from anybudget.data.sources import FolderSettings
from anybudget.errors import DataError


class ListedFile(NamedTuple):
    """An image file: where it is, what it is called, its class by number, the part it is shipped in, and its group."""

    file: ImageFile
    name: str
    label: int
    part: str
    group: str | None = None


@dataclass
class Listed:
    """The files of a data set; `ignored` are those that are not read, each with why."""

    class_names: tuple[str, ...]
    parts: tuple[str, ...]
    files: list[ListedFile] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def listed_folder(root: Path) -> Listed:
    """Class folders as they lie: classes are those of all parts, whether others lack them or not."""
    refused = []
    try:
        list_folder(root)
    except DataError as error:
        refused.append(str(error))
    shipped, notices = part_folders(root, FolderSettings.val)
    folders = {split: shipped[split] for split in SPLITS if split in shipped}
    inside = {part: [entry for entry in entries(folder) if entry.is_dir()] for part, folder in folders.items()}
    names = sorted({folder.name for found in inside.values() for folder in found}, key=str.encode)
    listed = Listed(tuple(names), tuple(folders), refused=refused, notices=notices)
    for part, folder in folders.items():
        for entry in entries(folder):
            if not entry.is_dir():
                listed.ignored.append((_name(root, entry), "lies outside of class folders"))
                continue
            for file in entries(entry):
                _add(listed, root, file, names.index(entry.name), part)
    return listed


def listed_files(found: loader.Listed) -> Listed:
    """The files that a CSV lists, or that shards hold, as the loader has found them."""
    listed = Listed(tuple(found.parts["train"]), tuple(found.parts), notices=list(found.notices))
    for part, classes in found.parts.items():
        for label, files in enumerate(classes.values()):
            for file in files:
                group = None if found.groups is None else found.groups[file]
                listed.files.append(ListedFile(file, found.relative(file), label, part, group))
    return listed


def _add(listed: Listed, root: Path, file: Path, label: int, part: str) -> None:
    """Add a file of a class folder, or say why it is not read."""
    if file.is_dir():
        listed.ignored.append((_name(root, file), "is a folder inside a class folder"))
    elif is_image(file):
        listed.files.append(ListedFile(file, _name(root, file), label, part))
    else:
        listed.ignored.append((_name(root, file), "has no name of an image that Pillow opens"))


def _name(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix()
