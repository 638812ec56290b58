"""The rules by which a recipe is planned: tables of facts, the value that follows, and what its reason names."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from anybudget.budgets import BudgetSet
from anybudget.data.overview import Contents, overview_of
from anybudget.data.overview.contents import ImageFacts, Item
from anybudget.errors import BudgetError, ConfigError, DataError
from anybudget.planning import images, networks
from anybudget.planning.budgets import factor_for, given, like_network, spread
from anybudget.planning.choice import Choice
from anybudget.planning.draft import Draft, plain
from anybudget.planning.lengths import (
    GENERATOR_STEPS,
    JUDGED,
    MOST_EPOCHS,
    RACERS,
    USED,
    Lengths,
    generator_batch,
    generator_epochs,
    longest,
)
from anybudget.planning.like import multiply_adds, read_like
from anybudget.planning.networks import FACTORS, Outline
from anybudget.planning.profile import DataProfile, profile_of
from anybudget.planning.timing import StepTimes, Time, side_by_side, stage_times
from anybudget.planning.workload import Images, halving, workload_of
from anybudget.planning.writing import commented
from anybudget.recipe import parse_recipe, resolved

PLENTY = dict.fromkeys(images.SIZES, 1e6)
CHOICES: list[tuple[Callable[..., Any], tuple[Any, ...], Any, str]] = [
    (images.input_size, (96, PLENTY, 1.0), 96, "96 pixels"),
    (images.input_size, (100, PLENTY, 1.0), 96, "100 pixels"),
    (images.input_size, (28, PLENTY, 1.0), 32, "smallest size"),
    (images.input_size, (500, PLENTY, 1.0), 224, "500 pixels"),
    (images.input_size, (96, PLENTY | {96: 1199.0, 64: 1200.0}, 0.5), 64, "0.5 h"),
    (images.input_size, (96, dict.fromkeys(images.SIZES, 10.0), 0.1), 32, "0.1 h"),
    (images.split_fraction, ("validation", 20_000), 0.1, "2,000"),
    (images.split_fraction, ("validation", 1_000), 0.2, "1,000"),
    (images.split_fraction, ("test", 10**6), 0.05, "1,000,000"),
    (images.batch_size, (12_000,), 64, "learning rate"),
    (images.batch_size, (1_279,), 32, "1,279"),
    (images.batch_size, (40,), 16, "40"),
    (images.learning_rate, (64,), 0.1, "demo"),
    (images.learning_rate, (16,), 0.025, "in proportion"),
    (images.crop_padding, (48,), 3, "sixteenth"),
    (images.flip, (), True, "digits"),
    (images.class_balance, (11.5,), 1.0, "11.5 times"),
    (images.class_balance, (40.0,), 0.5, "40 times"),
    (images.metric, (3.0,), "balanced_accuracy_percent", "uneven"),
    (networks.factor, (dict.fromkeys(FACTORS, 1e6), 2.0), 4, "2 h"),
    (networks.factor, ({1: 5000.0, 2: 1300.0, 3: 600.0, 4: 300.0}, 2.0), 2, "2 times"),
    (networks.factor, (dict.fromkeys(FACTORS, 1.0), 2.0), 1, "narrowest"),
    (spread, (1e4, 1e6), ["macs<=100k", "macs<=173k", "macs<=316k"], "from 10k to 1M"),
    (given, (("macs<=2M",),), ["macs<=2M"], "asked"),
    (like_network, ("MobileNetV2 times 0.5", 97_131_840.0), ["macs<=97.1M"], "97.13M"),
    (factor_for, (1e6, {1: 1.9e6, 2: 7e6, 3: 1e7, 4: 2e7}), 2, "1M"),
    (factor_for, (15e6, {1: 1.9e6, 2: 7e6, 3: 1e7, 4: 2e7}), 4, "widest"),
]


@pytest.mark.parametrize(
    ("rule", "known", "value", "reason"), CHOICES, ids=[f"{row[0].__name__}{row[2]}" for row in CHOICES]
)
def test_a_rule_says_a_value_and_why(rule: Callable[..., Any], known: Any, value: Any, reason: str) -> None:
    choice = rule(*known)
    assert choice.value == value
    assert reason in choice.reason
    assert "\n" not in choice.reason


def test_even_classes_need_nothing() -> None:
    assert images.class_balance(2.9) is None
    assert images.metric(2.9) is None


def test_a_budget_above_all_networks_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"macs<=30M: is no limit.* 20M"):
        factor_for(3e7, {1: 1.9e6, 4: 2e7})


def test_budgets_lie_within_what_can_be_reached() -> None:
    limits = [BudgetSet.parse(text).limits()["macs"] for text in spread(73_216, 2_666_944).value]
    assert limits == sorted(limits)
    assert all(73_216 < limit < 2_666_944 for limit in limits)


@pytest.mark.parametrize(("width", "millions"), [(0.35, 59), (0.5, 97), (0.75, 209), (1.0, 301), (1.4, 582)])
def test_mobilenet_has_its_published_multiply_adds(width: float, millions: int) -> None:
    """Of the authors' table of checkpoints, as torchvision's and timm's networks count, too."""
    assert round(multiply_adds(read_like(f"mobilenetv2 x{width}"), 224, 3, 1000) / 1e6) == millions


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("mobilenetv2", "MobileNetV2 1.0"),
        ("MobileNetV2 x0.5", "MobileNetV2 times 0.5"),
        ("mobilenet-v2 ×1.4", "MobileNetV2 times 1.4"),
        (" SGNAS-A ", "SGNAS-A"),
        ("mixnet-m", "MixNet-M"),
    ],
)
def test_a_yardstick_is_read(text: str, title: str) -> None:
    assert read_like(text).title == title


