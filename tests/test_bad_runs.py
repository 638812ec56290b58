"""Run folders that are none, not far enough or damaged: each command says which file, and leaves all as it was."""

import json
import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from anybudget.storage.checkpoint import VERSION
from damages import damaged, not_retrained, retrained, values, weights
from mistakes import Prepare, edited, made_folder, mistake, refuse, removed, written

DEEP = "[" * 100_000
NAN = float("nan")
NETWORK = {"space": "unified", "choices": [0, 0]}
MEASURED = {"costs": {"macs": 1}, "supernet_top1_percent": 1, "log_probability": None, "seconds": 1, "layers": []}
OTHER_SPACE = json.dumps({"budgets": {"macs": 1}, "architecture": NETWORK | {"space": "mbconv"}, **MEASURED})
SPENT = ("evaluations", "images", "macs", "seconds")
ASK = 'which retrain.picks names; ask for it with: anybudget generate run --budget "macs<=30k"'
SEARCH = "search run --strategy random"
RANK = "rank run --paths 3 --images 9"
AGAIN = "run tiny.toml --out run"

NO_RUNS = [
    mistake(f"no-run-{command.split()[0]}-{where}", command.format(where), f"{where}{message}")
    for where, message in (("none", ": not a run folder"), ("tiny.toml", ": not a run folder"))
    for command in ("generator {}", "generate {}", "search {}", "compare {}", "rank {}", "retrain {} arch.json")
] + [
    mistake("no-run-report-none", "report none", "none: not a run folder (no recipe.toml); make one with"),
    mistake("no-run-report-file", "report images.npz", "images.npz: not a run folder"),
    mistake("no-run-report-folder", "report data", "data: not a run folder", made_folder("data")),
    mistake("no-run-folder", "generate data", "data: not a run folder (no recipe.toml)", made_folder("data")),
    mistake("no-run-without-recipe", "generate run", "run: not a run folder", removed("run/recipe.toml")),
    mistake("no-run-name-too-long", ["generate", "x" * 5000], "File name too long"),
    mistake("no-run-report-too-long", ["report", "x" * 5000], "File name too long"),
    mistake("no-run-supernet-too-long", ["supernet", "x" * 5000], "File name too long"),
    mistake("not-begun-generator", "generator nas-bench-201", "nas-bench-201: the supernet stage has not finished"),
    mistake("not-begun-generate", "generate nas-bench-201", "supernet"),
    mistake("not-begun-rank", "rank nas-bench-201 --paths 3", "supernet"),
    mistake("half-generate", "generate half", "half: the generator stage has not finished; run: anybudget generator"),
    mistake("half-compare", "compare half", "half: the generator stage has not finished"),
    mistake("half-refined", "search half --strategy refined", "half: the generator stage has not finished"),
    mistake("out-not-empty", "run tiny.toml --out .", "folder"),
    mistake("out-file", "run tiny.toml --out images.npz", "images.npz: a file is in the way of the run folder"),
    mistake(
        "out-below-file", "run tiny.toml --out images.npz/run", "images.npz/run: a file is in the way of the run folder"
    ),
    mistake("out-too-long", ["run", "tiny.toml", "--out", "x" * 300], "File name too long"),
    mistake(
        "out-too-long-below",
        ["run", "tiny.toml", "--out", "new/" + "x" * 300],
        "File name too long",
    ),
    mistake("out-other-settings", "run tiny.toml --out run --set seed=5", "run: key seed"),
    mistake("out-other-run", "supernet tiny.toml --out nas-bench-201", "nas-bench-201: holds a run with another"),
    mistake("supernet-of-a-run-out", "supernet run --out new", "--out and --set need a recipe (.toml)"),
    mistake("supernet-of-a-run-set", "supernet run --set seed=1", "--out and --set need a recipe (.toml)"),
    mistake("run-of-a-run", "run run", "run: cannot read the recipe: this is a run folder"),
]

