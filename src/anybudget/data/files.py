"""Image files of a data set, in little memory however many there are: `ImageFiles`, and reading them, `FileImages`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from anybudget.data.images import ImageFile, Target, UndecodableError, bounded, check_same_shape, decode, upright
from anybudget.data.stored import StoredImages
from anybudget.errors import DataError

GOES_ON = "then give the same command again, and it goes on from what was saved"


class PackedNames:
    """Many texts in one block of memory, which processes share: a list of them would be copied, bit by bit, by each."""

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [name.encode(errors="surrogateescape") for name in names]
        self._ends = np.cumsum([0, *map(len, encoded)])
        self._block = b"".join(encoded)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._block[self._ends[index] : self._ends[index + 1]].decode(errors="surrogateescape")

    @property
    def digest(self) -> str:
        """SHA-256 of all of them, in hexadecimal."""
        return hashlib.sha256(self._ends.astype("<i8").tobytes() + self._block).hexdigest()


class ImageFiles(ABC):
    """Where the images of a data set are read from, in order."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> ImageFile: ...

    @abstractmethod
    def check(self, index: int) -> None:
        """Check that a file is as it was when the data set was opened.

        Raises:
            DataError: it is gone, or has changed its size.
        """

    @property
    @abstractmethod
    def state(self) -> str:
        """What changes when a file is added, removed, renamed or written to: SHA-256, in hexadecimal."""


class FolderFiles(ImageFiles):
    """Files below a folder.

    Args:
        root: the folder.
        files: paths that begin with it.
    """

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._root = root
        self._names = PackedNames(file.relative_to(root).as_posix() for file in files)
        self._sizes, self._times = (np.empty(len(files), "<i8") for _ in range(2))
        for index, file in enumerate(files):
            self._sizes[index], self._times[index] = _size_and_time(file)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Path:
        return self._root / self._names[index]

    def check(self, index: int) -> None:
        """See `ImageFiles.check`."""
        check_file(self[index], int(self._sizes[index]))

    @property
    def state(self) -> str:
        """See `ImageFiles.state`."""
        return hashlib.sha256(self._names.digest.encode() + self._sizes.tobytes() + self._times.tobytes()).hexdigest()


def _size_and_time(file: Path) -> tuple[int, int]:
    """Bytes and nanoseconds; -1 of a link that leads nowhere, which is said when it is read."""
    try:
        found = file.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def check_file(file: Path, size: int) -> None:
    """Check that a file is still there, and has still so many bytes.

    Raises:
        DataError: it is not, or has not.
        UndecodableError: its disk does not answer, which may pass.
    """
    try:
        found = file.stat().st_size
    except FileNotFoundError:
        if size < 0:
            return  # it was not there in the first place
        raise DataError(f"{file}: is gone, and was there when the data were opened: put it back, {GOES_ON}") from None
    except OSError as error:
        raise UndecodableError(file, error) from error
    if found != size:
        raise DataError(
            f"{file}: has {found} bytes, and had {size} when the data were opened: put it back as it was, {GOES_ON}"
        )


class FileImages(StoredImages):
    """The images of some files, decoded when they are read.

    Args:
        files: one image each.
        labels: int64 [N].
        target: what images become.
        shape: channels, height and width of every prepared image.
    """

    def __init__(self, files: ImageFiles, labels: Tensor, target: Target, shape: tuple[int, int, int]) -> None:
        self.files, self.labels, self.shape = files, labels, shape
        self._target = target

    def where(self, index: int) -> str:
        """See `StoredImages.where`."""
        return str(self.files[index])

    def prepared(self, index: int) -> Tensor:
        """See `StoredImages.prepared`."""
        self.files.check(index)
        file = self.files[index]
        image = decode(file, self._target)
        check_same_shape(file, image, self.shape, self.files[0])
        return image

    def original(self, index: int, needed_side: int | None) -> Image.Image:
        """See `StoredImages.original`."""
        self.files.check(index)
        return upright(self.files[index], self._target, needed_side)

    def reading(self) -> AbstractContextManager[None]:
        """See `StoredImages.reading`."""
        return bounded()