@pytest.mark.parametrize("text", ["", "resnet50", "mobilenetv2 x0", "mobilenetv2 x99", "mobilenetv3", "sgnas-a x0.5"])
def test_what_is_no_yardstick_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--like"):
        read_like(text)


@pytest.mark.parametrize("size", images.SIZES)
def test_the_last_map_has_3_to_7_pixels(size: int) -> None:
    outline = Outline(size)
    side = size
    for _ in range(outline.halvings):
        side = (side + 1) // 2
    assert 3 <= side <= 7
    assert len(outline.stages) + outline.stem_stride - 1 == outline.halvings


def an_overview(sizes: list[tuple[int, int]], labels: list[int], drawn: tuple[str, ...] = ()) -> Any:
    items = [
        Item(str(place), label, "train", ImageFacts(*size, "RGB", "PNG", bytes([place])))
        for place, (size, label) in enumerate(zip(sizes, labels, strict=True))
    ]
    return overview_of(Contents("here", "folder", ("a", "b"), items, drawn=drawn))


def test_a_profile_has_the_median_side_and_the_imbalance() -> None:
    found = profile_of(an_overview([(20, 10)] * 10 + [(50, 40)] * 30, [0] * 30 + [1] * 10))
    assert (found.side, found.imbalance, found.channels, found.classes) == (40, 3.0, 3, 2)
    assert found.shipped_training == found.counts["train"] == 40


def test_too_few_images_cannot_be_planned_for() -> None:
    with pytest.raises(DataError, match=r"31 training image.*32 or more"):
        profile_of(an_overview([(20, 10)] * 31, [0] * 16 + [1] * 15))


def linear(lengths: Lengths) -> float:
    """Seconds of an imaginary run."""
    return 10.0 * lengths.retrain + 2.0 * lengths.racers * lengths.retrain + lengths.judged + lengths.generator_steps


@pytest.mark.parametrize("hours", [0.2, 0.5, 1.0, 3.0, 10.0])
def test_the_longest_run_fills_its_time(hours: float) -> None:
    found = longest(linear, hours, steps_per_epoch=60)
    room = USED * 3600 * hours
    assert linear(found) <= room
    assert found.retrain == MOST_EPOCHS or linear(Lengths(found.retrain + 1, *_others(found))) > room
    assert found.racers in RACERS
    assert found.judged in JUDGED
    assert found.generator_steps in GENERATOR_STEPS


def _others(found: Lengths) -> tuple[int, int, int]:
    return found.racers, found.judged, found.generator_steps


def test_short_time_takes_from_judging_and_racing_first() -> None:
    assert longest(linear, 10.0, 60).racers == RACERS[0]
    short = longest(linear, 0.03, 60)
    assert _others(short) == (RACERS[-1], JUDGED[-1], GENERATOR_STEPS[-1])


def test_hours_in_which_nothing_can_be_done_are_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"--hours 0\.001: .*give --hours") as refused:
        longest(linear, 0.001, 60)
    longest(linear, float(str(refused.value).split("give --hours ")[1].split(" or")[0]), 60)


def test_the_generator_has_its_steps_on_few_and_many_images() -> None:
    assert (generator_batch(1800), generator_epochs(1800, 140)) == (128, 10)  # the demo's
    assert generator_batch(40) == 10
    assert generator_epochs(10**6, 140) == 1


def test_halving_ends_with_one() -> None:
    assert halving(16, 1) == ((16,), (8,), (4,), (2,))
    assert halving(1, 2) == ((1, 1),)


PROFILE = DataProfile("cells", 3, 3, {"train": 2804, "validation": 1137, "test": 945}, (), 96, 11.5)


def a_draft(profile: DataProfile = PROFILE, **changes: Any) -> Draft:
    values: dict[str, Any] = {
        "name": "cells", "source": "/data/cells", "device": "auto", "hours": 0.5, "profile": profile,
        "size": Choice(48, "because"), "width": Choice(1, "narrow"), "budgets": given(["macs<=1M", "macs<=2M"]),
        "lengths": Lengths(20, 8, 32, 70),
    }  # fmt: skip
    return Draft(**(values | changes))


