"""`anybudget export`: what is written, what it says of itself, what is refused, and that nothing is half-written."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

import anybudget
from anybudget.cli import process as cli
from anybudget.errors import RunError
from anybudget.export.forms import Wanted
from anybudget.export.subject import Subject
from anybudget.nets import build_network
from anybudget.recipe import load_recipe
from anybudget.runs.finding import find_architecture
from anybudget.runs.run import Run
from anybudget.runs.trained import describe_zoo
from anybudget.storage.records import Export
from anybudget.storage.run_folder import RunFolder
from anybudget.zoo import ZOO, Images
from conftest import RECIPE, call, write_images
from mistakes import contents
from test_documents_run import python_blocks


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on arrays, whose first budget's network has been retrained."""
    folder = tmp_path_factory.mktemp("export")
    write_images(folder / "images.npz", per_class=60)
    (folder / "r.toml").write_text(RECIPE.format(source=folder / "images.npz"))
    run = Run.create(load_recipe(folder / "r.toml", ["supernet.epochs=1", "retrain.epochs=3"]), folder / "run")
    run.run_all(lambda _said: None)
    return folder / "run"


@pytest.fixture
def run(ran: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    shutil.copytree(ran, tmp_path / "run")
    return tmp_path / "run"


def retrained(run: Path) -> str:
    (found,) = (run / "retrain").iterdir()
    return found.name


@pytest.fixture(scope="module")
def exported(ran: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy whose network is exported in all forms, and what was said."""
    run = shutil.copytree(ran, tmp_path_factory.mktemp("exported") / "run")
    forms = [part for form in ("onnx", "torch", "int8") for part in ("--to", form)]
    with redirect_stdout(io.StringIO()) as out:
        cli.app(["export", str(run), "macs<=30k", *forms, "--min-agreement", "50"], standalone_mode=False)
    return run, out.getvalue()


def test_all_forms_are_written_checked_and_described(exported: tuple[Path, str]) -> None:
    run, said = exported
    name = retrained(run)
    folder = run / "export" / name
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "export.json", "network.onnx", "network.int8.onnx", "network.py", "network.safetensors",
    }  # fmt: skip
    assert "100.00%" in said
    record = Export.model_validate(json.loads((folder / "export.json").read_text()))
    result = json.loads((run / "retrain" / name / "result.json").read_text())
    assert record.test is not None
    assert record.test.top1_percent == pytest.approx(result["test_top1_percent"])
    assert record.test.low_percent < record.test.top1_percent < record.test.high_percent or record.test.images == 36
    assert record.budgets[0] == {"macs": 30_000.0}
    assert record.costs == result["costs"]
    for form in record.forms.values():
        for file, size in form.files.items():
            assert (folder / file).stat().st_size == size
            assert file in (folder / "README.md").read_text()
    quantised = record.forms["int8"].quantised
    assert quantised is not None
    assert quantised.before.top1_percent == pytest.approx(result["test_top1_percent"])
    model = onnx.load(folder / "network.onnx")
    onnx.checker.check_model(model, full_check=True)
    props = {entry.key: entry.value for entry in model.metadata_props}
    facts = json.loads((run / "retrain" / name / "data.json").read_text())
    assert json.loads(props["mean"]) == facts["mean"]
    assert json.loads(props["std"]) == facts["std"]
    assert json.loads(props["class_names"]) == ["0", "1", "2"]
    assert json.loads(props["input_size"]) == [1, 8, 8]
    assert json.loads(props["architecture"])["space"] == "unified"
    assert props["name"] == name


def test_what_is_loaded_answers_as_the_run_does(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = retrained(run)
    assert call(capsys, "export", run, name, "--to", "torch")[0] == 0
    network, facts = anybudget.load(run / "retrain" / name)
    state = torch.get_rng_state()
    loaded = anybudget.load(run / "export" / name / "network.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert not loaded.training
    assert loaded.facts == facts
    images = torch.rand(5, 1, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images), network(images))
    damaged = run / "damaged.safetensors"
    damaged.write_bytes((run / "export" / name / "network.safetensors").read_bytes()[:-100])
    with pytest.raises(RunError, match="damaged or not safetensors"):
        anybudget.load(damaged)


def test_inherited_weights_and_folders_without_their_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = retrained(run)
    code, said, error = call(
        capsys, "export", run, name, "--weights", "inherited", "--to", "torch", "--out", tmp_path / "i", "--json"
    )
    assert code == 0, error
    record = json.loads(said)
    assert record["weights"] == "inherited"
    assert record["test"]["images"] == 36
    assert "not trained on their own" in (tmp_path / "i" / "README.md").read_text()
    alone = tmp_path / "alone"
    shutil.copytree(run / "retrain" / name, alone)
    code, said, error = call(capsys, "export", alone, "--to", "torch")
    assert code == 0, error
    assert "random" in said
    assert (alone / "export" / "network.py").is_file()
    code, _, error = call(capsys, "export", alone, "--to", "int8")
    assert code == 2
    assert "give the run" in error


def test_networks_of_the_zoo_and_of_the_race(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = run / "retrain" / retrained(run)
    folder, images = RunFolder(run), Images(1, 32, 3)
    network = build_network(ZOO["mobilenetv2"].specs(images)).eval()
    folder.save_weights("zoo/mobilenetv2/weights.safetensors", network)
    folder.write_json("zoo/mobilenetv2/network.json", describe_zoo("mobilenetv2", images))
    shutil.copy(kept / "data.json", run / "zoo" / "mobilenetv2")
    folder.write_json("zoo/mobilenetv2/result.json", {"costs": {"macs": 3}})
    shutil.copytree(kept, run / "race" / kept.name)
    folder.write_json(f"race/{kept.name}/result.json", {"costs": {"macs": 3}})
    for number, part in enumerate(("zoo/mobilenetv2", f"race/{kept.name}")):
        out = tmp_path / str(number)
        code, _, error = call(capsys, "export", run / part, "--to", "torch", "--out", out)
        assert code == 0, error
        record = Export.model_validate(json.loads((out / "export.json").read_text()))
        assert record.test is not None
        assert record.test.images == 36
        assert record.weights == ("raced" if number else "retrained")
    loaded = anybudget.load(tmp_path / "0" / "network.safetensors")
    x = torch.rand(2, 1, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), network(x))
    assert "mobilenetv2, a published network" in (tmp_path / "0" / "README.md").read_text()


def test_it_is_exported_from_python(run: Path, tmp_path: Path) -> None:
    opened = Run.open(run)
    architecture = find_architecture(opened.context, retrained(run))
    folder, record = opened.export(architecture, Wanted(("torch",)), tmp_path / "out")
    assert folder == tmp_path / "out"
    assert set(record.forms["torch"].files) == {"network.py", "network.safetensors"}


def test_forms_are_kept_while_the_weights_are_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = retrained(run)
    folder = run / "export" / name
    assert call(capsys, "export", run, name, "--to", "torch")[0] == 0
    assert call(capsys, "export", run, name)[0] == 0
    assert set(json.loads((folder / "export.json").read_text())["forms"]) == {"torch", "onnx"}
    record = json.loads((folder / "export.json").read_text())
    (folder / "export.json").write_text(json.dumps({**record, "digest": "of others"}))
    assert call(capsys, "export", run, name)[0] == 0
    assert set(json.loads((folder / "export.json").read_text())["forms"]) == {"onnx"}
    assert not (folder / "network.py").exists()
    architecture = record["network"]["architecture"]
    other = {**record["network"], "architecture": {**architecture, "choices": architecture["choices"][::-1]}}
    (folder / "export.json").write_text(json.dumps({**record, "network": other}))
    if other["architecture"] != architecture:
        code, _, error = call(capsys, "export", run, name)
        assert code == 2
        assert "exported before" in error


Refused = tuple[Callable[[Path], list[object]], str]
REFUSED: dict[str, Refused] = {
    "an unanswered budget": (lambda run: [run, "macs<=29k"], "has no answer to the budget macs<=29k, it has answered"),
    "an unknown cost": (lambda run: [run, "watts<=3"], "watts"),
    "an unknown id": (lambda run: [run, "0123456789"], "is no network of this run"),
    "no such file": (lambda run: [run, "nothing.json"], "nothing.json"),
    "several architectures": (lambda run: [run, run / "candidates.jsonl"], "and one is exported at a time; name one"),
    "another space": (lambda run: [run, run / "other.json"], "mbconv"),
    "not retrained": (lambda run: [run, "macs<=60k, params<=1500"], "has not been retrained"),
    "out is a file": (lambda run: [run, "macs<=30k", "--out", run / "recipe.toml"], "is a file; give a folder"),
    "out is below a file": (lambda run: [run, "macs<=30k", "--out", run / "recipe.toml" / "x"], "give a folder"),
    "an unknown form": (lambda run: [run, "macs<=30k", "--to", "tflite"], "onnx, torch, int8, openvino"),
    "unknown weights": (lambda run: [run, "macs<=30k", "--weights", "best"], "retrained, inherited"),
    "a run alone": (lambda run: [run], "name one of its networks, too"),
    "an agreement beyond all": (lambda run: [run, "macs<=30k", "--min-agreement", "101"], "from 0 to 100"),
    "no network": (lambda run: [run / "retrain"], "no trained network"),
    "pixels for torch": (lambda run: [run, "macs<=30k", "--to", "torch", "--with-preprocessing"], "leave it out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    name: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = REFUSED[name]
    (run / "other.json").write_text('{"space": "mbconv", "choices": [0]}')
    other = [path for path in (run / "retrain").iterdir() if path.name != answer_to(run, "macs")]
    for folder in other:
        shutil.rmtree(folder)
    before = contents(run)
    if name == "not retrained" and answer_to(run, "params") == answer_to(run, "macs"):
        shutil.rmtree(run / "retrain")
        before = contents(run)
    code, _, error = call(capsys, "export", *arguments(run))
    assert code == 2
    assert message in " ".join(error.split())
    assert contents(run) == before


def answer_to(run: Path, cost: str) -> str:
    """The short id of the answer to the budgets that have this cost, the fewest of them."""
    lines = [json.loads(line) for line in (run / "candidates.jsonl").read_text().splitlines()]
    found = min((line for line in lines if cost in line["budgets"]), key=lambda line: len(line["budgets"]))
    return anybudget.Architecture.from_dict(found["architecture"]).short_id


@pytest.mark.parametrize(
    ("library", "form", "extra"),
    [("onnx", "onnx", "onnx"), ("onnxscript", "int8", "onnx"), ("onnxruntime", "onnx", "onnx"), ("openvino",) * 3],
)
def test_a_missing_library_is_named_before_any_work(
    library: str, form: str, extra: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    before = contents(run)
    code, _, error = call(capsys, "export", run, "macs<=30k", "--to", form)
    assert code == 2
    assert f"needs {library}" in error
    assert f"pip install 'anybudget[{extra}]'" in error
    assert contents(run) == before


def test_int8_is_refused_below_the_agreement(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quantised for images that are nothing like those it is tested on, it answers otherwise."""
    from anybudget.data import ImageSet
    from anybudget.export import making

    real = making.quantise

    def misled(model: Any, subject: Subject, calibration: ImageSet, *, with_preprocessing: bool) -> bytes:
        dark = ImageSet(torch.full_like(calibration.images, 1), calibration.labels)
        return real(model, subject, dark, with_preprocessing=with_preprocessing)

    monkeypatch.setattr(making, "quantise", misled)
    before = contents(run)
    code, _, error = call(capsys, "export", run, "macs<=30k", "--to", "onnx", "--to", "int8")
    assert code == 2
    assert "95% are required" in " ".join(error.split())
    assert "lower --min-agreement" in " ".join(error.split())
    assert contents(run) == before


def test_a_form_that_answers_otherwise_is_not_written(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from anybudget.export import making, onnx_file

    def negated(subject: Subject, *, with_preprocessing: bool) -> Any:
        wrong = replace(subject, network=nn.Sequential(*subject.network, _Shifted()))
        return onnx_file.onnx_file(wrong, with_preprocessing=with_preprocessing)

    monkeypatch.setattr(making, "onnx_file", negated)
    before = contents(run)
    code, _, error = call(capsys, "export", run, "macs<=30k", "--to", "onnx", "--to", "torch")
    assert code == 2
    assert "answers differ from PyTorch's on 36 of 36 images" in " ".join(error.split())
    assert contents(run) == before


class _Shifted(nn.Module):
    """A mistake of a hundredth."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.01 * x.abs().max()


def test_the_python_of_the_page_and_of_the_card_runs(
    exported: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = exported
    monkeypatch.chdir(run / "export" / retrained(run))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)).save("photo.jpg")
    page, card = (python_blocks(path) for path in (Path(__file__).parents[1] / "docs" / "export.md", Path("README.md")))
    names: dict[str, Any] = {}
    monkeypatch.syspath_prepend(Path.cwd())
    for block in (*page, *card):
        exec(block, names)
    assert (len(page), len(card)) == (2, 4)
    assert names["logits"].shape == (1, 3)  # of the last block, the image of the page
    said = capsys.readouterr().out
    assert "blocks.1 6 2" in said


def test_openvino(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed; pip install 'anybudget[openvino]'")
    code, _, error = call(capsys, "export", run, "macs<=30k", "--to", "openvino", "--with-preprocessing")
    assert code == 0, error
    record = Export.model_validate(json.loads((run / "export" / retrained(run) / "export.json").read_text()))
    assert record.forms["openvino"].checked.equal_answers == 36
    assert set(record.forms["openvino"].files) == {"network.xml", "network.bin"}