RECIPES = [
    damaged("empty", "recipe.toml", "", "generate run", ": key name is missing"),
    damaged("not-utf8", "recipe.toml", b"\xff", "generate run", ": damaged: 'utf-8' codec"),
    damaged("not-toml", "recipe.toml", "name = ", "search run", ": damaged: Invalid value"),
    damaged("json", "recipe.toml", "{}", "rank run", ": damaged"),
    damaged("deep", "recipe.toml", f"x = {DEEP}", "generate run", ": damaged: nested too deeply"),
    damaged("huge-number", "recipe.toml", f"seed = {'9' * 5000}", "generate run", ": damaged"),
    damaged("report", "recipe.toml", "name = ", "report run", ": not TOML"),
    damaged("report-not-utf8", "recipe.toml", b"\xff", "report run", ", line 1: not UTF-8 text"),
    damaged("report-deep", "recipe.toml", f"x = {DEEP}", "report run", ": not TOML"),
    mistake(
        "recipe.toml-unknown-key",
        "generate run",
        "run/recipe.toml: unknown key sed; did you mean seed?",
        edited("run/recipe.toml", lambda data: data.replace(b"seed", b"sed")),
    ),
    mistake(
        "recipe.toml-bad-value",
        SEARCH,
        "run/recipe.toml: supernet.batch_size: input should be",
        edited("run/recipe.toml", lambda data: data.replace(b"batch_size = 16", b"batch_size = 0")),
    ),
    mistake(
        "recipe.toml-other-space",
        "generate run",
        "run/supernet.safetensors: weights of another network than the run's recipe describes",
        edited("run/recipe.toml", lambda data: data.replace(b"stem_width = 4", b"stem_width = 5")),
    ),
    mistake(
        "recipe.toml-other-generator",
        "generate run",
        "run/generator.safetensors: weights of another network",
        edited("run/recipe.toml", lambda data: data.replace(b"hidden = 32", b"hidden = 31")),
    ),
    mistake("images-gone", SEARCH, "'images.npz': no such file or folder", removed("images.npz")),
    mistake("images-damaged", RANK, "images.npz: not an .npz archive", written("images.npz", "garbage")),
]

STAGES = [
    damaged(identifier, "stages.json", content, command, names)
    for identifier, content, command, names in (
        ("empty", "", "generate run", ": damaged"),
        ("cut", '{"supernet": {', SEARCH, ": damaged"),
        ("list", "[1]", "generate run", ": expected a JSON object"),
        ("null", "null", AGAIN, ": expected a JSON object"),
        ("not-utf8", b"\xff", RANK, ": damaged"),
        ("deep", DEEP, "generate run", ": not JSON: nested too deeply"),
        ("report-cut", "{", "report run", ", line 1: not JSON"),
        ("report-number", '{"supernet": 3}', "report run", ': "supernet" must be an object'),
        ("report-negative", '{"a": {"seconds": -1, "finished": ""}}', "report run", ': "a": "seconds" must not be'),
    )
] + [
    mistake("stages.json-folder", "generate run", "run/stages.json: damaged", made_folder("run/stages.json")),
    mistake("stages.json-none", "generate run", "run: the ", written("run/stages.json", "{}")),
]

