"""Data sets stored as folders of class folders of image files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from anybudget.data.identity import Listing, listing_of_files
from anybudget.data.images import (
    Survey,
    Target,
    UndecodableError,
    bounded,
    check_same_shape,
    common_target,
    decode,
    is_image,
    values_of,
)
from anybudget.data.layout import Aside, list_classes, part_folders
from anybudget.data.sources import FolderSettings, Part, Source, check_memory
from anybudget.data.values import Range, common_range
from anybudget.errors import DataError

log = logging.getLogger(__name__)


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
            be left out cannot be decoded, images differ in kind or (without `image_size`) in size, all pixels are
            equal, or they do not fit into memory.
    """
    settings = settings or FolderSettings()
    folders, listed, notices = _listed(root, settings)
    class_names = tuple(listed["train"])
    files = [file for classes in listed.values() for images in classes.values() for file in images]
    left_out = _LeftOut(skip_unreadable)
    with bounded():
        survey = _survey(files, left_out)
        target, said = common_target(survey, root, image_size, settings.channels)
        notices += said
        if image_size is not None:  # said before all images are decoded
            check_memory(str(root), len(files), (target.channels, image_size, image_size))
        if "deep" in survey.counts:
            ranges: list[Range] = []
            left_out.find(files, lambda file: ranges.append(values_of(file)))
            if ranges:
                found, notice = common_range(str(root), ranges, str(left_out.without(files)[0]))
                target = replace(target, value_range=found)
                notices.append(notice)
        elif skip_unreadable:
            left_out.find(files, partial(decode, target=target))
        listed = {
            part: {name: left_out.rest(folders[part] / name, images) for name, images in classes.items()}
            for part, classes in listed.items()
        }
        files = left_out.without(files)
        _, height, width = decode(files[0], target).shape
    check_memory(str(root), len(files), (target.channels, height, width))
    read = partial(_read_all, target=target, shape=(target.channels, height, width), first=files[0])
    parts = {part: _part(list(classes.values()), read) for part, classes in listed.items()}
    return Source(
        class_names,
        parts["train"],
        partial(list_folder, root),
        parts.get("validation"),
        parts.get("test"),
        tuple(file.relative_to(root) for file in left_out.files),
        target.value_range,
        tuple(notices),
    )


def list_folder(root: Path) -> Listing:
    """What is in a data set of class folders, without opening a file.

    Raises:
        DataError: there are no class folders, parts have different classes, or a class has no image.
    """
    _, listed, _ = _listed(root, FolderSettings())
    files = ((file, name) for classes in listed.values() for name, images in classes.items() for file in images)
    return listing_of_files(root, tuple(listed["train"]), files)


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


def _part(images_of_class: Sequence[Sequence[Path]], read: Callable[[list[Path]], Tensor]) -> Part:
    files = [file for images in images_of_class for file in images]
    counts = torch.tensor([len(images) for images in images_of_class])
    labels = torch.arange(len(counts)).repeat_interleave(counts)
    return Part(labels, lambda indices: read([files[index] for index in indices.tolist()]))


class _LeftOut:
    """The images that are left out because they cannot be decoded: at most `allowed`."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._files: set[Path] = set()

    def add(self, error: UndecodableError) -> None:
        """Leave one more image out and say so.

        Raises:
            DataError: no more may be left out, or trying again may help.
        """
        if error.passing or not self._allowed:
            raise error
        if len(self._files) == self._allowed:
            raise DataError(
                f"{error.said}, and {self._allowed} other image(s) have been left out already, as many as "
                "data.skip_unreadable allows: replace or remove these files, or raise data.skip_unreadable"
            ) from error
        self._files.add(error.file)
        log.warning("%s; left out", error.said)

    def find(self, files: Sequence[Path], look: Callable[[Path], object]) -> None:
        """Decode files with `look` and leave out those that cannot be, in their order.

        Raises:
            DataError: these are more than may be left out.
        """

        def fault(file: Path) -> UndecodableError | None:
            try:
                look(file)
            except UndecodableError as error:
                return error
            return None

        with ThreadPoolExecutor() as pool:
            for error in pool.map(fault, self.without(files)):
                if error is not None:
                    self.add(error)

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that are left out, sorted."""
        return tuple(sorted(self._files))

    def without(self, files: Iterable[Path]) -> list[Path]:
        """The files that are not left out."""
        return [file for file in files if file not in self._files]

    def rest(self, folder: Path, images: Sequence[Path]) -> list[Path]:
        """The images of a class folder that are not left out.

        Raises:
            DataError: there is none.
        """
        rest = self.without(images)
        if not rest:
            raise DataError(
                f"{folder}: none of the {len(images)} image(s) of this class can be decoded: replace them, or remove "
                "the folder"
            )
        return rest


def _survey(files: Sequence[Path], left_out: _LeftOut) -> Survey:
    """The kinds of all images, from their headers."""
    survey = Survey()
    for file in files:
        try:
            survey.add(file)
        except UndecodableError as error:
            left_out.add(error)
    return survey


def _read_all(files: Sequence[Path], target: Target, shape: tuple[int, ...], first: Path) -> Tensor:
    """Decode files to uint8 [N, C, H, W]; threads help because Pillow decodes without the interpreter lock."""
    images = torch.empty(len(files), *shape, dtype=torch.uint8)

    def store(index: int) -> None:
        image = decode(files[index], target)
        check_same_shape(files[index], image, shape, first)
        images[index] = image

    with bounded(), ThreadPoolExecutor() as pool:
        for _ in pool.map(store, range(len(files))):
            pass
    return images
