"""Recipes and `--set` overrides that cannot be meant: each is refused by one message, before anything is written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conftest import RECIPES
from mistakes import Prepare, both, linked, made_folder, mistake, refuse, written

RUN = ("run", "tiny.toml", "--out", "new")


def recipe(content: str | bytes) -> Prepare:
    """Write `bad.toml`."""
    return written("bad.toml", content)


def changed(old: str, new: str) -> Prepare:
    """Write `bad.toml`: the good recipe with one change."""

    def prepare(folder: Path) -> None:
        text = (folder / "tiny.toml").read_text()
        assert old in text
        (folder / "bad.toml").write_text(text.replace(old, new, 1))

    return prepare


def bad(identifier: str, prepare: Prepare, names: str, command: str = "run bad.toml --out new") -> Any:
    """A row about `bad.toml`, which every message names."""
    return mistake(identifier, command, f"bad.toml: {names}", prepare)


def override(text: str, names: str, *more: str) -> Any:
    """A row about `--set`, or several."""
    settings = [part for each in (text, *more) for part in ("--set", each)]
    identifier = " ".join(each[:60] for each in (text, *more))
    return mistake(identifier, [*RUN, *settings], names)


FILES = [
    mistake("no-file", "run none.toml", "none.toml: no such recipe"),
    mistake("no-file-space", "space none.toml", "none.toml: no such recipe"),
    mistake("no-file-supernet", "supernet none.toml", "none.toml: no such recipe"),
    mistake(
        "run-folder", "run run", "run: cannot read the recipe: this is a run folder; to resume the run: anybudget run"
    ),
    mistake("folder", "run t", "t: cannot read the recipe: Is a directory; give a TOML file", made_folder("t")),
    mistake("ending-left-out", "run tiny", "tiny: no such recipe; did you mean tiny.toml?"),
    mistake("misspelt", "space tinny.toml", "tinny.toml: no such recipe; did you mean tiny.toml?"),
    mistake(
        "misspelt-folder", "space recipe/x.toml", "recipe/x.toml: no such recipe; the project's own are in recipes/"
    ),
    mistake("name-too-long", ["space", "x" * 5000], "cannot read the recipe: File name too long"),
    mistake("null-in-name", ["space", "a\0b"], "RECIPE"),
    mistake("images-as-recipe", "space images.npz", "images.npz: cannot read the recipe: 'utf-8' codec"),
    bad("empty", recipe(""), "key name is missing; key space is missing"),
    bad("blank", recipe("\n# nothing\n"), "key name is missing"),
    bad("not-utf8", recipe(b'name = "\xff"'), "cannot read the recipe: 'utf-8' codec can't decode byte 0xff"),
    bad("utf16", recipe("name = 'x'".encode("utf-16")), "cannot read the recipe"),
    bad("not-toml", recipe("name = "), "not valid TOML: Invalid value (at end of document)"),
    bad("json", recipe('{"name": "tiny"}'), "not valid TOML"),
    bad("nul-byte", recipe("name = 'a\0b'"), "not valid TOML"),
    bad("key-twice", changed("threads = 1", "threads = 1\nthreads = 2"), "not valid TOML: Cannot overwrite a value"),
    bad("table-twice", changed("[data]", "[data]\n[data]"), "not valid TOML: Cannot declare ('data',) twice"),
    bad("nested-lists", recipe("x = " + "[" * 5000), "not valid TOML: nested too deeply"),
    bad("nested-tables", recipe("x = " + "{a=" * 3000), "not valid TOML: nested too deeply"),
    bad("nested-keys", changed("name", "a." * 3000 + "b = 1\nname"), "not valid TOML: nested too deeply"),
    bad("huge-number", recipe("seed = " + "9" * 5000), "not valid TOML: a number has more than 4300 digits"),
    bad(
        "huge-hexadecimal",
        changed("threads = 1", "threads = 0x" + "f" * 5000),
        "not valid TOML: a number has more than 4300 digits",
    ),
    bad("unknown-table", changed("[search]", "[serch]\nx = 1\n[search]"), "unknown key serch; did you mean search?"),
    bad("unknown-key", changed("priors", "prior"), "unknown key search.generator.prior; did you mean priors?"),
    bad("key-of-two-lines", changed("[search]", '["a\\nb"]\nx = 1\n[search]'), r"unknown key a b; known are name"),
    bad("key-of-control-codes", changed("[search]", '["\\u001b[31m"]\n[search]'), r"unknown key \x1b[31m"),
    bad("long-key", changed("[search]", f"[{'k' * 5000}]\n[search]"), "unknown key kkk"),
    bad("long-text", changed("epochs = 2", f"epochs = '{'x' * 5000}'"), "supernet.epochs: input should be a valid int"),
    bad("date", changed('"tiny"', "2020-01-01"), "name: input should be a valid string, found datetime.date"),
    bad("no-name", changed('name = "tiny"', ""), "key name is missing"),
    bad("no-space", changed("[space]", "[generator2]"), "key space is missing; unknown key generator2"),
    bad("table-as-list", changed("[supernet]", "[[supernet]]"), "supernet: input should be a table"),
    bad(
        "several",
        changed("epochs = 2\nbatch_size = 16", "epochs = 0\nbatch_size = 0"),
        "supernet.epochs: input should be greater than or equal to 1, found 0; supernet.batch_size: input should be",
    ),
    bad("space-command", changed("epochs = 2", "epochs = 0"), "supernet.epochs: input should be", "space bad.toml"),
    bad("supernet-command", changed("epochs = 2", "epochs = 0"), "supernet.epochs", "supernet bad.toml --out new"),
]

PATH = 'base: expected the path of a recipe, relative to this one, such as "../demo.toml"'
BASES = [
    bad("base-missing", recipe('base = "none.toml"'), "base: none.toml: no such recipe"),
    bad("base-number", recipe("base = 3"), f"{PATH}, found 3"),
    bad("base-empty", recipe('base = ""'), f"{PATH}, found ''"),
    bad("base-folder", recipe('base = "run"'), f"{PATH}, found 'run'"),
    bad("base-images", recipe('base = "images.npz"'), f"{PATH}, found 'images.npz'"),
    bad("base-other-ending", recipe('base = "tiny.toml~"'), f"{PATH}, found 'tiny.toml~'"),
    bad("base-absolute", recipe(f'base = "{RECIPES / "demo.toml"}"'), f"{PATH}, found '{RECIPES}"),
    bad("base-password", recipe('base = "/etc/passwd"'), f"{PATH}, found '/etc/passwd'"),
    bad("base-above", recipe('base = "../../tiny.toml"'), "base: '../../tiny.toml': leads out of "),
    bad(
        "base-above-and-back",
        recipe('base = "run/../../../x/tiny.toml"'),
        "base: 'run/../../../x/tiny.toml': leads out",
    ),
    bad(
        "base-link-out",
        both(linked("link.toml", RECIPES / "demo.toml"), recipe('base = "link.toml"')),
        "base: 'link.toml': leads out",
    ),
    bad("base-link-circle", both(linked("link.toml", "link.toml"), recipe('base = "link.toml"')), "base: "),
    bad(
        "base-no-utf8",
        both(written("x.toml", b"\xff"), recipe('base = "x.toml"')),
        "base: x.toml: cannot read the recipe: 'utf-8' codec",
    ),
    bad(
        "base-is-a-folder",
        both(made_folder("x.toml"), recipe('base = "x.toml"')),
        "base: x.toml: cannot read the recipe: Is a directory",
    ),
    bad("base-itself", recipe('base = "bad.toml"'), "base: bad.toml has a base itself; one level is enough"),
    bad("base-nul", recipe('base = "a\\u0000b.toml"'), r"base: 'a\x00b.toml': cannot be a path: embedded null byte"),
    bad("base-too-long", recipe(f"base = '{'x' * 5000}.toml'"), "base: xxx"),
    bad(
        "base-value-for-table", recipe('base = "tiny.toml"\nsupernet = 3'), "supernet: input should be a table, found 3"
    ),
    bad(
        "base-unknown-key",
        recipe('base = "tiny.toml"\n[supernet]\nepoch = 3'),
        "unknown key supernet.epoch",
    ),
    bad("base-of-a-base", recipe('base = "tiny.toml"\nbase = "tiny.toml"'), "not valid TOML"),
    mistake("base-set", [*RUN, "--set", "base=other.toml"], "tiny.toml: unknown key base"),
]

OVERRIDES = [
    override("seed", "--set 'seed': write key=value, such as supernet.epochs=3"),
    override("=1", "--set '=1': write key=value"),
    override("supernet..epochs=1", "--set 'supernet..epochs=1': write key=value"),
    override("seed=1\nthreads=1", r"--set 'seed=1\nthreads=1': holds more than one value"),
    override("name=\udcff", r"--set 'name=\udcff': 'utf-8' codec can't encode"),
    override("data.source=\udcff", r"--set 'data.source=\udcff': 'utf-8' codec can't encode"),
    override("supernet=" + "{a=" * 3000, "--set 'supernet={a={a="),
    override("x=" + "[" * 3000, "nested too deeply"),
    override("seed=" + "9" * 5000, "a number has more than 4300 digits"),
    override("supernet.epochs.x=1", "--set 'supernet.epochs.x=1': 'epochs' is a value, not a table"),
    override("space.stages.0.width=5", "'stages' is a value, not a table"),
    override("Seed=1", "unknown key Seed; did you mean seed?"),
    override('supernet."epochs"=3', 'unknown key supernet."epochs"; did you mean epochs?'),
    override("data.image_size=8", "unknown key data.image_size; known are source"),
    override("supernet.greedy.keep=1", "unknown key supernet.greedy.keep; did you mean kept?"),
    override("name=", "name: the text must not be empty, found ''"),
    override("seed=", "--set 'seed=': not a value as TOML writes it; write a whole number, such as seed=10"),
    override("seed=-1", "seed: input should be greater than or equal to 0, found -1"),
    override("seed=4294967296", "seed: input should be less than 4294967296"),
    override("seed=1.0", "seed: input should be a valid integer, found 1.0"),
    override("seed=true", "seed: input should be a valid integer, found True"),
    override("seed=nan", "seed: input should be a valid integer, found nan"),
    override("seed=1979-05-27", "seed: input should be a valid integer, found datetime.date"),
    override("threads=-1", "threads: input should be greater than or equal to 0"),
    override("threads=1000000000", "threads: input should be less than or equal to 1024"),
    override("device=", "device: the text must not be empty"),
    override("device=3", "device: '3' cannot be used here"),
    override("device=quantum", "device: 'quantum' cannot be used here"),
    override("device=cuda:99", "device: 'cuda:99' cannot be used here"),
    override("device=meta", "device: 'meta' cannot be used here"),
    override("device=cpu:-5", "device: 'cpu:-5' cannot be used here"),
    override("devices=0", "devices: input should be greater than or equal to 1"),
    override("devices=1000000", "devices: input should be less than or equal to 1024"),
    override("nodes=0", "nodes: input should be greater than or equal to 1"),
    override("precision=64", "precision: input should be '32-true', 'bf16-mixed' or '16-mixed', found '64'"),
    override("checkpoint_seconds=-1", "checkpoint_seconds: input should be greater than or equal to 0"),
    override("checkpoint_seconds=nan", "checkpoint_seconds: input should be "),
    override("data=3", "data: input should be a table, found 3"),
    override("data.source=", "data.source: the text must not be empty"),
    override("data.source=[]", "data.source: '[]': no such file or folder"),
    override("data.validation_fraction=0", "data.validation_fraction: input should be greater than 0"),
    override("data.validation_fraction=nan", "data.validation_fraction: input should be less than 1, found nan"),
    override("data.validation_fraction=-inf", "data.validation_fraction: input should be greater than 0, found -inf"),
    override("data.validation_fraction=true", "data.validation_fraction: input should be a valid number, found True"),
    override("data.validation_fraction=0.9", "data.validation_fraction: 0.9 and data.test_fraction 0.15 leave nothing"),
    override("space=[]", "space: input should be a table, found []"),
    override("space={}", "key space.input_size is missing"),
    override(
        "space.name=unifed",
        "space.name: unknown search space 'unifed'; did you mean 'unified'? known are unified, mbconv",
    ),
    override("space.name=[]", "space.name: unknown search space '[]'"),
    override("space.input_size=3", "space.input_size: input should be greater than or equal to 4"),
    override("space.input_size=5000", "space.input_size: input should be less than or equal to 4096"),
    override("space.input_channels=0", "space.input_channels: input should be greater than or equal to 1"),
    override("space.input_channels=3", "this data set needs space.input_channels=1 (the recipe says 3)"),
    override("space.classes=1", "space.classes: input should be greater than or equal to 2"),
    override("space.classes=4", "images.npz: this data set needs space.classes=3 (the recipe says 4)"),
    override("space.classes=1" + "0" * 30, "space.classes: input should be less than or equal to 1000000"),
    override("space.dropout=nan", "space.dropout: input should be less than 1, found nan"),
    override("space.stem_width=0", "space.stem_width: input should be greater than or equal to 1"),
    override("space.stem_width=1000000000000", "space.stem_width: input should be less than or equal to 65536"),
    override("space.stem_stride=3", "space.stem_stride: input should be 1 or 2, found 3"),
    override("space.activation=gelu", "space.activation: input should be 'relu', 'relu6' or 'hard_swish'"),
    override("space.kernels=3", "space.kernels: input should be a list, found 3"),
    override("space.kernels=[]", "space.kernels: the list should have at least one item, found []"),
    override("space.kernels=[4]", "space: kernels [4] must be distinct odd sizes in ascending order"),
    override("space.kernels=[3, 3]", "space: kernels [3, 3] must be distinct"),
    override("space.kernels=[3.0]", "tiny.toml: space.kernels.0: input should be a valid integer, found 3.0"),
    override("space.kernels=[1000001]", "space.kernels.0: input should be less than or equal to 99"),
    # 10 kernels in up to 12 sub-blocks are 646,635 configurations of every layer.
    override(
        "space.kernels=[3,5,7,9,11,13,15,17,19,21]",
        "space: 10 kernels and expansion rates 2 to 12 make 646,635 configurations of a layer, more than 20,000",
        "space.max_expansion=12",
    ),
    override("space.min_expansion=7", "space: min_expansion 7 must be at most max_expansion 6"),
    override("space.stages=[]", "space.stages: the list should have at least one item"),
    override("space.stages=['a']", "space.stages.0: input should be a table, found 'a'"),
    override("space.stages=[{width=4,repeats=1}]", "key space.stages.0.stride is missing"),
    override("space.stages=[{width=4,repeats=1,stride='1'}]", "space.stages.0.stride: input should be 1 or 2"),
    override("space.stages=[{width=4,repeats=1000000,stride=1}]", "space.stages.0.repeats: input should be less than"),
    override("space.stages=[{width=0,repeats=1,stride=1}]", "space.stages.0.width: input should be greater than"),
    override("supernet=[]", "supernet: input should be a table, found []"),
    override(
        "supernet.sampler=greed",
        "supernet.sampler: unknown path sampler 'greed'; did you mean 'greedy'?",
    ),
    override("supernet.epochs=0", "supernet.epochs: input should be greater than or equal to 1"),
    override("supernet.epochs=true", "supernet.epochs: input should be a valid integer, found True"),
    override("supernet.batch_size=1", "supernet.batch_size: input should be greater than or equal to 2"),
    override("supernet.batch_size=1" + "0" * 30, "supernet.batch_size: input should be less than or equal to"),
    override("supernet.learning_rate=0", "supernet.learning_rate: input should be greater than 0"),
    override("supernet.learning_rate=inf", "supernet.learning_rate: input should be "),
    override("supernet.learning_rate=nan", "supernet.learning_rate: input should be "),
    override("supernet.learning_rate=1e300", "supernet.learning_rate: input should be less than or equal to 1000000"),
    override("supernet.momentum=1", "supernet.momentum: input should be less than 1"),
    override("supernet.weight_decay=-1", "supernet.weight_decay: input should be greater than or equal to 0"),
    override("supernet.nesterov=yes", "--set 'supernet.nesterov=yes': not a value as TOML writes it; write true"),
    override("supernet.nesterov=true", "supernet.nesterov: needs a momentum", "supernet.momentum=0.0"),
    override("supernet.warmup_epochs=3", "supernet.warmup_epochs: 3 are more than the 2 of supernet.epochs"),
    override("supernet.crop_padding=8", "supernet.crop_padding: 8 pixels around images of 8 (space.input_size)"),
    override("supernet.label_smoothing=1", "supernet.label_smoothing: input should be less than 1"),
    override("supernet.clip_norm=-1", "supernet.clip_norm: input should be greater than or equal to 0"),
    override("retrain.optimiser=Adam W", "retrain.optimiser: "),
    override("retrain.annealing=cosin", "retrain.annealing: input should be 'cosine', 'linear', 'exponential' or"),
    override("supernet.decay_rate=0.9", "supernet.decay_rate: the learning rate falls 'cosine' (supernet.annealing)"),
    override("retrain.nesterov=true", "retrain.nesterov: belongs to SGD, and", "retrain.optimiser=adamw"),
    override("retrain.epsilon=0.1", "retrain.epsilon: SGD has none"),
    override(
        "supernet.annealing=linear",
        "supernet.complexity_rate: says itself how the learning rate falls",
        "supernet.complexity_rate=true",
    ),
    override("retrain.dropout=1", "retrain.dropout: input should be less than 1"),
    override("supernet.drop_path=0.1", "supernet.drop_path: a supernet has no residual blocks of its own to drop"),
    override("retrain.data=all", "retrain.data: input should be 'train' or 'train+validation'"),
    override("retrain.teacher={model='resnet18'}", "retrain.teacher.model: 'resnet18' is one of timm's, and needs"),
    override("retrain.teacher={weights='x.pth'}", "retrain.teacher.weights: are those of a model of timm"),
    override("retrain.teacher={weight=0.1}", "retrain.teacher: says how a network is taught, and not by which one"),
    override("retrain.teacher={model='supernet',weight=2}", "retrain.teacher.weight: input should be less than or"),
    override("retrain.crop_scale=1.1", "retrain.crop_scale: input should be less than or equal to 1"),
    override("retrain.crop_scale=0.1", "retrain.crop_padding: images are cropped by", "retrain.crop_padding=1"),
    override("retrain.mixup=-1", "retrain.mixup: input should be greater than or equal to 0"),
    override("retrain.ema=1.0", "retrain.ema: input should be less than 1"),
    override("retrain.ema=nan", "retrain.ema: input should be "),
    override("supernet.rollbacks=-1", "supernet.rollbacks: input should be greater than or equal to 0"),
    override(
        "supernet.accumulate=9",
        "supernet.batch_size 16, in 9 parts (supernet.accumulate) leaves fewer than 2 images at once, which norms "
        "cannot be trained on; take a batch_size of at least 18, or supernet.accumulate of at most 8",
    ),
    override("devices=3", "supernet.batch_size 16 cannot be shared out evenly among 3 processes (devices * nodes)"),
    override("devices=16", "generator.batch_size 16, 1 for each of 16 processes (devices * nodes) leaves fewer than 2"),
    override(
        "nodes=2",
        "supernet.batch_size 16, 8 for each of 2 processes (devices * nodes), in 5 parts",
        "supernet.accumulate=5",
    ),
    override("generator.batch_size=1", "generator.batch_size: input should be greater than or equal to 2"),
    override("search.calibration_images=1", "search.calibration_images: input should be greater than or equal to 2"),
    override("retrain.accumulate=0", "retrain.accumulate: input should be greater than or equal to 1"),
    override("supernet.greedy.kept=5", "supernet.greedy.kept: 5 paths cannot be kept of 4 sampled ones"),
    override("supernet.greedy.ramp=1.1", "supernet.greedy.ramp: input should be less than or equal to 1"),
    override("supernet.greedy.warmup_iterations=-1", "supernet.greedy.warmup_iterations: input should be greater than"),
    override(
        "supernet.greedy.warmup_iterations=5",
        "supernet.greedy.warmup: a share of 0.5 and 5 iterations (supernet.greedy.warmup_iterations) are two lengths",
        "supernet.greedy.warmup=0.5",
    ),
    override("supernet.paths_per_step=all", "supernet.paths_per_step: input should be a whole number from 1 to"),
    override("supernet.paths_per_step=round", 'paths_per_step: "round" needs a sampler', "supernet.sampler=uniform"),
    override(
        "generator.networks_per_step=17",
        "generator.networks_per_step: 17 networks are drawn, one for each of as many budgets, of which a step has 16 "
        "(generator.budgets_per_step)",
    ),
    override(
        "device=cuda:1",
        'device: cuda:1 is one device, and the 2 processes of devices need one each; take device = "cuda", or devices',
        "devices=2",
    ),
    override("supernet.greedy.rescore=-1", "supernet.greedy.rescore: input should be greater than or equal to 0"),
    override("supernet.snapshots=3", "supernet.snapshots: weights are to be kept after every 3 epochs, and supernet."),
    override("supernet.greedy.pool_probability=2", "supernet.greedy.pool_probability: input should be less than or"),
    override("generator.cost=joules", "generator.cost: unknown cost 'joules'; known costs are macs, params"),
    override("generator.cost=", "generator.cost: unknown cost ''"),
    override("generator.temperature=0", "generator.temperature: input should be greater than or equal to"),
    override("generator.temperature_decay=1.1", "generator.temperature_decay: input should be less than or equal to 1"),
    override("generator.penalty=nan", "generator.penalty: input should be "),
    override("generator.hidden=1000000000000", "generator.hidden: input should be less than or equal to 65536"),
    override("search=1", "search: input should be a table, found 1"),
    override("search.budgets='macs<=1M'", "search.budgets: input should be a list, found 'macs<=1M'"),
    override(
        "search.budgets=[",
        "--set 'search.budgets=[': not a value as TOML writes it; write --set 'search.budgets=[\"a\", \"b\"]'",
    ),
    override("search.budgets=[]", "search.budgets: the list should have at least one item"),
    override("search.budgets=[1]", "search.budgets.0: input should be a valid string, found 1"),
    override("search.budgets=['']", "tiny.toml: search.budgets: empty budget"),
    override("search.budgets=['macs<2M']", "tiny.toml: search.budgets: budget 'macs<2M': a budget is an upper limit"),
    override("search.budgets=['macs<=nan']", "tiny.toml: search.budgets: cannot read budget 'macs<=nan'"),
    override(
        "search.budgets=['joules<=1']",
        "tiny.toml: search.budgets: budget 'joules<=1': unknown cost 'joules'",
        "retrain.picks=[]",
    ),
    override("search.budgets=['macs<=1']", "budget macs<=1 cannot be met: macs of this space reaches from 14,994"),
    override("search.budgets=['macs<=1M, macs<=2M']", "search.budgets: budget for macs given more than once"),
    override("search.min_use=1.1", "search.min_use: input should be less than or equal to 1"),
    override("search.random_baseline=-1", "search.random_baseline: input should be greater than or equal to 0"),
    override("search.evolution.population=1", "search.evolution.population: input should be greater than or equal"),
    override("search.nsga2.from_pool=1", "search.nsga2.from_pool: input should be a valid boolean, found 1"),
    override("search.linear.samples=9", "search.linear.samples: input should be greater than or equal to 10"),
    override("search.direct.learning_rate=0", "search.direct.learning_rate: input should be greater than 0"),
    override("retrain.picks=1", "retrain.picks: input should be a list, found 1"),
    override("retrain.picks=[0]", "retrain.picks.0: input should be greater than or equal to 1"),
    override("retrain.picks=[3]", "retrain.picks: 3 is beyond the 2 budgets of search.budgets"),
    override("retrain.picks=[1, 1]", "retrain.picks: 1 is listed more than once"),
    override("retrain.activation=gelu", "retrain.activation: input should be 'relu', 'relu6', 'hard_swish' or ''"),
    override("retrain.inherit=true", "retrain.inherit: a network with retrain.activation", "retrain.se_reduction=2"),
    override("retrain.nesterov=true", "retrain.nesterov: needs a momentum", "retrain.momentum=0.0"),
]

SPACES = [
    mistake(f"{name}-{text}", ["space", f"{{recipes}}/small/{name}.toml", "--set", text], names)
    for name, text, names in (
        ("mbconv", "space.operations=['k3_e3', 'k4_e1']", "space: operations: 'k4_e1' is unknown; write skip"),
        ("mbconv", "space.operations=['skip', 'skip']", "space: operations ['skip', 'skip']: each may be listed once"),
        ("mbconv-se", "space.se_reduction=0", "space.se_reduction: input should be greater than or equal to 1"),
        ("shufflenet", "space.stem_width=7", "space: stem_width: width 7 is odd"),
        ("shufflenet-channels", "space.ratios=[nan]", "space.ratios.0: input should be "),
        ("shufflenet-channels", "space.ratios=[1.0, 1.0]", "space: ratios [1.0, 1.0]: each may be listed once"),
        ("resnet-bits", "space.bits=[[9, 1]]", "space.bits.0.0: input should be less than or equal to 8"),
        ("resnet-bits", "space.widths=[4]", "space: blocks has "),
        ("nas-bench-201", "space.stages=60", "space.stages: input should be less than or equal to 8"),
        ("nas-bench-201", "space.cells=1000000", "space.cells: input should be less than or equal to 1000"),
        (
            "nas-bench-201",
            "retrain.se_reduction=4",
            "retrain.se_reduction: only inverted bottlenecks take squeeze-and-",
        ),
        ("shufflenet", "retrain.se_reduction=4", "shufflenet"),
        ("resnet-bits", "retrain.activation=hard_swish", "retrain.activation: the searched blocks have a ReLU that"),
        ("nas-bench-201", "retrain.activation=relu6", "retrain.activation: the searched blocks have a ReLU that"),
        ("fbnet", "space.operations=['k3_e1_g3']", "space: operations: 'k3_e1_g3': pointwise convolutions of 3 groups"),
    )
]

CASES = [*FILES, *BASES, *OVERRIDES, *SPACES]


@pytest.mark.parametrize(("arguments", "names", "prepare"), CASES)
def test_a_bad_recipe_is_refused(
    workshop: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    names: str,
    prepare: Prepare | None,
) -> None:
    if prepare is not None:
        prepare(workshop)
    recipes = str(Path(__file__).parents[1] / "recipes")
    refuse(capsys, workshop, [argument.replace("{recipes}", recipes) for argument in arguments], names)
