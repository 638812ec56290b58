"""Data sets stored as folders of class folders of image files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anybudget.data.files import FolderFiles
from anybudget.data.identity import Listing, listing_of_files
from anybudget.data.images import ImageFile, is_image
from anybudget.data.layout import Aside, list_classes, part_folders
from anybudget.data.looking import Listed, source_of_files
from anybudget.data.sources import FolderSettings, Source
from anybudget.errors import DataError


def open_folder(
    root: Path, image_size: int | None, skip_unreadable: int = 0, settings: FolderSettings | None = None
) -> Source:
    """Read class folders of images, either in `root` or in its folders `train` and `test` and/or `val`.

    Classes are the folder names, sorted. Hidden entries are ignored; everything else that is not read is named in
    notices. `settings` say what `val` is and how many channels are wanted. Grey images give 1 channel, colour and
    palette images 3, a mixture 3 if that is wanted. Grey values of more than 8 bits (modes I;16, I and F) are scaled by
    the range over all images of all parts. `decode` says what else is done to an image.

    Up to `skip_unreadable` images that cannot be decoded, of all parts together, are left out as if they were not
    there; a warning names each. To find them before anything is drawn, all images are decoded once more.

    Raises:
        DataError: there are no class folders, parts have different classes, a class has no image, more images than may
            be left out cannot be decoded, images differ in kind, or all pixels are equal.
    """
    settings = settings or FolderSettings()
    folders, listed, notices = _listed(root, settings)
    return source_of_files(_InFolders(root, folders, listed, tuple(notices)), image_size, skip_unreadable, settings)


def list_folder(root: Path) -> Listing:
    """What is in a data set of class folders, without opening a file.

    Raises:
        DataError: there are no class folders, parts have different classes, or a class has no image.
    """
    _, listed, _ = _listed(root, FolderSettings())
    files = ((file, name) for classes in listed.values() for name, images in classes.items() for file in images)
    return listing_of_files(root, tuple(listed["train"]), files)


def listed_files(root: Path) -> dict[str, dict[str, list[Path]]]:
    """The image files of each class of each part, by the name of the part's folder: "" where there is one part.

    Raises:
        DataError: as in `list_folder`.
    """
    folders, listed, _ = _listed(root, FolderSettings())
    names = {part: "" if folder == root else folder.name for part, folder in folders.items()}
    return {names[part]: classes for part, classes in listed.items()}


@dataclass(frozen=True)
class _InFolders(Listed):
    """Files in class folders."""

    root: Path
    folders: dict[str, Path]
    parts: dict[str, dict[str, list[Path]]]
    notices: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.root)

    def relative(self, file: ImageFile) -> str:
        """See `Listed.relative`."""
        assert isinstance(file, Path)
        return file.relative_to(self.root).as_posix()

    def class_place(self, part: str, name: str) -> str:
        """See `Listed.class_place`."""
        return str(self.folders[part] / name)

    def files(self, files: list[Path]) -> FolderFiles:
        """See `Listed.files`."""
        return FolderFiles(self.root, files)

    def listing(self) -> Listing:
        """See `Listed.listing`."""
        return list_folder(self.root)


def _listed(
    root: Path, settings: FolderSettings
) -> tuple[dict[str, Path], dict[str, dict[str, list[Path]]], list[str]]:
    """The folder of each part, its images class by class, and notices."""
    folders, notices = part_folders(root, settings.val)
    aside = Aside()
    listed = {part: list_classes(folder, is_image, aside) for part, folder in folders.items()}
    for part, classes in listed.items():
        for name in sorted(set(classes) ^ set(listed["train"])):
            lacking = folders[part] if name not in classes else folders["train"]
            raise DataError(f"{lacking}: the class folder {name!r} is missing: give each part the same classes")
    return folders, listed, notices + aside.notices()
