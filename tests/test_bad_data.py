"""Data sets that cannot be used: `run` names the file, key or class, and makes no run folder."""

import gzip
import shutil
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mistakes import Prepare, edited, made_folder, mistake, refuse, removed, written

IMAGES = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
LABELS = np.arange(60) % 3


def source(identifier: str, prepare: Prepare | None, names: str, where: str = "data.npz") -> Any:
    """A row about the data set `where`."""
    command = ("run", "tiny.toml", "--out", "new", "--set", f"data.source={where}")
    return mistake(f"source-{identifier}", command, names, prepare)


def arrays(identifier: str, names: str, **values: np.ndarray) -> Any:
    """A row about an `.npz` of these arrays."""
    return source(f"npz-{identifier}", lambda folder: np.savez(folder / "data.npz", **values), f"data.npz: {names}")


def archive(**members: bytes) -> Prepare:
    """Write a zip archive by hand."""

    def prepare(folder: Path) -> None:
        with zipfile.ZipFile(folder / "data.npz", "w") as file:
            for name, content in members.items():
                file.writestr(f"{name}.npy", content)

    return prepare


def announced(shape: str) -> bytes:
    """An `.npy` file that announces this shape and holds next to nothing."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"abc"


ARRAYS = [
    source("missing", None, "data.source: 'nowhere': no such file or folder: give the path", "nowhere"),
    source("long", None, "File name too long", "x" * 5000),
    source("no-user", None, "data.source: '~nobody-of-that-name/x' cannot be looked up", "~nobody-of-that-name/x"),
    source("escapes", None, "backslash", '"C:\\new\\bin"'),
    source("nul", None, r"data.source: 'a\x00b': no such file", '"a\\u0000b"'),
    source("recipe", None, "tiny.toml: not recognised as a data set", "tiny.toml"),
    source("a-run", None, "nas-bench-201: not recognised as a data set", "nas-bench-201"),
    source("npz-empty", written("data.npz", ""), "data.npz: not an .npz archive, or a truncated one"),
    source("npz-garbage", written("data.npz", "garbage" * 99), "data.npz: not an .npz archive"),
    source("npz-pickle", written("data.npz", b"\x80\x04K\x01."), "data.npz: not an .npz archive"),
    source("npz-folder", made_folder("data.npz"), "data.npz: not recognised as a data set"),
    source("npz-cut", edited("images.npz", lambda data: data[:-100]), "images.npz: not an .npz", "images.npz"),
    source(
        "npz-flipped",
        edited("images.npz", lambda data: data[:3000] + b"\xaa" * 99 + data[3099:]),
        "images.npz: the array 'x' cannot be read (Bad CRC-32 for file 'x.npy')",
        "images.npz",
    ),
    source("npz-no-numpy", archive(x=b"abc", y=b"abc"), "data.npz: x has dtype"),
    source(
        "npz-giant",
        archive(x=announced("(1000000000000, 8, 8)"), y=announced("(3,)")),
        "data.npz: the array 'x' cannot be read (Unable to allocate",
    ),
    source(
        "npz-negative",
        archive(x=announced("(-5, 8, 8)"), y=announced("(3,)")),
        "data.npz: the array 'x' cannot be read",
    ),
    arrays("other-keys", "holds the keys 'a': name the arrays x and y", a=IMAGES),
    arrays("no-labels", "holds the keys 'x': name the arrays x and y", x=IMAGES),
    arrays("half-test", "the key 'yt' of the test part is missing", x=IMAGES, y=LABELS, xt=IMAGES),
    arrays("complex", "x has dtype complex128, images must be numbers", x=IMAGES * 1j, y=LABELS),
    arrays("not-finite", "x holds values that are not finite", x=IMAGES / 255 * np.nan, y=LABELS),
    arrays(
        "constant",
        "every pixel has the value 7, such as in data.npz: x: there is nothing",
        x=np.full(IMAGES.shape, 7.0),
        y=LABELS,
    ),
    arrays(
        "black",
        "every pixel of the 33 training images has the value 0: there is nothing to learn",
        x=IMAGES * 0,
        y=LABELS,
    ),
    arrays("pickled", "the array 'x' cannot be read (Object arrays cannot be", x=IMAGES.astype(object), y=LABELS),
    arrays("pickled-labels", "the array 'y' cannot be read (Object", x=IMAGES, y=LABELS.astype(object)),
    arrays("flat", "x has shape [60, 64]: store at least one image", x=IMAGES.reshape(60, 64), y=LABELS),
    arrays("no-image", "x has shape [0, 8, 8]: store at least one image", x=IMAGES[:0], y=LABELS[:0]),
    arrays("no-pixel", "x has shape [60, 8, 0]: store at least one image", x=IMAGES[:, :, :0], y=LABELS),
    arrays("two-channels", "x has shape [60, 8, 8, 2], where neither", x=np.stack([IMAGES] * 2, -1), y=LABELS),
    arrays("colour", "this data set needs space.input_channels=3", x=np.stack([IMAGES] * 3, -1), y=LABELS),
    arrays("float-labels", "y has dtype float64, labels must be integers", x=IMAGES, y=LABELS / 1),
    arrays("bytes", "y holds bytes that are no UTF-8", x=IMAGES, y=np.array([b"a", b"\xff"] * 30)),
    arrays("label-gap", "y holds no image of class 1, though classes run from 0 to 4", x=IMAGES, y=LABELS * 2),
    arrays("label-negative", "y holds the label -1 at index 0", x=IMAGES, y=LABELS - 1),
    arrays("label-huge", "y holds the label 9223372036854775808", x=IMAGES, y=np.full(60, 2**63, np.uint64)),
    arrays("labels-short", "y has shape [59] for 60 images", x=IMAGES, y=LABELS[:-1]),
    arrays("labels-one-hot", "y has shape [60, 3] for 60 images", x=IMAGES, y=np.eye(3, dtype=int)[LABELS]),
    arrays("one-class", "has only one class, '0'", x=IMAGES, y=LABELS * 0),
    arrays("four-classes", "this data set needs space.classes=4 (the recipe says 3)", x=IMAGES, y=np.arange(60) % 4),
    arrays("few-images", "class '0' has 2 training image(s) but needs 3", x=IMAGES[:4], y=LABELS[:4]),
    arrays(
        "test-class", "yt holds the class 3, but the training labels end", x=IMAGES, y=LABELS, xt=IMAGES, yt=LABELS + 1
    ),
]


def images(change: Prepare, classes: int = 3) -> Prepare:
    """Make a folder of class folders of grey images, then change it."""

    def prepare(folder: Path) -> None:
        for index in range(classes):
            (folder / "data" / f"c{index}").mkdir(parents=True)
            for number in range(4):
                Image.new("L", (8, 8), 60 * index).save(folder / "data" / f"c{index}" / f"{number}.png")
        change(folder)

    return prepare


def image(name: str, mode: str = "L", size: tuple[int, int] = (8, 8), kind: str = "PNG") -> Prepare:
    """Write one image."""

    def prepare(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size).save(folder / name, kind)

    return prepare


def emptied(folder: Path) -> None:
    for path in (folder / "data" / "c1").iterdir():
        path.unlink()


def dangling(folder: Path) -> None:
    (folder / "data" / "c1" / "2.png").unlink()
    (folder / "data" / "c1" / "2.png").symlink_to("nowhere")


def uneven_parts(folder: Path) -> None:
    shutil.copytree(folder / "data", folder / "data" / "train")
    shutil.copytree(folder / "data" / "train", folder / "data" / "test")
    shutil.rmtree(folder / "data" / "test" / "c2")


def two_validations(folder: Path) -> None:
    shutil.copytree(folder / "data", folder / "data" / "train")
    for name in ("val", "valid"):
        shutil.copytree(folder / "data" / "train", folder / "data" / name)


PICTURE = "data/c1/2.png"
FOLDERS = [
    source(f"folder-{identifier}", images(change), names, "data")
    for identifier, change, names in (
        ("empty-image", written(PICTURE, ""), "data/c1/2.png: cannot be decoded as an image"),
        ("garbage", written(PICTURE, "garbage"), "data/c1/2.png: cannot be decoded as an image"),
        ("cut-image", edited(PICTURE, lambda data: data[:45]), "data/c1/2.png: cannot be decoded as an image"),
        ("no-image", emptied, "data/c1: the class folder holds no image among 0 entries"),
        ("empty-class", made_folder("data/c3"), "data/c3: the class folder holds no image among 0 entries"),
        ("nested", made_folder("data/c3/inner"), "but it holds the folder 'inner'"),
        (
            "colour-among-grey",
            image(PICTURE, "RGB"),
            "11 grey (such as data/c0/0.png, mode L), 1 in colour (such as data/c1/2.png",
        ),
        (
            "float",
            image("data/c1/2.tif", "F", kind="TIFF"),
            "1 grey of more than 8 bits (such as data/c1/2.tif, mode F)",
        ),
        ("bomb", image(PICTURE, "1", (20000, 20000)), "data/c1/2.png: cannot be decoded as an image (Image size"),
        ("dangling-link", dangling, "data/c1/2.png: cannot be decoded as an image (No such file or directory)"),
        ("one-image", image("data/c3/0.png"), "data: class 'c3' has 1 training image(s) but needs 3"),
        ("uneven-parts", uneven_parts, "data/test: the class folder 'c2' is missing"),
        ("two-validations", two_validations, "data: holds both val and valid: keep one of them"),
    )
] + [
    source("folder-empty", made_folder("data"), "data: not recognised as a data set", "data"),
    source("folder-one-class", images(lambda _: None, 1), "data: has only one class, 'c0'", "data"),
    source("folder-four-classes", images(lambda _: None, 4), "data: this data set needs space.classes=4", "data"),
]

X, Y = "data/train-images-idx3-ubyte", "data/train-labels-idx1-ubyte"


def idx(change: Prepare, labels: Sequence[int] = LABELS.tolist()) -> Prepare:
    """Make a folder of the idx files of a training part, then change it."""

    def prepare(folder: Path) -> None:
        written(X, b"\0\0\x08\x03" + struct.pack(">III", *IMAGES.shape) + IMAGES.tobytes())(folder)
        written(Y, b"\0\0\x08\x01" + struct.pack(">I", len(labels)) + bytes(labels))(folder)
        change(folder)

    return prepare


def compressed(change: Callable[[bytes], bytes]) -> Prepare:
    """Compress the images, and damage the result."""

    def prepare(folder: Path) -> None:
        (folder / f"{X}.gz").write_bytes(change(gzip.compress((folder / X).read_bytes())))
        (folder / X).unlink()

    return prepare


IDX = [
    source(f"idx-{identifier}", prepare, names, "data")
    for identifier, prepare, names in (
        ("cut", idx(edited(X, lambda data: data[:-1])), f"{X}: its header announces 3840 values, the file"),
        ("longer", idx(edited(X, lambda data: data + b"x")), f"{X}: its header announces 3840 values, the file"),
        ("cut-header", idx(edited(X, lambda data: data[:9])), f"{X}: its 16-byte header"),
        ("other-kind", idx(edited(X, lambda data: b"\0\0\x0d\x03" + data[4:])), f"{X}: its 16-byte header"),
        ("empty", idx(written(Y, "")), f"{Y}: its 8-byte header starts with nothing"),
        ("no-labels", idx(removed(Y)), "data: the idx file train-labels-idx1-ubyte"),
        ("no-images", idx(removed(X)), "data: the idx file train-images-idx3-ubyte"),
        ("few-labels", idx(lambda _: None, [0, 1, 2]), f"{Y} has shape [3] for 60 images"),
        ("label-gap", idx(lambda _: None, [0, 2] * 30), f"{Y} holds no image of class 1"),
        ("giant", idx(written(X, b"\0\0\x08\x03" + b"\xff" * 12)), "more than the 8 GiB allowed"),
        ("giant-labels", idx(written(Y, b"\0\0\x08\x01" + b"\xff" * 4)), f"{Y}: its header announces 4294967295"),
        ("half-test", idx(written("data/t10k-images-idx3-ubyte", "x")), "data: the idx file t10k-labels-idx1-ubyte"),
        ("no-gzip", idx(compressed(lambda data: b"x" + data)), f"{X}.gz: cannot be read (Not a gzipped file"),
        ("cut-gzip", idx(compressed(lambda data: data[:-20])), f"{X}.gz: cannot be read"),
    )
]

CASES = [*ARRAYS, *FOLDERS, *IDX]


@pytest.mark.parametrize(("arguments", "names", "prepare"), CASES)
def test_a_bad_data_set_is_refused(
    workshop: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], names: str, prepare: Prepare | None
) -> None:
    if prepare is not None:
        prepare(workshop)
    refuse(capsys, workshop, arguments, names)
