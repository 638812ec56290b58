"""Retraining on all images but the test split, and with a teacher: losses, weights, records, and what is refused."""

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from anybudget.data import DataSplits, ImageSet, TrainingBatches
from anybudget.data.augmentation import AugmentedReading
from anybudget.data.image_transforms import CroppedTransforms
from anybudget.data.joined import Joined, TrainedOnValidation
from anybudget.errors import ConfigError
from anybudget.nets import build_network
from anybudget.recipe import load_recipe
from anybudget.runs.run import Run
from anybudget.runs.teaching import largest, teacher_of
from anybudget.testing import check_source
from anybudget.testing.interruption import differing_files
from anybudget.training.distillation import Teacher, check_teacher, timm_teacher
from anybudget.training.distillation_settings import TeacherSettings
from anybudget.training.loop import TrainingContext
from anybudget.training.retrain import train_network
from anybudget.training.settings import Schedule
from stopping import stop_after
from test_samplers import SPACE

ONE_STEP = {"epochs": 1, "batch_size": 16, "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return build_network(SPACE.block_specs(SPACE.sample(np.random.default_rng(seed))))


def test_training_and_validation_images_are_trained_on_and_no_test_image(data: DataSplits) -> None:
    joined = TrainedOnValidation(data)
    assert isinstance(data.train, ImageSet)
    assert isinstance(data.validation, ImageSet)
    images = torch.cat([data.train.images, data.validation.images])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    assert torch.equal(joined.train.read(order), images[order])
    assert torch.equal(joined.train.labels, torch.cat([data.train.labels, data.validation.labels]))
    assert torch.equal(torch.cat(list(joined.train.read_batches(order.split(7)))), images[order])
    assert joined.test() is data.test()
    assert joined.listing() == data.listing()
    check_source(joined)


def test_joined_images_are_augmented_alike_in_any_batch(data: DataSplits) -> None:
    joined = Joined(data.train, data.validation)
    augmented = AugmentedReading(CroppedTransforms(colour_jitter=0.4, height=8, width=8, scale=0.2), 3, 1)
    order = torch.randperm(len(joined.labels), generator=torch.Generator().manual_seed(0))
    whole = joined.read_augmented(order, augmented)
    parts = torch.cat(list(joined.read_batches(order.split(5), augmented)))
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, joined.read(order))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loss_is_that_of_hinton(accumulate: int, data: DataSplits) -> None:
    batch = dataclasses.replace(data, train=data.train.subset(torch.arange(16)))
    teacher, pupil = network(1).eval().requires_grad_(False), network(0)
    reference = copy.deepcopy(pupil).train()
    rows: list[dict[str, float]] = []
    train_network(
        pupil,
        batch,
        Schedule(**ONE_STEP, accumulate=accumulate),
        seed=5,
        context=TrainingContext(log=rows.append),
        teacher=Teacher(teacher, weight=0.3, temperature=4.0),
    )
    ((images, labels),) = TrainingBatches(batch, batch.train, 16, 5).epoch(1, torch.device("cpu"))
    plain = []
    for x, y in zip(images.tensor_split(accumulate), labels.tensor_split(accumulate), strict=True):
        logits = reference(x)
        target, own = (teacher(x) / 4).softmax(1), (logits / 4).log_softmax(1)
        divergence = (target * (target.log() - own)).sum(1).mean()
        (((0.7 * F.cross_entropy(logits, y)) + 0.3 * 16 * divergence) / accumulate).backward()
        plain.append(F.cross_entropy(logits, y).item())
    for name, parameter in reference.named_parameters():
        assert parameter.grad is not None
        expected = parameter - 0.1 * parameter.grad
        torch.testing.assert_close(pupil.get_parameter(name), expected, rtol=1e-4, atol=1e-6, msg=name)
    assert rows[0]["loss"] == pytest.approx(np.mean(plain), rel=1e-5)


def settings_of(*more: str) -> list[str]:
    return ["checkpoint_seconds=0", "retrain.epochs=2", "retrain.data=train+validation", *more]


def test_retraining_with_the_supernet_s_largest_network_is_recorded_and_resumed(
    recipe_file: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_file, settings_of("retrain.teacher={model='supernet',weight=0.7}"))
    architecture = recipe.build_space().sample(np.random.default_rng(0))
    whole, broken = Run.create(recipe, tmp_path / "whole"), Run.create(recipe, tmp_path / "broken")
    for run in (whole, broken):
        run.train_supernet()
    result = whole.retrain(architecture)
    stop_after(3, lambda: Run.open(tmp_path / "broken").retrain(architecture))
    Run.open(tmp_path / "broken").retrain(architecture)
    assert not differing_files(tmp_path / "whole", tmp_path / "broken")
    assert "validation_top1_percent" not in result
    assert result["test_top1_percent"] >= 0
    kept = json.loads((tmp_path / "whole" / "retrain" / architecture.short_id / "result.json").read_text())["settings"]
    assert kept["data"] == "train+validation"
    assert kept["teacher"] == whole.folder.digest("supernet.safetensors")
    plain = Run.open(tmp_path / "whole")
    costs = [plain.costs["macs"].cost(plain.space.sample(np.random.default_rng(seed))) for seed in range(50)]
    assert plain.costs["macs"].cost(largest(plain.context)) >= max(costs)
    teacher = teacher_of(plain.context)
    assert teacher is not None
    assert (teacher.weight, teacher.temperature, teacher.network.training) == (0.7, 2.0, False)


@pytest.mark.timm
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_model_of_timm_teaches_from_a_file(suffix: str, data: DataSplits, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    model = timm.create_model("test_resnet", num_classes=3).eval()
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)
    settings = TeacherSettings(model="test_resnet", weights=str(path))
    check_teacher(settings)
    adapted = timm_teacher(settings, data).eval()
    images = data.test().read(torch.arange(4))
    _, *size = model.pretrained_cfg["input_size"]
    pixels = (images.float() / 255).expand(-1, 3, -1, -1)
    pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
    expected = model((pixels - mean) / std)
    torch.testing.assert_close(adapted(data.normalise(images)), expected, rtol=1e-3, atol=1e-4)
    pupil = network(0)
    schedule = Schedule(epochs=1, batch_size=16, learning_rate=0.05)
    train_network(pupil, data, schedule, teacher=Teacher(adapted, 0.5, 2.0))
    other = timm.create_model("test_resnet", num_classes=5)
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    wrong = TeacherSettings(model="test_resnet", weights=str(tmp_path / "other.safetensors"))
    with pytest.raises(ConfigError, match=r"other\.safetensors does not hold the weights of test_resnet for 3 classes"):
        timm_teacher(wrong, data)
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"bad\.pth"):
        timm_teacher(TeacherSettings(model="test_resnet", weights=str(tmp_path / "bad.pth")), data)


@pytest.mark.timm
def test_a_teacher_that_is_not_there_is_said_before_any_work(recipe_file: Path, tmp_path: Path) -> None:
    for given, named in (("test_resnet", "is no file"), ("resnt18", "timm has no such model")):
        teacher = f"retrain.teacher={{model='{given}',weights='/nowhere/at.pth'}}"
        run = Run.create(load_recipe(recipe_file, [teacher]), tmp_path / given)
        with pytest.raises(ConfigError, match=named):
            run.run_all(lambda _line: None)
