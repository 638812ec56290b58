"""Detectors on found networks: built, trained, resumed, judged by COCO's metric, kept and asked for boxes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anybudget.architecture import Architecture
from anybudget.data import DataFacts
from anybudget.errors import ConfigError, RunError, TrainingError
from anybudget.recipe import load_recipe
from anybudget.report import write_report
from anybudget.runs.backbones import Backbone, backbone_of_folder, backbone_of_run
from anybudget.runs.detecting import Detection, detect, load_detector
from anybudget.runs.run import Run
from anybudget.storage.records import BoxAccuracy, Detected
from anybudget.storage.run_folder import HOLDER, RunFolder
from anybudget.testing.interruption import check_resume, differing_files
from anybudget.transfer.boxes import BoxData
from anybudget.transfer.detector import build_detector, train_mode
from anybudget.transfer.judging import Found, accuracy
from anybudget.transfer.opening import BoxSource
from anybudget.transfer.settings import DetectSettings
from box_data import HEIGHT, NAMES, WIDTH, write_coco
from conftest import RECIPE, call
from stopping import stop_after

SETTINGS = DetectSettings(epochs=2, batch_size=3, size=48, longest=64, width=8, maps=2, warmup_epochs=0.0)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on small colour images whose answer has been retrained."""
    folder = tmp_path_factory.mktemp("colour")
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = rng.integers(0, 90, (120, 8, 8, 3)).astype(np.uint8)
    images[np.arange(120), 1 + 2 * labels] += 120
    np.savez(folder / "images.npz", x=images, y=labels, xt=images[:36], yt=labels[:36])
    text = RECIPE.format(source=folder / "images.npz").replace("input_channels = 1", "input_channels = 3")
    text = text.replace("stem_stride = 1", "stem_stride = 2")
    table = "[detect]\nepochs = 1\nbatch_size = 3\nsize = 48\nlongest = 64\nwidth = 8\nmaps = 1\n"
    (folder / "tiny.toml").write_text(text.replace('["macs<=30k", "macs<=60k, params<=1500"]', '["macs<=60k"]') + table)
    Run.create(load_recipe(folder / "tiny.toml"), folder / "run").run_all()
    return folder / "run"


@pytest.fixture
def backbone(trained: Path) -> Backbone:
    return backbone_of_folder(next((trained / "retrain").iterdir()))


@pytest.fixture
def boxes(tmp_path: Path) -> BoxData:
    return BoxSource(write_coco(tmp_path / "boxes", 9)).open(0.33, seed=0)


def wanted(folder: Path, **changes: Any) -> Detection:
    settings = SETTINGS.model_copy(update=changes)
    return Detection(folder, settings, device="cpu", checkpoint_seconds=0.0)


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


