"""Images with boxes: what is read, what is left out by name, what is refused, and the batches of an epoch."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget.data import DataFacts
from anybudget.errors import AnyBudgetError, ConfigError, DataError
from anybudget.recipe import overridden
from anybudget.training.annealing import rate_factor
from anybudget.training.settings import Schedule
from anybudget.transfer.boxes import BoxData
from anybudget.transfer.images import NO_BOX, BoxBatches, Reading
from anybudget.transfer.opening import BoxSource
from anybudget.transfer.settings import DetectSettings
from box_data import HEIGHT, NAMES, WIDTH, write_coco, write_voc, zipped
from conftest import whole_table
from exported import FACTS
from test_docs import ROOT

COLOUR = DataFacts.from_dict(
    {**FACTS.to_dict(), "mean": [0.5] * 3, "std": [0.25] * 3, "channels": 3, "height": 16, "width": 16}, "test"
)


def test_coco_is_read_and_a_share_of_it_drawn_to_judge_by(tmp_path: Path) -> None:
    data = BoxSource(write_coco(tmp_path)).open(0.25, seed=0)
    assert data.class_names == NAMES
    assert {split: len(images) for split, images in data.splits.items()} == {"train": 9, "validation": 3}
    assert data.judged_on == "validation"
    names = [image.name for images in data.splits.values() for image in images]
    assert sorted(names) == sorted(f"{number}.png" for number in range(1, 13))
    other = BoxSource(tmp_path / "boxes.json").open(0.25, seed=1)
    assert data.digest == BoxSource(tmp_path / "boxes.json").open(0.25, seed=0).digest != other.digest
    for image in data.splits["train"]:
        left, top, right, bottom = (int(side) for side in image.boxes[0])
        pixels = np.asarray(Image.open(tmp_path / image.name))[top:bottom, left:right]
        assert (pixels[..., 2 if image.labels[0] == 0 else 0] == 230).all()


def test_a_second_file_is_judged_by(tmp_path: Path) -> None:
    first, second = write_coco(tmp_path / "a"), write_coco(tmp_path / "b", 4, seed=1)
    data = BoxSource(first, second).open(0.25, seed=0)
    assert {split: len(images) for split, images in data.splits.items()} == {"train": 12, "validation": 4}
    write_coco(tmp_path / "b", 4, categories=[{"id": 7, "name": "green"}, {"id": 3, "name": "blue"}])
    with pytest.raises(DataError, match="has other categories than"):
        BoxSource(first, second).open(0.25, seed=0)


def test_voc_is_read_from_a_folder_and_from_a_zip_file(tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "voc")
    found = [BoxSource(path).open(0.25, seed=0) for path in (folder, zipped(folder, tmp_path / "voc.zip"))]
    assert found[0].digest == found[1].digest
    assert found[0].class_names == NAMES
    assert {split: len(images) for split, images in found[0].splits.items()} == {"train": 3, "test": 3}
    reading = Reading(COLOUR, 48, 96)
    for stored, packed in zip(*(data.splits["train"] for data in found), strict=True):
        assert torch.equal(reading.read(stored).pixels, reading.read(packed).pixels)
    assert set(BoxSource(write_voc(tmp_path / "one", lists=("train",))).open(0.4, 0).splits) == {"train", "validation"}


def box(*sides: float, name: str = "red", more: str = "") -> str:
    inner = "".join(f"<{n}>{s}</{n}>" for n, s in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
    return f"<object><name>{name}</name>{more}<bndbox>{inner}</bndbox></object>"


def test_boxes_without_an_area_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    more = [box(5, 5, 5, 9), box(5, 9, 8, 5), box(70, 5, 80, 9), box("nan", 5, 8, 9), box(-5, 40, 20, 60)]  # type: ignore[arg-type]
    data = BoxSource(write_voc(tmp_path, more="".join(more))).open(0.25, seed=0)
    assert data.dropped == (
        "000000: object 2 (red): has no width, from 5 to 5",
        "000000: object 3 (red): has a negative height, from 9 to 5",
        f"000000: object 4 (red): lies outside the image of {WIDTH}×{HEIGHT} pixels",
        "000000: object 5 (red): has a number that is not finite",
    )
    assert "4 box(es) left out: 000000: object 2 (red): has no width" in caplog.text
    assert data.splits["train"][0].boxes[1].tolist() == [0, 40, 20, HEIGHT]  # cut at the edge


def test_difficult_objects_and_crowds_are_not_trained_on(tmp_path: Path) -> None:
    more = box(1, 1, 9, 9, more="<difficult>1</difficult>")
    image = BoxSource(write_voc(tmp_path, more=more)).open(0.25, seed=0).splits["train"][0]
    assert image.ignored.tolist() == [False, True]
    assert len(Reading(COLOUR, 48, 96).read(image).boxes) == 1


def test_the_blood_cells_have_two_degenerate_boxes() -> None:
    data = BoxSource(whole_table("bccd_detection_voc.zip")).open(0.15, seed=0)
    assert sum(map(len, data.splits.values())) == 364
    assert data.class_names == ("Platelets", "RBC", "WBC")
    assert [text.split(": ", 1)[1] for text in data.dropped] == [
        "object 4 (RBC): has no width, from 181 to 181",
        "object 13 (RBC): has no width, from 504 to 504",
    ]


ONE = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": None}, "categories is missing; a COCO file has the lists"),
        ({"categories": []}, "categories is empty"),
        ({"images": []}, "images is empty"),
        ({"annotations": {}}, "annotations is no list of objects"),
        (
            {"annotations": [{**ONE, "category_id": 5}]},
            "annotations: 1 is of the category 5, which categor",
        ),
        ({"annotations": [{**ONE, "image_id": 99}]}, "annotations: 1 is of the image 99, which images does not list"),
        ({"annotations": [{**ONE, "bbox": [1, 2]}]}, r"annotations: 1: bbox is \[1, 2\]; give \[left, top"),
        ({"annotations": []}, "no image of the train split has a box that counts"),
        ({"categories": [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]}, "categories, item 2: id 3 comes twice"),
        ({"images": [{"id": 1, "file_name": "1.png", "width": 0, "height": 9}]}, "images: 1: width cannot be 0"),
    ],
)
def test_a_wrong_coco_file_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    if "images" in changes and "annotations" not in changes:
        changes = {**changes, "annotations": []}
    path = write_coco(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as raised:
        BoxSource(path).open(0.25, seed=0)
    assert str(path) in str(raised.value)


def test_missing_images_of_coco_are_named(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "annotations")
    (tmp_path / "annotations" / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 of 12 images are not in .*annotations, such as 3\.png"):
        BoxSource(path).open(0.25, seed=0)
    for file in (tmp_path / "annotations").glob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"its 12 images are missing, such as 1\.png; looked in .*--images"):
        BoxSource(path).open(0.25, seed=0)
    write_coco(tmp_path / "photos")
    assert BoxSource(path, images=tmp_path / "photos").open(0.25, seed=0).splits


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("Annotations/000001.xml", "lists the image 000001, and lacks VOC2007/Annotations/000001.xml"),
        ("JPEGImages/000002.jpg", "the image 000002 is missing from VOC2007/JPEGImages"),
        ("ImageSets/Main/train.txt", r"no VOC data; VOC data have ImageSets/Main/train\.txt"),
    ],
)
def test_missing_files_of_voc_are_named(gone: str, message: str, tmp_path: Path) -> None:
    (write_voc(tmp_path) / "VOC2007" / gone).unlink()
    with pytest.raises(DataError, match=message):
        BoxSource(tmp_path).open(0.25, seed=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "has a document type or entities"),
        ("<annotation><object><name>a</name></object></annotation>", "object 1: its box is"),
        (f"<annotation>{box(1, 1, 5, 5, name='')}</annotation>", "object 1 has no name"),
    ],
)
def test_a_damaged_xml_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    (write_voc(tmp_path) / "VOC2007" / "Annotations" / "000000.xml").write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        BoxSource(tmp_path).open(0.25, seed=0)
    assert "Annotations/000000.xml" in str(raised.value)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    (tmp_path / "a.json").write_text("[1]")
    for source, message in (
        (BoxSource(tmp_path / "none"), "no such file or folder"),
        (BoxSource(tmp_path / "a.zip"), "cannot be read as a zip file"),
        (BoxSource(tmp_path / "a.json"), "cannot be read: not an object"),
        (BoxSource(tmp_path, images=tmp_path), "belong to COCO files"),
    ):
        with pytest.raises(AnyBudgetError, match=message):
            source.open(0.25, seed=0)


def test_an_image_of_another_size_or_none_is_named(tmp_path: Path) -> None:
    data = BoxSource(write_coco(tmp_path)).open(0.25, seed=0)
    first, second = data.splits["train"][:2]
    Image.new("RGB", (9, 9)).save(tmp_path / first.name)
    (tmp_path / second.name).write_bytes(b"no image")
    reading = Reading(COLOUR, 48, 96)
    with pytest.raises(DataError, match=rf"{first.name}: is 9×9 pixels, and {WIDTH}×{HEIGHT} by its annotation"):
        reading.read(first)
    with pytest.raises(DataError, match="cannot be decoded as an image"):
        reading.read(second)


def test_an_image_that_was_annotated_upright_is_turned(tmp_path: Path) -> None:
    data = BoxSource(write_coco(tmp_path)).open(0.25, seed=0)
    image = data.splits["train"][0]
    upright = Image.open(tmp_path / image.name)
    plain = Reading(COLOUR, 48, 96).read(image).pixels
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / image.name, exif=exif)
    assert torch.equal(Reading(COLOUR, 48, 96).read(image).pixels, plain)


def test_boxes_follow_scaling_and_mirroring(tmp_path: Path) -> None:
    image = BoxSource(write_coco(tmp_path)).open(0.25, seed=0).splits["train"][0]
    reading = Reading(COLOUR, 96, 120)
    plain, mirrored = reading.read(image), reading.read(image, mirrored=True)
    assert plain.pixels.shape == (3, 90, 120)  # the longer side decides
    assert torch.allclose(plain.boxes, image.boxes * torch.tensor([120 / WIDTH, 90 / HEIGHT] * 2))
    assert torch.equal(mirrored.pixels, plain.pixels.flip(-1))
    assert torch.allclose(mirrored.boxes[:, [2, 0]], 120 - plain.boxes[:, [0, 2]])
    for one in (plain, mirrored):
        left, top, right, bottom = one.boxes[0].round().int().tolist()
        channel = 2 if image.labels[0] == 0 else 0
        assert one.pixels[channel, top + 2 : bottom - 2, left + 2 : right - 2].min() > 1


def batches(data: BoxData, seed: int = 0, size: int = 4) -> BoxBatches:
    return BoxBatches(data.splits["train"], Reading(COLOUR, 48, 96), size, seed)


def test_an_epoch_is_a_function_of_seed_and_number(tmp_path: Path) -> None:
    data, device = BoxSource(write_coco(tmp_path)).open(0.25, seed=0), torch.device("cpu")
    whole = list(batches(data).epoch(2, device))
    assert len(whole) == batches(data).per_epoch == 2
    rest = list(batches(data).epoch(2, device, start=1))
    assert all(torch.equal(a, b) for a, b in zip(whole[1], rest[0], strict=True))
    other = next(batches(data).epoch(3, device))[0]
    assert not torch.equal(other, whole[0][0])
    # Whatever the batch, an image is mirrored alike.
    images = torch.cat([images for images, _ in whole])
    again = torch.cat([images for images, _ in batches(data, size=2).epoch(2, device)])
    assert torch.equal(images, again)
    assert images.shape == (8, 3, 64, 64)
    assert not images[:, :, 48:].any()  # filled up with zeros
    assert all((boxes[:, :, 4] != NO_BOX).any(1).all() for _, boxes in whole)


def test_the_learning_rate_falls_by_steps() -> None:
    common = {"batch_size": 8, "learning_rate": 1.0, "annealing": "steps", "decay_rate": 0.1}
    factor = rate_factor(Schedule(epochs=12, **common), 10)
    assert [factor(step) for step in (0, 79, 80, 109, 110, 119)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    factor = rate_factor(Schedule(epochs=12, milestones=[2, 3], **common), 10)
    assert [factor(step) for step in (19, 20, 29, 30)] == pytest.approx([1, 0.1, 0.1, 0.01])
    assert "have to rise" in next(Schedule(epochs=12, milestones=[3, 2], **common).problems("retrain"))
    assert "falls 'cosine'" in next(
        Schedule(epochs=9, batch_size=8, learning_rate=1.0, milestones=[2]).problems("retrain")
    )


def test_the_settings_are_the_paper_s() -> None:
    settings = DetectSettings()
    assert (settings.epochs, settings.batch_size, settings.rate) == (12, 16, 0.01)
    factor = [settings.momentum, settings.weight_decay, settings.decay_rate]
    assert factor == [0.9, 1e-4, 0.1]
    assert settings.model_copy(update={"batch_size": 4}).rate == 0.0025


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("detect.widht=3", "unknown key detect.widht; did you mean width"),
        ("detect.size=3", "detect.size: input should be greater than or equal to 32"),
        ("detect.longest=100", "detect.longest: 100 pixels are fewer than the 800 of detect.size"),
        ("detect.milestones=[8, 12]", "detect.milestones: 12 is not below the 12 of detect.epochs"),
        ("retrain.epochs=3", r"here \[detect\] alone can be changed"),
    ],
)
def test_wrong_overrides_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        overridden(DetectSettings(), "detect", [override])


def test_the_settings_for_few_images_are_those_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "detection.md").read_text(), re.DOTALL)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    assert DetectSettings.model_validate(tomllib.loads(block)["detect"]) == import_module("detection").SMALL


def test_overrides_are_set() -> None:
    found = overridden(DetectSettings(), "detect", ["detect.epochs=3", "detect.norms=batch"])
    assert (found.epochs, found.norms) == (3, "batch")
    assert json.loads(json.dumps(found.model_dump(mode="json")))["epochs"] == 3