DAMAGES: dict[str, tuple[Callable[[str], Prepare], str]] = {
    "empty": (lambda name: written(name, ""), "damaged"),
    "garbage": (lambda name: written(name, "garbage"), "damaged"),
    "pickle": (lambda name: written(name, b"\x80\x04K\x01."), "damaged"),
    "cut": (lambda name: edited(name, lambda data: data[:-10]), "damaged"),
    "cut-header": (lambda name: edited(name, lambda data: data[:20]), "damaged"),
    "longer": (lambda name: edited(name, lambda data: data + b"x"), "damaged"),
    "giant-header": (lambda name: edited(name, lambda data: b"\xff" * 8 + data[8:]), "damaged"),
    "unknown-type": (lambda name: edited(name, lambda data: data.replace(b'"F32"', b'"F99"')), "damaged"),
    "missing": (removed, ""),
    "folder": (made_folder, ""),
    "less": (lambda name: weights(name, dict.popitem), "weights of another network"),
}
WEIGHTS = [
    mistake(f"{name}-{identifier}", command, f"run/{name}: {names}", damage(f"run/{name}"))
    for name, command in (("supernet.safetensors", SEARCH), ("generator.safetensors", "generate run"))
    for identifier, (damage, names) in DAMAGES.items()
] + [
    mistake(
        "supernet.safetensors-of-the-generator",
        "generate run",
        "run/supernet.safetensors: weights of another network",
        lambda folder: shutil.copy(folder / "run" / "generator.safetensors", folder / "run" / "supernet.safetensors"),
    ),
    mistake(
        "supernet.safetensors-of-nothing",
        SEARCH,
        " tensors are missing, the first before.0.conv.weight; delete run/stages.json and run again",
        weights("run/supernet.safetensors", dict.clear),
    ),
    mistake(
        "supernet.safetensors-integers",
        SEARCH,
        "run/supernet.safetensors: damaged: the tensor before.0.conv.weight holds torch.int32, expected torch.float32",
        edited("run/supernet.safetensors", lambda data: data.replace(b'"F32"', b'"I32"')),
    ),
    mistake(
        "supernet.safetensors-nan",
        SEARCH,
        "run/supernet.safetensors: damaged: the tensor before.0.conv.weight holds numbers that are not finite",
        weights("run/supernet.safetensors", lambda tensors: tensors["before.0.conv.weight"].view(-1)[-1].fill_(NAN)),
    ),
    mistake(
        "supernet.safetensors-too-many",
        SEARCH,
        "run/supernet.safetensors: weights of another network than the run's recipe describes: 1 tensors too many",
        weights("run/supernet.safetensors", lambda tensors: tensors.update(more=torch.ones(2))),
    ),
    mistake(
        "generator.safetensors-infinite",
        "generate run",
        "run/generator.safetensors: damaged: the tensor ",
        weights("run/generator.safetensors", lambda tensors: next(iter(tensors.values())).fill_(float("inf"))),
    ),
]

ANSWERS = (
    [
        damaged(f"{command.split()[0]}-{identifier}", "candidates.jsonl", content, command, names)
        for identifier, content, command, names in (
            ("cut", '{"budgets": ', "generate run", ", line 1: not JSON"),
            ("not-utf8", b"\xff", "generate run", ", line 1: not UTF-8"),
            ("deep", DEEP, "generate run", ", line 1: not JSON: nested too deeply; mend or remove that line"),
            ("number", "3", "generate run", ", line 1: expected a JSON object, found 3"),
            ("empty-object", "{}", "generate run", ', line 1: lacks "budgets"; found nothing; mend or remove'),
            ("other-space", OTHER_SPACE, "generate run", ", line 1: architecture of space 'mbconv' given to"),
            ("cut", '{"budgets": ', "report run", ", line 1: not JSON"),
            ("not-utf8", b"\xff", "report run", ", line 1: not UTF-8"),
            ("deep", DEEP, "report run", ", line 1: not JSON"),
            ("number", "3", "report run", ", line 1: expected a JSON object, found 3"),
            ("empty-object", "{}", "report run", ', line 1: lacks "budgets"; found nothing'),
            ("number", "3", AGAIN, ", line 1: expected a JSON object, found 3"),
        )
    ]
    + [
        mistake(
            f"candidates.jsonl-{key}-{value!r}",
            "report run",
            f"run/candidates.jsonl, line 1: {names}",
            values("run/candidates.jsonl", lambda row, key=key, value=value: row.update({key: value})),
        )
        for key, value, names in (
            ("budgets", {}, '"budgets" must hold at least one budget'),
            ("budgets", {"macs": -1}, 'the budget "macs" must be above 0'),
            ("budgets", {"watts": 1}, '"costs": lacks "watts"'),
            ("architecture", 3, '"architecture": expected an object'),
            ("supernet_top1_percent", None, '"supernet_top1_percent" must be a number'),
            ("supernet_top1_percent", NAN, '"supernet_top1_percent" must be a finite number'),
            ("seconds", 10**400, '"seconds" must be a finite number'),
            ("layers", 3, '"layers" must be a list'),
        )
    ]
    + [
        mistake(
            "candidates.jsonl-folder",
            "generate run",
            "candidates.jsonl",
            made_folder("run/candidates.jsonl"),
        ),
        *(
            mistake(
                f"candidates.jsonl-retrain-{identifier}", AGAIN, f"run/candidates.jsonl{names}", not_retrained(change)
            )
            for identifier, change, names in (
                ("none", written("run/candidates.jsonl", ""), f": has no answer to the budget macs<=30k, {ASK}"),
                ("empty-object", written("run/candidates.jsonl", "{}"), ', line 1: lacks "budgets"'),
            )
        ),
        *(
            mistake(f"result.json-retrain-{identifier}", AGAIN, "result.json: ", not_retrained(retrained(change)))
            for identifier, change in (
                ("number", lambda name: written(name, "3")),
                ("empty", lambda name: written(name, "{}")),
                ("folder", made_folder),
            )
        ),
        damaged("cut", "generator.json", "{", "generate run", ": damaged"),
        damaged(
            "number", "generator.json", "3", "generate run", ": expected a JSON object, found 3; delete run/stages"
        ),
        damaged("other-keys", "generator.json", '{"a": 1}', "generate run", ': lacks "evaluations"; found a; delete'),
        damaged(
            "text", "generator.json", json.dumps(dict.fromkeys(SPENT, "x")), "generate run", ': "evaluations" must'
        ),
        mistake(
            "generator.json-gone", "generate run", "run/generator.json: damaged: No such", removed("run/generator.json")
        ),
    ]
)