@pytest.mark.detect
def test_the_pyramid_stands_on_the_last_maps(backbone: Backbone) -> None:
    network = backbone.build(0)
    strides = [found["reduction"] for found in network.feature_info]
    detector = build_detector(network, 2, SETTINGS)
    levels = detector.backbone(torch.zeros(1, 3, 64, 96))  # type: ignore[operator]
    last = strides[-1]
    assert [level.shape for level in levels.values()] == [
        (1, 8, -(-64 // stride), -(-96 // stride)) for stride in (*strides[-2:], 2 * last, 4 * last)
    ]
    assert detector.anchor_generator.sizes[0] == tuple(  # type: ignore[union-attr]
        round(4 * strides[-2] * 2 ** (third / 3)) for third in range(3)
    )
    assert not any(
        name.startswith(("backbone.body.classifier", "backbone.body.head")) for name in detector.state_dict()
    )
    with pytest.raises(ConfigError, match=r"detect\.maps: 5 feature maps are wanted, and the network has"):
        build_detector(backbone.build(0), 2, SETTINGS.model_copy(update={"maps": 5}))


@pytest.mark.detect
@pytest.mark.parametrize("branch", ["classification_head", "regression_head"])
def test_signals_pass_narrow_heads_as_wide_ones(branch: str, backbone: Backbone) -> None:
    found = {}
    for width in (16, 256):
        torch.manual_seed(0)
        head = getattr(build_detector(backbone.build(0), 2, SETTINGS.model_copy(update={"width": width})).head, branch)
        level = torch.randn(1, width, 16, 16, requires_grad=True)
        out = head([level])
        (gradient,) = torch.autograd.grad((out * torch.randn(out.shape)).sum(), level)
        found[width] = out.std(), gradient.norm()
    for narrow, wide in zip(found[16], found[256], strict=True):
        assert 0.3 < narrow / wide < 3


@pytest.mark.detect
@pytest.mark.parametrize(("width", "groups"), [(256, 32), (32, 4), (12, 1), (4, 1)])
def test_heads_have_group_norms_where_these_are_asked_for(width: int, groups: int, backbone: Backbone) -> None:
    settings = SETTINGS.model_copy(update={"width": width, "head_norms": "group"})
    norms = [m for m in build_detector(backbone.build(0), 2, settings).modules() if isinstance(m, torch.nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [groups] * 8
    plain = build_detector(backbone.build(0), 2, SETTINGS)
    assert not any(isinstance(module, torch.nn.GroupNorm) for module in plain.modules())


@pytest.mark.detect
def test_fixed_norms_keep_their_statistics(backbone: Backbone) -> None:
    detector = build_detector(backbone.build(0), 2, SETTINGS)
    target = {"boxes": torch.tensor([[3.0, 3, 20, 20]]), "labels": torch.tensor([1])}
    for fixed in (True, False):
        before = {name: value.clone() for name, value in detector.named_buffers()}
        train_mode(detector, fixed_norms=fixed)
        losses = detector([torch.randn(3, 48, 64)] * 2, [target] * 2)
        assert set(losses) == {"classification", "bbox_regression"}
        assert all(torch.equal(value, before[name]) for name, value in detector.named_buffers()) == fixed


@pytest.mark.detect
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_stopped_training_resumes_to_the_last_bit(steps: int, trained: Path, boxes: BoxData, tmp_path: Path) -> None:
    def work(folder: Path) -> Detected:
        kept = backbone_of_folder(next((trained / "retrain").iterdir()))
        return detect(kept, boxes, wanted(folder, norms="batch"))

    whole = work(tmp_path / "whole")
    stop_after(steps, lambda: work(tmp_path / "broken"))
    assert (tmp_path / "broken" / "training.checkpoint").is_file()
    resumed = work(tmp_path / "broken")
    assert weights(tmp_path / "whole") == weights(tmp_path / "broken")
    assert resumed.accuracy == whole.accuracy
    assert not (tmp_path / "broken" / "training.checkpoint").exists()


@pytest.mark.detect
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_killed_training_ends_as_one_that_was_not(trained: Path, boxes: BoxData, tmp_path: Path) -> None:
    def work(folder: Path) -> None:
        kept = backbone_of_folder(next((trained / "retrain").iterdir()))
        detect(kept, boxes, wanted(folder / "detector", epochs=4))

    (tmp_path / "begin").mkdir()
    assert check_resume(tmp_path / "begin", work, tmp_path / "scratch", kills=2) >= 1


@pytest.mark.detect
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("last", ["keep", "save_weights", "write_json"])
def test_a_kill_among_the_results_leaves_nothing_behind(
    last: str, backbone: Backbone, boxes: BoxData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detector of other settings is there, and kept beside the new one."""
    for name in ("whole", "broken"):
        detect(backbone, boxes, wanted(tmp_path / name, epochs=1))
    detect(backbone, boxes, wanted(tmp_path / "whole"))
    does = getattr(RunFolder, last)

    def does_it_last(folder: RunFolder, name: str, *values: Any) -> None:
        does(folder, name, *values)
        if name != HOLDER:
            os._exit(9)

    child = os.fork()
    if not child:
        monkeypatch.setattr(RunFolder, last, does_it_last)
        detect(backbone, boxes, wanted(tmp_path / "broken"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    detect(backbone, boxes, wanted(tmp_path / "broken"))
    assert not differing_files(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.detect
def test_a_detector_learns(backbone: Backbone, tmp_path: Path) -> None:
    data = BoxSource(write_coco(tmp_path / "boxes", 60)).open(0.2, seed=0)
    changes = {"epochs": 20, "batch_size": 8, "width": 16, "warmup_epochs": 1.0}
    quick = {"optimiser": "adamw", "learning_rate": 5e-3, "reference_batch": 0}
    record = detect(backbone, data, wanted(tmp_path / "out", **changes, **quick))
    assert record.accuracy.map50_percent is not None
    assert record.accuracy.map50_percent > 50
    assert [one.name for one in record.accuracy.classes] == list(NAMES)
    assert record.images == {"train": 48, "validation": 12}


@pytest.mark.detect
def test_what_is_there_is_kept(backbone: Backbone, boxes: BoxData, tmp_path: Path) -> None:
    first = detect(backbone, boxes, wanted(tmp_path / "out"))
    before = weights(tmp_path / "out")
    assert detect(backbone, boxes, wanted(tmp_path / "out")) == first
    other = detect(backbone, boxes, wanted(tmp_path / "out", width=16))
    assert other.settings["width"] == 16
    assert (tmp_path / "out" / "weights.1.safetensors").read_bytes() == before != weights(tmp_path / "out")
    detector, record = load_detector(tmp_path / "out")
    assert record == other
    assert not detector.training


@pytest.mark.detect
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("settings", {"width": -1}, "damaged: .*width"),
        ("facts", {}, "damaged: facts: no description of data"),
        ("class_names", ["one"], "weights of another network than|the tensor head"),
        ("network", {"format": "x"}, "lacks"),
    ],
)
def test_a_damaged_record_is_named(
    key: str, value: Any, message: str, backbone: Backbone, boxes: BoxData, tmp_path: Path
) -> None:
    detect(backbone, boxes, wanted(tmp_path, epochs=1))
    record = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**record, key: value}))
    with pytest.raises(RunError, match=message) as raised:
        load_detector(tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.detect
def test_unfinished_work_of_other_settings_is_refused(trained: Path, boxes: BoxData, tmp_path: Path) -> None:
    def work(**changes: Any) -> None:
        detect(backbone_of_folder(next((trained / "retrain").iterdir())), boxes, wanted(tmp_path / "out", **changes))

    stop_after(1, work)
    with pytest.raises(RunError, match=r"a checkpoint made with other settings \(settings\.width: 8 -> 16\)"):
        work(width=16)


@pytest.mark.detect
def test_a_loss_that_is_not_finite_is_said(backbone: Backbone, boxes: BoxData, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss became \w+ in epoch .* lower detect\.learning_rate"):
        detect(backbone, boxes, wanted(tmp_path, learning_rate=1e6, reference_batch=0, clip_norm=0.0, epochs=9))


@pytest.mark.detect
def test_weights_are_those_that_were_asked_for(trained: Path) -> None:
    run = Run.open(trained).context
    (folder,) = (trained / "retrain").iterdir()
    architecture = Architecture.from_dict(json.loads((folder / "architecture.json").read_text()), "it")
    kept = backbone_of_run(run, architecture, None)
    assert (kept.weights, kept.origin) == ("retrained", backbone_of_folder(folder).origin)
    inherited = backbone_of_run(run, architecture, "inherited")
    assert inherited.weights == "inherited"
    assert inherited.origin["digest"] != kept.origin["digest"]
    random = backbone_of_run(run, architecture, "random")
    state, other = (random.build(seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(value, state[name]) for name, value in random.build(0).state_dict().items())
    (first, *_) = (name for name, value in state.items() if value.ndim == 4)
    assert not torch.equal(state[first], other[first])
    with pytest.raises(ConfigError, match=r"--weights raced: .* has retrained weights"):
        backbone_of_folder(folder, "raced")
    with pytest.raises(RunError, match="has no raced weights; train it with: anybudget retrain"):
        backbone_of_run(run, architecture, "raced")


@pytest.mark.detect
def test_right_answers_are_right_and_ignored_boxes_count_for_nothing(boxes: BoxData) -> None:
    images = boxes.splits["train"]
    right = [Found(image.boxes, torch.ones(len(image.labels)), image.labels) for image in images]
    found = accuracy(images, right, NAMES)
    assert (found.map_percent, found.map50_percent) == pytest.approx((100, 100))
    assert (found.small_percent, found.large_percent) == (pytest.approx(100), None)
    half = [*right[:-1], Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))]
    assert (accuracy(images, half, NAMES).map_percent or 0) < 100
    ignoring = [*images[:-1], replace(images[-1], ignored=torch.tensor([True]))]
    assert accuracy(ignoring, half, NAMES).map_percent == pytest.approx(100)
    nothing = [half[-1]] * len(images)
    assert accuracy(images, nothing, NAMES).map_percent == 0


@pytest.mark.detect
def test_the_command_trains_and_draws(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, photo = write_coco(tmp_path / "boxes"), tmp_path / "boxes" / "1.png"
    code, out, err = call(capsys, "detect", trained, "macs<=60k", "--data", path, "--batch", 2, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["detector"]["settings"]["batch_size"] == 2
    assert said["detector"]["settings"]["epochs"] == 1  # the recipe's
    assert said["found"] is None
    (folder,) = (trained / "detect").iterdir()
    assert json.loads((folder / "result.json").read_text()) == said["detector"]
    assert DataFacts.from_dict(said["detector"]["facts"], "it").preparation.channels == 3
    code, out, err = call(capsys, "detect", trained, folder.name, "--predict", photo, "--score", 0)
    assert code == 0, err
    assert f"drawn: {folder / '1.png'}" in out
    with Image.open(folder / "1.png") as drawn:
        assert drawn.size == (WIDTH, HEIGHT)
        assert not np.array_equal(np.asarray(drawn), np.asarray(Image.open(photo)))
    code, out, err = call(
        capsys, "detect", trained / "retrain" / folder.name, "--data", path, "--random-weights", "--epochs", 1,
        "--size", 32, "--set", "detect.norms=batch",
    )  # fmt: skip
    assert code == 0, err
    assert "random weights" in out
    assert (trained / "detect" / f"{folder.name}-random" / "result.json").is_file()


@pytest.mark.detect
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["macs<=60k"], "give --data with images to train on, or --predict"),
        (["--data", "none.json"], "is a run; name one of its networks, too"),
        (["macs<=60k", "--data", "none.json"], "none.json: no such file or folder"),
        (
            ["macs<=60k", "--data", "x", "--weights", "mine"],
            "--weights 'mine': write one of retrained, raced",
        ),
        (["macs<=60k", "--data", "x", "--weights", "raced", "--random-weights"], "give one of the two"),
        (["macs<=60k", "--predict", "none.png", "--out", "empty"], "empty: no detector has been trained here"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "detect", trained, *arguments)
    assert (code, message in " ".join(err.split())) == (2, True), err


def test_the_report_has_a_row_for_each_detector(trained: Path, backbone: Backbone) -> None:
    figures = ("map_percent", "map50_percent", "map75_percent", "small_percent", "medium_percent")
    accuracy = dict(zip(figures, (41.5, 62.5, 43.5, 20.0, None), strict=True))
    record = Detected(
        version="1",
        network=backbone.network,
        facts=backbone.facts.to_dict(),
        weights="random",
        class_names=NAMES,
        settings={"epochs": 77},
        origin={},
        images={"train": 9, "test": 3},
        dropped=(),
        judged_on="test",
        accuracy=BoxAccuracy(images=3, boxes=4, large_percent=None, classes=(), **accuracy),
        seconds=90.0,
    )
    folder = trained / "detect" / "shown"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(record.to_json()))
    page = write_report(trained).read_text()
    section = page.split('<section id="detectors">')[1].split("</section>")[0]
    for text in ("shown", "random", "41.50", "62.50", "43.50", "77", "1 min 30 s"):
        assert text in section
    shutil.rmtree(folder)


def test_without_torchvision_it_is_named(
    trained: Path, boxes: BoxData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    backbone = backbone_of_folder(next((trained / "retrain").iterdir()))
    with pytest.raises(ConfigError, match=r"detection needs torchvision, which .*'anybudget\[detect\]'"):
        detect(backbone, boxes, wanted(tmp_path / "out"))
