"""How class folders lie: which folder is which part, the images of each class, and what is left aside."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from anybudget.data.identity import in_order
from anybudget.errors import DataError, reason

PART_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What a folder of class folders is called, in any case of letters."""

ValRole = Literal["test", "validation"]
"""What the part `val` is where there is no `test`."""

T = TypeVar("T")


def part_named(name: str) -> str | None:
    """The part that a folder, a shard or a split of this name is; None if it is the name of none."""
    return next((part for part, names in PART_FOLDERS.items() if name.lower() in names), None)


def settle_val(found: dict[str, T], val: ValRole, where: str, names: Mapping[str, str]) -> list[str]:
    """Make `val` the test part where there is none and the settings say so; gives notices.

    Args:
        found: what was found of each part, which is changed.
        val: what the settings say.
        where: the data set, in messages.
        names: what each part is called.
    """
    if "test" in found or "validation" not in found:
        return []
    if val == "validation":
        return [
            f"{where}: there is no test part, so test images are drawn from {names['train']}; {names['validation']} "
            'stays the validation split, and data.val = "test" makes it the test split, as papers do with ImageNet'
        ]
    found["test"] = found.pop("validation")
    return [
        f"{where}: {names['validation']} is the test split, as data.val says, and validation images are drawn from "
        f"{names['train']}"
    ]


def check_classes(where: str, parts: Mapping[str, Mapping[str, object]]) -> None:
    """Require the classes of the training part in every part.

    Raises:
        DataError: a part lacks one, or has another.
    """
    for part, classes in parts.items():
        for name in sorted(set(classes) ^ set(parts["train"])):
            lacking = part if name not in classes else "train"
            said = f"the {lacking} part has no image of class {name!r}"
            raise DataError(f"{where}: {said}: give each part the same classes")


@dataclass
class Aside:
    """What lies in a data set and is not read, so that it can be said; hidden entries are left aside silently."""

    suffixes: Counter[str] = field(default_factory=Counter)
    nested: int = 0
    loose: int = 0
    examples: dict[str, Path] = field(default_factory=dict)

    def add(self, kind: str, file: Path) -> None:
        """Remember the first of a kind."""
        self.examples.setdefault(kind, file)

    def notices(self) -> list[str]:
        """One sentence for each kind: how many, an example, and the way out."""
        said = []
        if self.suffixes:
            counts = ", ".join(
                f"{count} {suffix or 'without a suffix'}" for suffix, count in self.suffixes.most_common()
            )
            said.append(
                f"not read, since Pillow opens no files of these names: {counts}, such as {self.examples['suffix']}; "
                "convert images among them to PNG or JPEG"
            )
        if self.nested:
            said.append(
                f"not read: {self.nested} image(s) in folders inside class folders, such as {self.examples['nested']}; "
                "move them up into the folder of their class"
            )
        if self.loose:
            said.append(
                f"not read: {self.loose} image(s) outside of class folders, such as {self.examples['loose']}; move "
                "them into the folder of their class"
            )
        return said


def has_class_folders(folder: Path) -> bool:
    """Whether a folder holds at least one folder that is not hidden."""
    return any(entry.is_dir() for entry in entries(folder))


def entries(folder: Path) -> list[Path]:
    """What a folder holds apart from hidden entries, sorted by name. Only ever one level, so links cannot loop."""
    try:
        return in_order(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({reason(error)}): check that it is a readable folder") from error


def part_folders(root: Path, val: ValRole) -> tuple[dict[str, Path], list[str]]:
    """The folder of each part that is shipped, and notices; `root` itself as "train" if it holds the class folders.

    With `train` and `val` but no `test`, test images are drawn from `train`. With `val` = "test", `val` is the test
    part, as papers use the validation images of ImageNet, and validation images are drawn.

    Raises:
        DataError: two folders are the same part.
    """
    found: dict[str, Path] = {}
    folders = [entry for entry in entries(root) if entry.is_dir()]
    for folder in folders:
        part = part_named(folder.name)
        if part is None or not has_class_folders(folder):
            continue
        if part in found:
            raise DataError(
                f"{root}: holds both {found[part].name} and {folder.name}: keep one of them, both mean the {part} part"
            )
        found[part] = folder
    if "train" not in found or len(found) == 1:
        return {"train": root}, []
    notices = []
    unused = [folder.name for folder in folders if folder not in found.values() and any(entries(folder))]
    if unused:
        notices.append(
            f"{root}: not used beside {found['train'].name}: {', '.join(map(repr, unused))}; parts are folders of "
            "class folders named train, val and test"
        )
    notices += settle_val(found, val, str(root), {part: folder.name for part, folder in found.items()})
    return found, notices


def list_classes(folder: Path, is_image: Callable[[Path], bool], aside: Aside) -> dict[str, list[Path]]:
    """The image files of each class folder, both sorted by name; what is no image of a class goes to `aside`.

    Raises:
        DataError: a class folder holds no image.
    """
    classes = {}
    for class_folder in entries(folder):
        if not class_folder.is_dir():
            if is_image(class_folder):
                aside.loose += 1
                aside.add("loose", class_folder)
            continue
        inside = entries(class_folder)
        folders = [entry for entry in inside if entry.is_dir()]
        files = [entry for entry in inside if not entry.is_dir()]
        images = [file for file in files if is_image(file)]
        if not images:
            way_out = (
                f"images must lie directly in it, but it holds the folder {folders[0].name!r}; if that is a class, "
                f"give {class_folder} as the data set"
                if folders
                else "add images in a format Pillow opens, or remove the folder"
            )
            raise DataError(f"{class_folder}: the class folder holds no image among {len(inside)} entries: {way_out}")
        for file in (file for file in files if not is_image(file)):
            aside.suffixes[file.suffix] += 1
            aside.add("suffix", file)
        for file in filter(is_image, _below(folders)):
            aside.nested += 1
            aside.add("nested", file)
        classes[class_folder.name] = images
    return classes


def _below(folders: Iterable[Path]) -> Iterable[Path]:
    """All files below some folders, those behind links left out, since links may loop."""
    for folder in folders:
        if folder.is_symlink():
            continue
        for path, inner, names in os.walk(folder):
            inner.sort()
            yield from (Path(path) / name for name in sorted(names) if not name.startswith("."))
