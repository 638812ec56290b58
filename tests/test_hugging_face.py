"""Data sets of Hugging Face on disk: with the library where it is installed, and with a stand-in for it everywhere."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget.data import DataSource, FolderSettings, Reading, identify, load_splits
from anybudget.data.overview import look_at, overview_of
from anybudget.data.table_files import find_tables
from anybudget.errors import ConfigError, DataError
from anybudget.testing import check_source
from data_sets import class_folders
from test_datasets import everything

NAMES = ["ant", "bee", "cat"]
Rows = list[dict[str, Any]]
Write = Callable[[Path, Mapping[str, Rows]], Path]


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (12 + number % 5, 14, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def rows(count: int, first: int = 0, label: Callable[[int], int | None] = lambda number: number % 3) -> Rows:
    return [
        {"image": {"bytes": picture(first + number), "path": None}, "label": label(number)} for number in range(count)
    ]


class Values(list[Any]):
    """A column as pyarrow has it."""

    type = "struct<bytes: binary, path: string>"

    def combine_chunks(self) -> Values:
        return self

    def to_pylist(self) -> list[Any]:
        return list(self)


class Rows_:  # noqa: N801 - the stand-in of `datasets.Dataset`
    """A table as `datasets` has it."""

    def __init__(self, found: Rows, chosen: list[str] | None = None) -> None:
        self._rows = found
        self.column_names = chosen or list(found[0])
        self.features = {name: type("Value", (), {})() for name in self.column_names}
        if "label" in self.features:
            self.features["label"] = SimpleNamespace(names=NAMES)
        if "image" in self.features:
            self.features["image"] = type("Image", (), {})()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return {name: [row[name] for row in self._rows[key]] for name in self.column_names}
        return self._rows[key]

    def with_format(self, _format: str | None) -> Rows_:
        return self

    def cast_column(self, _column: str, _feature: Any) -> Rows_:
        return self

    def select_columns(self, columns: list[str]) -> Rows_:
        return Rows_(self._rows, columns)

    def iter(self, size: int) -> Iterator[Any]:
        for start in range(0, len(self), size):
            values = Values(row[self.column_names[0]] for row in self._rows[start : start + size])
            yield SimpleNamespace(column=lambda _place, values=values: values)


@pytest.fixture(params=["stand-in", "datasets"])
def write(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a data set as `DatasetDict.save_to_disk` does, or as `Dataset.save_to_disk` if there is one split ""."""
    if request.param == "datasets":
        if importlib.util.find_spec("datasets") is None:
            pytest.skip("datasets is not installed: pip install 'anybudget[hf]'")
        return write_with_datasets
    kept: dict[str, Mapping[str, Rows]] = {}

    def stand_in(path: Path, splits: Mapping[str, Rows]) -> Path:
        path.mkdir(parents=True)
        for name in ("state.json", "dataset_info.json") if "" in splits else ("dataset_dict.json",):
            (path / name).write_text("{}")
        kept[str(path)] = splits
        return path

    def load_from_disk(path: str) -> Any:
        tables = {name: Rows_(found) for name, found in kept[path].items()}
        return tables.get("", tables)

    library, compute = ModuleType("datasets"), ModuleType("pyarrow.compute")
    library.__dict__.update(load_from_disk=load_from_disk, Image=lambda decode: decode, __version__="0")
    compute.__dict__.update(
        struct_field=lambda column, name: Values(value[name] for value in column),
        binary_length=lambda column: Values(None if value is None else len(value) for value in column),
    )
    for name, module in (("datasets", library), ("pyarrow", ModuleType("pyarrow")), ("pyarrow.compute", compute)):
        monkeypatch.setitem(sys.modules, name, module)
    return stand_in


def write_with_datasets(path: Path, splits: Mapping[str, Rows]) -> Path:
    import datasets

    made = {name: table(found) for name, found in splits.items()}
    (made[""] if "" in made else datasets.DatasetDict(made)).save_to_disk(path)
    return path


def table(found: Rows) -> Any:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    columns = {
        "image": [row["image"] for row in found],
        "label": [-1 if row["label"] is None else row["label"] for row in found],
    }
    return datasets.Dataset.from_dict(columns, features=features)


def load(path: Path, keep: Any = "disk", **settings: Any) -> DataSource:
    folders = FolderSettings(channels=3, reading=Reading(keep, 2), **settings)
    return load_splits(str(path), seed=0, image_size=8, folders=folders)


def as_folder(root: Path, count: int) -> Path:
    for number in range(count):
        file = root / NAMES[number % 3] / f"{number:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(number))
    return root


