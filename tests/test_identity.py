"""What tells one data set from another: equal wherever it lies, other as soon as an image is."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anybudget.data import FASHION_MNIST_SUBSET, identify, load_splits, what_differs
from anybudget.data.identity import Listing, in_order
from anybudget.errors import DataError, MissingDataError


def write_folder(root: Path, *, per_class: int = 6, classes: tuple[str, ...] = ("cats", "dogs", "é")) -> Path:
    """Class folders of small grey images."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            Image.fromarray(rng.integers(0, 256, (9, 8), dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


def test_a_folder_is_identified_without_opening_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "images")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Image, "open", refuse)
    found = identify(str(root))
    assert found.classes == ("cats", "dogs", "é")
    assert [entry.name for entry in found.entries[:2]] == ["cats/0.png", "cats/1.png"]
    assert found.entries[0].size == (root / "cats" / "0.png").stat().st_size


def test_a_copy_elsewhere_is_the_same_whatever_its_times_and_the_form_of_its_names(tmp_path: Path) -> None:
    before = identify(str(write_folder(tmp_path / "a")))
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    (tmp_path / "b" / "é").rename(tmp_path / "b" / "e\u0301")  # as macOS writes it
    after = identify(str(tmp_path / "b"))
    assert before.digest == after.digest
    assert before == after


def test_folders_are_read_in_the_order_of_bytes() -> None:
    names = ["b", "A", "a", "B", "e\u0301x", "éa"]
    assert [path.name for path in in_order(Path(name) for name in names)] == ["A", "B", "a", "b", "éa", "e\u0301x"]


EMBEDDED = "292df3f933089b65d3a3377414778efa2b09a5534e5680815b120e3b00e89262"

CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "added": (lambda root: shutil.copy(root / "cats/1.png", root / "cats/x.png"), "1 image was added: cats/x.png"),
    "several added": (
        lambda root: [shutil.copy(root / "cats/1.png", root / f"cats/x{n}.png") for n in range(12)],
        "12 images were added, such as cats/x0.png",
    ),
    "missing": (lambda root: (root / "dogs/3.png").unlink(), "1 image is missing: dogs/3.png"),
    "size": (lambda root: (root / "dogs/3.png").write_bytes(b"more"), "1 image changed size: dogs/3.png"),
    "class": (
        lambda root: write_folder(root, classes=("birds",)),
        "classes were added: birds; 6 images were added, such as birds/0.png",
    ),
    "class gone": (
        lambda root: shutil.rmtree(root / "é"),
        "classes are missing: é; 6 images are missing, such as é/0.png",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_is_said(name: str, tmp_path: Path) -> None:
    change, said = CHANGES[name]
    root = write_folder(tmp_path / "images")
    before = identify(str(root))
    change(root)
    after = identify(str(root))
    assert before.digest != after.digest
    assert what_differs(before, after) == said


def test_the_order_of_classes_is_a_part_of_it(tmp_path: Path) -> None:
    x, y = np.zeros((9, 4, 4), np.uint8), np.arange(9) % 3
    np.savez(tmp_path / "a.npz", x=x, y=y, classes=["a", "b", "c"])
    np.savez(tmp_path / "b.npz", x=x, y=y, classes=["b", "a", "c"])
    before, after = (identify(str(tmp_path / f"{name}.npz")) for name in "ab")
    assert before.digest != after.digest
    assert what_differs(before, after) == "the order of classes changed: a, b, c -> b, a, c"


def test_arrays_count_with_their_content_however_they_are_stored(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).integers(0, 256, (9, 4, 4), dtype=np.uint8), np.arange(9) % 3
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "b.npz", x_train=np.asfortranarray(x), y_train=y.astype(">i2")[:, None])
    idx = tmp_path / "idx"
    idx.mkdir()
    head = bytes((0, 0, 8, 3)) + b"".join(size.to_bytes(4, "big") for size in x.shape)
    (idx / "train-images-idx3-ubyte").write_bytes(head + x.tobytes())
    labels = bytes((0, 0, 8, 1)) + len(y).to_bytes(4, "big") + y.astype(np.uint8).tobytes()
    (idx / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    before = identify(str(tmp_path / "a.npz"))
    assert before == identify(str(tmp_path / "b.npz")) == identify(str(idx))
    x[3, 2, 1] ^= 1
    np.savez(tmp_path / "c.npz", x=x[:-3], y=y[:-3])
    after = identify(str(tmp_path / "c.npz"))
    assert what_differs(before, after) == (
        "the training images changed (9 -> 6 images); the training labels changed (9 -> 6 images)"
    )
    assert what_differs(identify(str(write_folder(tmp_path / "images"))), after).startswith(
        "it held image files, and holds arrays now"
    )


def test_the_embedded_set_has_the_same_digest_everywhere() -> None:
    found = identify(FASHION_MNIST_SUBSET)
    assert found.digest == EMBEDDED
    assert found.classes[0] == "T-shirt/top"


def test_a_listing_comes_back_from_its_file(tmp_path: Path) -> None:
    found = identify(str(write_folder(tmp_path / "images")))
    packed = found.pack()
    assert packed == Listing.unpack(packed, "f").pack()
    assert Listing.unpack(packed, "f") == found
    for damaged in (packed[:-9], b"", b"no", gzip.compress(b"[]\n"), gzip.compress(b'{"format": 1, "version": 1}\n')):
        with pytest.raises(DataError, match="f: damaged, or no listing"):
            Listing.unpack(damaged, "f")


def test_what_is_not_there_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no such file or folder"):
        identify(str(tmp_path / "nothing"))


def test_a_draw_tells_which_images_are_where(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images")
    first, again, other = (load_splits(str(root), seed=seed, image_size=8).draw for seed in (0, 0, 1))
    assert first
    assert again
    assert other
    assert first == again != other
    # One image that cannot be decoded, or another: as many images in each split, but not the same.
    draws = []
    for name in ("0.png", "1.png"):
        shutil.copytree(root, tmp_path / name)
        (tmp_path / name / "cats" / name).write_bytes(b"no image")
        draws.append(load_splits(str(tmp_path / name), seed=0, image_size=8, skip_unreadable=1).draw)
    assert draws[0]
    assert draws[1]
    assert draws[0].digest != draws[1].digest
    assert draws[0].left_out == ("cats/0.png",)