HEADER = {"format": "anybudget checkpoint", "version": VERSION}
WHOLE = HEADER | {"bytes": 1, "sha256": sha256(b"x").hexdigest()}
POOL = "search run --strategy nsga2"
CHECKPOINTS = [
    *(
        mistake(
            f"checkpoint-{identifier}",
            "generator half",
            f"half/checkpoints/generator.checkpoint: {names}",
            written("half/checkpoints/generator.checkpoint", content),
        )
        for identifier, content, names in (
            ("empty", "", "damaged, or no checkpoint"),
            ("garbage", b"\xff\n\xff", "damaged, or no checkpoint"),
            ("pickle", b"\x80\x04K\x01.", "damaged, or no checkpoint"),
            ("deep", DEEP, "damaged, or no checkpoint"),
            ("list", "[]\n", "no checkpoint of this version"),
            ("number", "3\n", "no checkpoint of this version"),
            ("other-version", '{"format": "anybudget checkpoint", "version": 99}\n', "no checkpoint of this version"),
            ("cut", json.dumps(HEADER | {"bytes": 9}) + "\nx", "truncated: 1 of 9 bytes"),
            ("no-hash", json.dumps(HEADER | {"bytes": 1}) + "\nx", "corrupted: its content"),
        )
    ),
    *(
        mistake(
            f"journal-{identifier}",
            "search half --strategy random",
            f"half/checkpoints/search-random.jsonl: {names}",
            written("half/checkpoints/search-random.jsonl", content),
        )
        for identifier, content, names in (
            ("empty", "", "damaged, or no journal of this version"),
            ("garbage", b"\xff", "damaged, or no journal of this version"),
            ("deep", DEEP, "damaged, or no journal of this version"),
            ("list", "[]", "damaged, or no journal of this version"),
            ("version", '{"format": "anybudget journal", "version": 99}', "damaged, or no journal of this version"),
        )
    ),
    *(
        mistake(
            f"journal-settings-{identifier}",
            "search half --strategy random",
            f"half/checkpoints/search-random.jsonl: {names}",
            written(
                "half/checkpoints/search-random.jsonl", f'{{"format": "anybudget journal", "version": 2, {settings}}}\n'
            ),
        )
        for identifier, settings, names in (
            ("number", '"settings": 3', "damaged, or no journal of this version"),
            ("none", '"settings": {}', "a search with other settings (recipe"),
        )
    ),
    *(
        mistake(
            f"checkpoint-settings-{identifier}",
            "generator half",
            f"half/checkpoints/generator.checkpoint: {names}",
            written("half/checkpoints/generator.checkpoint", f"{json.dumps(WHOLE | settings)}\nx"),
        )
        for identifier, settings, names in (
            ("number", {"settings": 3}, "no checkpoint of this version"),
            ("missing", {}, "no checkpoint of this version"),
            ("none", {"settings": {}}, "a checkpoint made with other settings (recipe"),
        )
    ),
]