def test_a_saved_table_has_the_images_of_a_folder(write: Write, tmp_path: Path) -> None:
    saved = write(tmp_path / "saved", {"": rows(40)})
    there, kept, folder = load(saved), load(saved, "memory"), load(as_folder(tmp_path / "folder", 40))
    assert there.class_names == tuple(NAMES)
    assert all(map(torch.equal, everything(there), everything(kept)))
    assert all(map(torch.equal, everything(there), everything(folder)))
    check_source(there)
    listing = identify(str(saved))
    assert listing == there.listing()
    assert (listing.entries[0].name, listing.entries[0].size) == ("train/0", len(picture(0)))
    seen = overview_of(look_at(str(saved)))
    assert (seen.kind, seen.images, seen.classes, seen.drawn) == ("tables", 40, tuple(NAMES), ("test", "validation"))
    assert seen.refused == ()


def test_splits_are_parts_and_those_without_labels_are_none(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    splits = {"train": rows(40), "validation": rows(9, 100), "test": rows(5, 200, lambda _: None)}
    saved = write(tmp_path / "saved", splits)
    data = load(saved)
    assert (len(data.train), len(data.validation), len(data.test())) == (34, 9, 6)
    assert "test is not used: none of its 5 rows has a label" in caplog.text
    assert "validation stays the validation split" in caplog.text
    papers = load(saved, val="test")
    assert (len(papers.train), len(papers.validation), len(papers.test())) == (34, 6, 9)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": rows(9), "test": rows(2)}, "the test part has no image of class 'cat'"),
        ({"train": rows(9), "val": rows(3), "valid": rows(3)}, "holds both val and valid"),
        ({"a": rows(9), "b": rows(9)}, "has the splits a, b, and none of them is train"),
        ({"": [*rows(9), *rows(1, label=lambda _: None)]}, "train row 9 has no label"),
        (
            {"": [*rows(9), {"image": {"bytes": b"\x89PNG", "path": None}, "label": 0}]},
            "train row 9: cannot be decoded",
        ),
    ],
)
def test_what_cannot_be_used_is_named(write: Write, tmp_path: Path, splits: dict[str, Rows], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load(write(tmp_path / "saved", splits))


def test_parquet_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="datasets is not installed: pip install 'anybudget[hf]'")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set" / "data").mkdir(parents=True)
    for name, found in (("train-00000-of-00001", rows(40)), ("test-00000-of-00001", rows(6, 100))):
        table(found).to_parquet(tmp_path / "set" / "data" / f"{name}.parquet")
    data = load(tmp_path / "set")
    assert (data.class_names, len(data.train), len(data.test())) == (tuple(NAMES), 34, 6)
    before = identify(str(tmp_path / "set")).digest
    table(rows(41)).to_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    assert identify(str(tmp_path / "set")).digest != before
    assert len(load(tmp_path / "set").train) == 35
    table(rows(9)).to_parquet(tmp_path / "one.parquet")
    assert len(load(tmp_path / "one.parquet").train) == 3


def test_parquet_files_are_found_by_split(tmp_path: Path) -> None:
    def found(*names: str) -> dict[str, list[str]] | None:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        tables = find_tables(root)
        return tables and {split: [file.name for file in files] for split, files in tables.parquet.items()}

    assert found("train-0.parquet", "train-1.parquet", "test-0.parquet", "README.md") == {
        "train": ["train-0.parquet", "train-1.parquet"],
        "test": ["test-0.parquet"],
    }
    assert found("plain/train-0.parquet", "README.md") == {"train": ["train-0.parquet"]}
    assert found("train/0.parquet", "validation/0.parquet") == {"train": ["0.parquet"], "validation": ["0.parquet"]}
    assert found("0000.parquet", "0001.parquet") == {"train": ["0000.parquet", "0001.parquet"]}
    assert found("cat/1.png", "dog/2.png", "labels.parquet") is None
    assert found("cat/1.png", "data/labels.parquet") is None
    with pytest.raises(DataError, match="parquet files lie in the folders fine, raw: give the path of one of them"):
        found("fine/train-0.parquet", "raw/train-0.parquet")


def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    root = tmp_path / "saved"
    root.mkdir()
    (root / "dataset_dict.json").write_text("{}")
    for use in (load, lambda path: look_at(str(path)), lambda path: identify(str(path))):
        with pytest.raises(
            ConfigError, match=r"saved: a data set of Hugging Face, which needs datasets.*anybudget\[hf\]"
        ):
            use(root)
    class_folders(tmp_path / "images", count=6)
    assert load(tmp_path / "images").class_names == ("cat", "dog")