def test_a_written_recipe_is_the_planned_one_with_a_reason_for_every_value() -> None:
    tables = a_draft().tables()
    text = commented(tables, ["Planned."])
    planned = parse_recipe(plain(tables), "planned")
    assert resolved(parse_recipe(tomllib.loads(text), "written")) == resolved(planned)
    for line in text.splitlines():
        assert not line or line.startswith(("[", "]", "#", "    {")) or "# " in line, line
    assert planned.search.metric == "balanced_accuracy_percent"
    assert planned.supernet.class_balance == planned.retrain.class_balance == 1.0
    assert planned.retrain.picks == [1, 2]
    assert planned.device == "auto"


def test_odd_names_and_reasons_do_not_break_the_file() -> None:
    draft = a_draft(name='a "b"', source="C:\\x\ny", device="cpu")
    tables = draft.tables()
    tables[""]["name"] = Choice('a "b"', "two\nlines")
    assert tomllib.loads(commented(tables, ["head\nline"])) == plain(tables)
    assert parse_recipe(plain(tables), "planned").device == "cpu"


def test_even_data_without_splits_get_fractions_and_no_weights() -> None:
    even = DataProfile("x", 10, 1, {"train": 7000, "validation": 1500, "test": 1500}, ("test", "validation"), 28, 1.0)
    draft = a_draft(even)
    recipe = parse_recipe(plain(draft.tables()), "planned")
    assert (recipe.data.validation_fraction, recipe.data.test_fraction) == (0.2, 0.2)
    assert draft.images == Images(6000, 2000, 2000)
    assert recipe.supernet.class_balance == 0.0
    assert recipe.search.metric == "top1_percent"


STEPS = StepTimes(
    start=Time(5, 5), path=Time(0.1, 0.2), statistics=Time(1, 1), mixture=Time(0.5, 1.0), judge=Time(0.3, 0.3),
    train=(Time(0.01, 0.01), Time(0.02, 0.02)), measure=Time(0.4, 0.4),
)  # fmt: skip


def test_the_time_of_every_stage_by_hand() -> None:
    recipe = parse_recipe(plain(a_draft().tables()), "planned")
    counts = Images(2804, 1137, 945)
    work = workload_of(recipe, counts)
    assert (work.supernet_steps, work.retrain_steps) == (50 * 43, 20 * 43)
    assert (work.judged, work.baseline, work.raced) == (2 * 32, 2 * 8, 2 * (8 + 4 + 2))
    found = stage_times(work, STEPS, workers=2, test_share=1.0)
    assert found["supernet"].seconds == pytest.approx(0.1 * 2150 + 1)
    assert found["supernet"].processor_seconds == pytest.approx(0.2 * 2150 + 1)
    assert found["generator"].seconds == pytest.approx(0.5 * work.generator_steps)
    assert found["search"].seconds == pytest.approx(0.3 * 64 / 2)
    assert found["random"].processor_seconds == pytest.approx(0.3 * 16)
    # A trial of a quarter of the epochs goes before the training.
    assert found["retrain"].seconds == pytest.approx(
        0.02 * (215 + 860) + 0.8
    )  # two networks side by side: the longer one
    a_round = work.round_steps * 0.01 + 0.4, work.round_steps * 0.02 + 0.4
    assert found["race"].processor_seconds == pytest.approx(14 * sum(a_round))
    assert found["race"].seconds == pytest.approx(7 * sum(a_round))
    assert work.images_trained()["retrain"] == 2 * (215 + 860) * 64
    # All budgets share the answer to the first, whose networks are the cheapest.
    least = stage_times(work.shared(0), STEPS, workers=2, test_share=1.0)
    assert least["retrain"].seconds == pytest.approx(0.01 * (215 + 860) + 0.8)
    assert least["race"].processor_seconds == pytest.approx(14 * a_round[0])
    apart = {"retrain", "race"}
    assert {name for name in found if found[name] != least[name]} == apart


def test_pieces_go_to_whoever_is_idle_first() -> None:
    pieces = [Time(3, 1), Time(1, 1), Time(1, 1)]
    assert side_by_side(pieces, 1) == Time(5, 3)
    assert side_by_side(pieces, 2) == Time(3, 3)
    assert side_by_side([], 2) == Time(0, 0)


def test_retraining_on_validation_images_too_has_more_steps() -> None:
    data = plain(a_draft().tables())
    data["retrain"]["data"] = "train+validation"
    work = workload_of(parse_recipe(data, "planned"), Images(2804, 1137, 945))
    assert (work.supernet_steps, work.retrain_steps) == (50 * 43, 20 * (3941 // 64))


def test_a_strategy_without_a_generator_trains_none() -> None:
    tables = a_draft().tables()
    data = plain(tables)
    data["search"]["strategy"] = "evolution"
    work = workload_of(parse_recipe(data, "planned"), Images(2804, 1137, 945))
    assert work.generator_steps == 0
    assert work.judged == 2 * 20 * 50
    data["search"]["strategy"] = "direct"
    assert workload_of(parse_recipe(data, "planned"), Images(2804, 1137, 945)).judged is None
    assert math.isfinite(sum(work.images_trained().values()))