OTHERS = (
    [
        damaged(identifier, "pool.jsonl", content, POOL, names)
        for identifier, content, names in (
            ("cut", "{", ", line 1: not JSON"),
            ("number", "3", ", line 1: expected a JSON object, found 3; mend or remove that line"),
            ("not-utf8", b"\xff", ", line 1: not UTF-8 text"),
            ("deep", DEEP, ", line 1: not JSON: nested too deeply"),
            ("no-loss", '{"architecture": 3}', ', line 1: lacks "loss"; found architecture; mend or remove'),
            ("no-architecture", '{"architecture": 3, "loss": 1}', ', line 1: "architecture": expected an object'),
            ("other-space", json.dumps(json.loads(OTHER_SPACE) | {"loss": 1}), ", entry 1: "),
            ("outside", '{"architecture": {"space": "unified", "choices": [0, 99]}, "loss": 1}', ", entry 1: "),
            ("text", json.dumps({"architecture": NETWORK, "loss": "x"}), ', line 1: "loss" must be a number'),
            ("null", json.dumps({"architecture": NETWORK, "loss": None}), ', line 1: "loss" must be a number'),
            ("nan", json.dumps({"architecture": NETWORK, "loss": NAN}), ', line 1: "loss" must be a number'),
            (
                "huge",
                json.dumps({"architecture": NETWORK, "loss": 10**400}),
                ', line 1: "loss" must be a finite number of at most 1e+100',
            ),
        )
    ]
    + [
        mistake(f"result.json-{command.split()[0]}-{identifier}", command, "result.json", retrained(change))
        for identifier, change in (
            ("cut", lambda name: written(name, "{")),
            ("number", lambda name: written(name, "3")),
            ("empty", lambda name: written(name, "{}")),
            ("not-utf8", lambda name: written(name, b"\xff")),
            ("folder", made_folder),
        )
        for command in (RANK, "report run")
    ]
    + [
        damaged(f"report-{identifier}", name, content, "report run", names)
        for name, identifier, content, names in (
            ("random.jsonl", "cut", "{", ", line 1: not JSON"),
            ("random.jsonl", "number", "3", ", line 1: expected a JSON object"),
            ("compare.json", "cut", "{", ", line 1: not JSON"),
            ("compare.json", "empty", "{}", ': lacks "budgets"'),
            ("compare.json", "deep", DEEP, ": not JSON"),
            ("provenance.json", "list", "[]", ": expected a JSON object"),
            ("provenance.json", "not-utf8", b"\xff", ", line 1: not UTF-8"),
            ("supernet.csv", "other", "a,b\n1,2\n", ', line 1: lacks the column "epoch"'),
            ("supernet.csv", "short-row", "epoch,loss\n1\n", ", line 2: has 1 values for 2 columns"),
            ("generator.csv", "text", "epoch,loss\n1,x\n", ', line 2: "loss" must be a number'),
            ("generator.csv", "quote", '"', ", line 1: not CSV"),
        )
    ]
    + [
        mistake("report.html-folder", "report run", "run/report.html: cannot write", made_folder("run/report.html")),
    ]
)

CASES = [*NO_RUNS, *RECIPES, *STAGES, *WEIGHTS, *ANSWERS, *CHECKPOINTS, *OTHERS]


@pytest.mark.parametrize(("arguments", "names", "prepare"), CASES)
def test_a_damaged_run_is_refused(
    workshop: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], names: str, prepare: Prepare | None
) -> None:
    if prepare is not None:
        prepare(workshop)
    refuse(capsys, workshop, arguments, names)
