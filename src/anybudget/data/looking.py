"""From listed image files to a source: what they have in common, and which of them cannot be decoded."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import torch

from anybudget.data.files import FileImages, ImageFiles
from anybudget.data.identity import Listing
from anybudget.data.images import (
    ImageFile,
    Survey,
    Target,
    UndecodableError,
    bounded,
    common_target,
    decode,
    header,
    values_of,
)
from anybudget.data.index import DataIndex, Findings
from anybudget.data.sources import FolderSettings, Reading, Source
from anybudget.data.values import Range, common_range
from anybudget.errors import DataError
from anybudget.runtime.progress import SilentProgress

log = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE = 512
"""Files that are handed to threads at a time."""


class Listed(ABC):
    """Image files that have been found, unread: `parts` has those of each class of each part, "train" the first."""

    parts: dict[str, dict[str, list[Any]]]
    notices: tuple[str, ...]
    groups: Mapping[Any, str] | None = None
    """The group of each file, where images of one group belong into one split."""

    @abstractmethod
    def __str__(self) -> str:
        """The data set, in messages."""

    @abstractmethod
    def relative(self, file: ImageFile) -> str:
        """The name of a file within the data set, with "/" on every system."""

    @abstractmethod
    def class_place(self, part: str, name: str) -> str:
        """Where the images of a class lie, in messages."""

    @abstractmethod
    def files(self, files: list[Any]) -> ImageFiles:
        """Some of the files in little memory."""

    @abstractmethod
    def listing(self) -> Listing:
        """What tells the data set from others."""


def source_of_files(listed: Listed, image_size: int | None, skip_unreadable: int, settings: FolderSettings) -> Source:
    """A source of image files; see `open_folder`.

    What an index says of these files is not looked for again.

    Raises:
        DataError: more images than may be left out cannot be decoded, a class has none left, images differ in kind, or
            all pixels are equal.
    """
    everything = listed.files(list(_all(listed.parts)))
    key = {
        "state": everything.state,
        "parts": {
            part: {name: len(images) for name, images in classes.items()} for part, classes in listed.parts.items()
        },
        "settings": [image_size, skip_unreadable, settings.val, settings.channels],
    }
    index = DataIndex(settings.reading.index, key, writes=settings.reading.writes)
    found = index.findings() or _look(listed, image_size, skip_unreadable, settings)
    gone = set(found.left_out)
    labels: list[int] = []
    rest: list[Any] = []
    parts: dict[str, torch.Tensor] = {}
    for part, classes in listed.parts.items():
        start = len(rest)
        for label, (name, images) in enumerate(classes.items()):
            there = [file for file in images if not gone or listed.relative(file) not in gone]
            _check_left(listed.class_place(part, name), images, there)
            labels += [label] * len(there)
            rest += there
        parts[part] = torch.arange(start, len(rest))
    target = Target(found.channels, image_size, found.value_range)
    shape = (found.channels, found.height, found.width)
    return Source(
        tuple(listed.parts["train"]),
        FileImages(listed.files(rest) if gone else everything, torch.tensor(labels), target, shape),
        parts["train"],
        listed.listing,
        parts.get("validation"),
        parts.get("test"),
        found.left_out,
        found.value_range,
        found.notices,
        found,
        index,
        None if listed.groups is None else numbered(listed.groups[file] for file in rest),
    )


def numbered(groups: Iterable[str]) -> torch.Tensor:
    """Groups as numbers from 0, in the order in which they come first: int64 [N]."""
    number: dict[str, int] = {}
    return torch.tensor([number.setdefault(group, len(number)) for group in groups])


def _all(parts: dict[str, dict[str, list[Any]]]) -> Iterator[Any]:
    return (file for classes in parts.values() for images in classes.values() for file in images)


def _look(listed: Listed, image_size: int | None, skip_unreadable: int, settings: FolderSettings) -> Findings:
    """What all images have in common, from their headers and, where that is needed, from decoding them."""
    files = list(_all(listed.parts))
    left_out, notices = _LeftOut(skip_unreadable), list(listed.notices)
    with bounded():
        survey = Survey()
        for file, seen in _each(files, header, f"{listed}: headers read", settings.reading):
            if isinstance(seen, UndecodableError):
                left_out.add(seen)
            else:
                survey.note(file, *seen)
        target, said = common_target(survey, str(listed), image_size, settings.channels)
        notices += said
        if "deep" in survey.counts:
            ranges: list[Range] = []
            left_out.find(files, lambda file: ranges.append(values_of(file)), listed, settings.reading)
            if ranges:
                value_range, notice = common_range(str(listed), ranges, str(left_out.without(files)[0]))
                target = replace(target, value_range=value_range)
                notices.append(notice)
        elif skip_unreadable:
            left_out.find(files, partial(decode, target=target), listed, settings.reading)
        for part, classes in listed.parts.items():
            for name, images in classes.items():
                _check_left(listed.class_place(part, name), images, left_out.without(images))
        channels, height, width = decode(left_out.without(files)[0], target).shape
    names = tuple(sorted(map(listed.relative, left_out.files), key=lambda name: name.split("/")))
    return Findings(channels, height, width, target.value_range, names, tuple(notices))


def _check_left(place: str, images: Sequence[Any], rest: Sequence[Any]) -> None:
    """Check that a class has images left.

    Raises:
        DataError: it has none.
    """
    if not rest:
        raise DataError(
            f"{place}: none of the {len(images)} image(s) of this class can be decoded: replace them, or remove the "
            "folder"
        )


def _each(
    files: Iterable[Any], look: Callable[[Any], T], what: str, reading: Reading
) -> Iterator[tuple[Any, T | UndecodableError]]:
    """What `look` finds in each file, in their order, or why it cannot be decoded; by threads."""

    def fault(file: Any) -> T | UndecodableError:
        try:
            return look(file)
        except UndecodableError as error:
            return error

    some = list(files)
    progress = reading.progress or SilentProgress()
    with ThreadPoolExecutor() as pool, progress.task(what, len(some)) as task:
        remaining = iter(some)
        while chunk := list(islice(remaining, AT_ONCE)):
            yield from zip(chunk, pool.map(fault, chunk), strict=True)
            task.advance(len(chunk))


class _LeftOut:
    """The images that are left out because they cannot be decoded: at most `allowed`."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self.files: set[Any] = set()

    def add(self, error: UndecodableError) -> None:
        """Leave one more image out and say so.

        Raises:
            DataError: no more may be left out, or trying again may help.
        """
        if error.passing or not self._allowed:
            raise error
        if len(self.files) == self._allowed:
            raise DataError(
                f"{error.said}, and {self._allowed} other image(s) have been left out already, as many as "
                "data.skip_unreadable allows: replace or remove these files, or raise data.skip_unreadable"
            ) from error
        self.files.add(error.file)
        log.warning("%s; left out", error.said)

    def find(self, files: Sequence[Any], look: Callable[[Any], object], listed: Listed, reading: Reading) -> None:
        """Decode files with `look` and leave out those that cannot be, in their order.

        Raises:
            DataError: these are more than may be left out.
        """
        for _, found in _each(self.without(files), look, f"{listed}: images decoded", reading):
            if isinstance(found, UndecodableError):
                self.add(found)

    def without(self, files: Iterable[Any]) -> list[Any]:
        """The files that are not left out."""
        return [file for file in files if file not in self.files] if self.files else list(files)
