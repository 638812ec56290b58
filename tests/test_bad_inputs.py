"""Budgets, architectures, tables and flags that cannot be meant: one message, exit code 2, nothing written.

The other tables of mistakes are in `test_bad_recipes.py`, `test_bad_data.py` and `test_bad_runs.py`.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import test_bad_data
import test_bad_recipes
import test_bad_runs
from anybudget.budgets import BudgetSet
from anybudget.errors import BudgetError
from anybudget.spaces.nas_bench_201 import OPERATIONS
from anybudget.tabular.tables import COLUMNS_201
from conftest import call
from mistakes import Prepare, contents, made_folder, missing, mistake, refuse, written

ANSWERING = (
    ("space", "tiny.toml"),
    ("generate", "run"),
    ("search", "run", "--strategy", "random"),
    ("compare", "run", "--strategies", "random"),
)


def budget(text: str, names: str, command: Sequence[str] = ANSWERING[1]) -> Any:
    """A row about a budget."""
    return mistake(f"{command[0]}-{text[:40]}", [*command, "--budget", text], names)


BUDGETS = [
    *(budget("watts<=1", "budget 'watts<=1': unknown cost 'watts'; known costs are macs", c) for c in ANSWERING),
    *(budget("macs<=30k, macs<=40k", "macs", c) for c in ANSWERING),
    *(
        budget("macs<2M", "budget 'macs<2M': a budget is an upper limit, so write <= instead of <", c)
        for c in ANSWERING
    ),
    *(budget("macs<=1", "budget macs<=1 cannot be met: macs of this space reaches from", c) for c in ANSWERING[1:]),
    budget("", "empty"),
    budget("  ", "empty"),
    budget(",", "budget ',': nothing stands before or after a comma"),
    budget("macs<=30k,", "budget 'macs<=30k,': nothing stands before or after a comma"),
    budget("macs", "cannot read budget 'macs'"),
    budget("macs<=", "cannot read budget 'macs<='"),
    budget("macs<=x", "cannot read budget 'macs<=x'"),
    budget("<=1", "cannot read budget '<=1'"),
    budget("1<=macs", "cannot read budget '1<=macs'"),
    budget("macs==1", "budget 'macs==1': a budget is an upper limit, so write <= instead of =="),
    budget("macs>=1", "budget 'macs>=1': a budget is an upper limit, so write <= instead of >="),
    budget("macs<=0", "budget 'macs<=0': the limit must be a finite number above 0"),
    budget("macs<=-1", "budget 'macs<=-1': the limit must be a finite number above 0"),
    budget("macs<=nan", "cannot read budget 'macs<=nan'"),
    budget("macs<=inf", "cannot read budget 'macs<=inf'"),
    budget("macs<=1e999", "budget 'macs<=1e999': the limit must be a finite number above 0"),
    budget("macs<=1e999999999T", "budget 'macs<=1e999999999T': the limit must be a finite number above 0"),
    budget("macs<=1e-999999999", "budget 'macs<=1e-999999999': the limit must be a finite number above 0"),
    budget("macs<=" + "9" * 10_000, "the limit must be a finite number above 0"),
    budget("macs<=1Q", "budget 'macs<=1Q': unknown suffix 'Q': a limit has no unit; suffixes are k"),
    budget("macs<=1MB", "budget 'macs<=1MB': unknown suffix 'MB'"),
    budget("macs<=1 k M", "cannot read budget 'macs<=1 k M'"),
    budget("macs<=101%", "budget 'macs<=101%': expected at most 100%"),
    budget("macs<=10^6", "budget 'macs<=10^6': '10^6' is not a number"),
    budget("macs<=1,000", "cannot read budget '000' in 'macs<=1,000'"),
    budget("macs<=1M;params<=1k", "cannot read budget 'macs<=1M;params<=1k'"),
    budget("macs<=1M params<=1k", "cannot read budget 'macs<=1M params<=1k'"),
    budget("MACS<=1M", "unknown cost 'MACS'"),
    budget("mäcs<=1M", "unknown cost 'mäcs'"),
    budget("\udcff", r"cannot read budget '\udcff'"),
    budget("x" * 10_000, "cannot read budget 'xxx"),
    budget("macs<=30k, params<=1", "budget params<=1 cannot be met: params of this space reaches from 437"),
    budget("bitops<=1", "budget bitops<=1 cannot be met"),
    budget("conv_macs<=1", "budget conv_macs<=1 cannot be met"),
    mistake("second-budget", "generate run -b macs<=30k -b macs<=x", "cannot read budget 'macs<=x'"),
]


def architecture(identifier: str, content: str | bytes, names: str, command: str = "retrain run arch.json") -> Any:
    """A row about `arch.json`, which every message names."""
    return mistake(f"arch-{identifier}", command, f"arch.json{names}", written("arch.json", content))


def choices(identifier: str, values: Any, names: str) -> Any:
    """A row about an architecture with these choices; the space has two decisions of 80 choices."""
    return architecture(f"choices-{identifier}", json.dumps({"space": "unified", "choices": values}), f": {names}")


GOOD = {"space": "unified", "choices": [0, 0]}
EXPECTED = ': expected an object with "space" and "choices" alone, found '
ARCHITECTURES = [
    mistake("arch-missing", "retrain run none.json", "none.json: cannot read an architecture: No such file"),
    mistake("arch-folder", "retrain run half", "half: cannot read an architecture: Is a directory"),
    mistake("arch-recipe", "retrain run tiny.toml", "tiny.toml: cannot read an architecture: Expecting value"),
    mistake("arch-images", "retrain run images.npz", "images.npz: cannot read an architecture: 'utf-8' codec"),
    mistake("arch-too-long", ["retrain", "run", "x" * 5000], "cannot read an architecture: File name too long"),
    architecture("empty", "", ": cannot read an architecture: Expecting value"),
    architecture("not-utf8", b"\xff", ": cannot read an architecture: 'utf-8' codec"),
    architecture("cut", '{"space": "unified", "choices": [0', ": cannot read an architecture: Expecting"),
    architecture("two", json.dumps(GOOD) * 2, ": cannot read an architecture: Extra data"),
    architecture("deep", "[" * 100_000, ": cannot read an architecture: nested too deeply"),
    architecture("deep-objects", '{"a":' * 100_000, ": cannot read an architecture: nested too deeply"),
    architecture("digits", f"[{'9' * 5000}]", f", entry 1{EXPECTED}inf"),
    architecture("null", "null", f"{EXPECTED}None"),
    architecture("number", "3", f"{EXPECTED}3"),
    architecture("text", '"unified"', f"{EXPECTED}'unified'"),
    architecture("empty-object", "{}", f"{EXPECTED}the keys []"),
    architecture("no-choices", '{"space": "unified"}', f"{EXPECTED}the keys ['space']"),
    architecture("more-keys", json.dumps({**GOOD, "x": 1}), f"{EXPECTED}the keys ['choices', 'space', 'x']"),
    architecture("many-keys", json.dumps({str(key): 1 for key in range(5000)}), f"{EXPECTED}the keys ['0', '1'"),
    architecture("empty-list", "[]", ": the list is empty; expected at least one architecture"),
    architecture("list-of-lists", "[[]]", f", entry 1{EXPECTED}[]"),
    architecture("second-entry", json.dumps([GOOD, {**GOOD, "choices": [0]}]), ", entry 2: architecture has 1 choices"),
    architecture("wrapped", '{"architecture": 3}', f"{EXPECTED}3"),
    architecture("space", json.dumps({**GOOD, "space": "mbconv"}), ": architecture of space 'mbconv' given to space"),
    architecture("space-number", json.dumps({**GOOD, "space": 3}), ': "space" must be a text, found 3'),
    architecture("space-long", json.dumps({**GOOD, "space": "x" * 10_000}), ": architecture of space 'xxx"),
    architecture("space-lines", json.dumps({**GOOD, "space": "a\nb"}), r": architecture of space 'a\nb' given"),
    architecture("space-surrogate", '{"space": "\\ud800", "choices": []}', r": architecture of space '\ud800' given"),
    architecture("other-run", json.dumps(GOOD), ": architecture of space 'unified'", "retrain nas-bench-201 arch.json"),
    choices("none", [], "architecture has 0 choices, but this unified space has 2 decisions"),
    choices("many", [0] * 100_000, "architecture has 100000 choices"),
    choices("high", [0, 80], "layer 2: choice 80 is outside 0 to 79"),
    choices("low", [-1, 0], "layer 1: choice -1 is outside 0 to 79"),
    choices("huge", [10**4000, 0], '"choices" must be a list of integers, found [inf, 0]'),
    choices("float", [0.0, 1], '"choices" must be a list of integers, found [0.0, 1]'),
    choices("nan", [float("nan"), 1], '"choices" must be a list of integers, found [nan, 1]'),
    choices("bool", [True, 1], '"choices" must be a list of integers, found [True, 1]'),
    choices("text", "00", "\"choices\" must be a list of integers, found '00'"),
    choices("null", None, '"choices" must be a list of integers, found None'),
    choices("nested", [[0], [0]], '"choices" must be a list of integers, found [[0], [0]]'),
]

ROW = {"mean_acc": 90.0, "test_acc": [90.0, 90.0, 90.0], "flops": 1.0, "params": 1.0}


def macro(identifier: str, content: Any, names: str) -> Any:
    """A row about NAS-Bench-Macro's JSON."""
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    command = "rank nas-bench-macro --table table.json"
    return mistake(f"macro-{identifier}", command, f"table.json: {names}", written("table.json", text))


def cells(identifier: str, names: str, **changes: Any) -> Any:
    """A row about NAS-Bench-201's `.npz`; None leaves an array out."""

    def prepare(folder: Path) -> None:
        np.savez(folder / "table.npz", **{name: values for name, values in arrays.items() if values is not None})

    good = {"op_names": np.array(OPERATIONS), "ops": np.zeros((2, 6), int)}
    arrays = good | {name: np.ones(2) for name in COLUMNS_201} | changes
    return mistake(f"201-{identifier}", "rank nas-bench-201 --table table.npz", f"table.npz: {names}", prepare)


NUMBERS = 'key \'00000000\': "mean_acc", "test_acc", "flops" and "params" must be finite numbers, 0 or more; found '
UNREAD = "cannot read NAS-Bench-201's .npz: "
TABLES = [
    mistake("table-other-space", "rank run --table none.json", "none.json: there is no table for the space unified"),
    mistake("macro-missing", "rank nas-bench-macro --table none.json", "none.json: cannot read NAS-Bench-Macro's JSON"),
    mistake("macro-folder", "rank nas-bench-macro --table half", "half: cannot read NAS-Bench-Macro's JSON: Is a dir"),
    macro("empty", "", "cannot read NAS-Bench-Macro's JSON: Expecting value"),
    macro("not-utf8", b"\xff", "cannot read NAS-Bench-Macro's JSON: 'utf-8' codec"),
    macro("deep", "[" * 100_000, "cannot read NAS-Bench-Macro's JSON: nested too deeply"),
    macro("digits", f'{{"00000000": {"9" * 5000}}}', "key '00000000': expected an object, found float"),
    macro("list", [], "expected an object with a key of 8 digits"),
    macro("empty-object", {}, "expected an object with a key of 8 digits"),
    macro("key-digit", {"00000003": ROW}, "key '00000003' is no network: expected 8 digits from 0 to 2"),
    macro("key-short", {"0": ROW}, "key '0' is no network"),
    macro("key-long", {"k" * 10_000: ROW}, "key 'kkk"),
    macro("row-number", {"00000000": 3}, "key '00000000': expected an object, found int"),
    macro("row-empty", {"00000000": {}}, "key '00000000': \"test_acc\" must be a list of 3 accuracies"),
    macro("two-runs", {"00000000": ROW | {"test_acc": [1, 1]}}, "key '00000000': \"test_acc\" must be a list of 3"),
    macro("text", {"00000000": ROW | {"mean_acc": "90"}}, f"{NUMBERS}['90', 90.0"),
    macro("null", {"00000000": ROW | {"flops": None}}, f"{NUMBERS}[90.0"),
    macro("nan", {"00000000": ROW | {"mean_acc": float("nan")}}, f"{NUMBERS}[nan, 90.0"),
    macro("bool", {"00000000": ROW | {"mean_acc": True}}, f"{NUMBERS}[True, 90.0"),
    macro("huge", {"00000000": ROW | {"flops": 10**400}}, f"{NUMBERS}[90.0"),
    macro("negative", {"00000000": ROW | {"params": -1}}, f"{NUMBERS}[90.0"),
    macro(
        "above-100",
        {"00000000": ROW | {"mean_acc": 100.5}},
        'key \'00000000\': "mean_acc" and "test_acc" are in percent',
    ),
    macro("other-networks", {"00000000": ROW}, "the table has 8 decisions and 3,969 networks, but this"),
    mistake("201-missing", "rank nas-bench-201 --table none.npz", f"none.npz: {UNREAD}no such file"),
    mistake("201-folder", "rank nas-bench-201 --table t", f"t: {UNREAD}a folder", made_folder("t")),
    mistake("201-garbage", "rank nas-bench-201 --table t", f"t: {UNREAD}not an .npz archive", written("t", "garbage")),
    mistake("201-images", "rank nas-bench-201 --table images.npz", "images.npz: the array 'op_names' is missing"),
    cells("no-ops", "the array 'ops' is missing", ops=None),
    cells("no-column", "the array 'macs' is missing", macs=None),
    cells("names-order", "op_names: expected none, skip_connect", op_names=np.array(OPERATIONS[::-1])),
    cells("names-long", "op_names: expected none, skip_connect", op_names=np.array(["x" * 10_000])),
    cells("names-pickled", f"{UNREAD}the array 'op_names': Object arrays", op_names=np.array(OPERATIONS, object)),
    cells("edges", "ops: expected integers [rows, 6], found int64 [2, 5]", ops=np.zeros((2, 5), int)),
    cells("no-rows", "ops: expected integers [rows, 6], found int64 [0, 6]", ops=np.zeros((0, 6), int)),
    cells("float-ops", "ops: expected integers [rows, 6], found float64", ops=np.zeros((2, 6))),
    cells("ops-high", "ops: expected 0 to 4, found 5 to 5", ops=np.full((2, 6), 5)),
    cells("ops-low", "ops: expected 0 to 4, found -1 to -1", ops=np.full((2, 6), -1)),
    cells("rows", "macs: expected one number for each of the 2 rows", macs=np.ones(3)),
    cells("texts", "test_top1_percent: expected one number for each", test_top1_percent=np.array(["a", "b"])),
    cells(
        "nan",
        "test_top1_percent: every number must be finite and from 0 to 100",
        test_top1_percent=np.array([1, np.nan]),
    ),
    cells("above-100", "val_top1_percent: every number must be finite and from 0", val_top1_percent=np.array([1, 101])),
    cells("negative", "params: every number must be finite and from 0", params=np.array([1, -1])),
]

MISSING = {"generator": "RUN", "generate": "RUN", "search": "RUN", "compare": "RUN", "rank": "RUN", "report": "RUN"}
MISSING |= {"run": "RECIPE|DATA", "space": "RECIPE", "supernet": "RUN|RECIPE", "retrain": "RUN"}
FLAGS = [
    *(mistake(f"{name}-alone", name, f"Missing argument '{what}'") for name, what in MISSING.items()),
    *(mistake(f"{name}-unknown-flag", f"{name} x --nope", "No such option: --nope") for name in MISSING),
    *(mistake(f"{name}-extra", f"{name} run b c d", "argument") for name in MISSING),
    *(
        mistake(f"flag-{command}", command, names)
        for command, names in (
            ("frobnicate", "No such command 'frobnicate'"),
            ("--nope", "No such option: --nope"),
            ("run tiny.toml --out", "Option '--out' requires an argument"),
            ("run tiny.toml --set", "Option '--set' requires an argument"),
            ("run tiny.toml --budget macs<=1M", "No such option: --budget"),
            ("run tiny.toml --json", "No such option: --json"),
            ("space tiny.toml --out new", "No such option: --out"),
            ("space tiny.toml --json=3", "Option '--json' does not take a value"),
            ("space tiny.toml -b", "Option '-b' requires an argument"),
            ("supernet tiny.toml --budget macs<=1M", "No such option: --budget"),
            ("generator run --json", "No such option: --json"),
            ("generate run --strategy random", "No such option: --strategy"),
            ("search run --strategies random", "No such option: --strategies"),
            ("search run --strategy luck", "unknown strategy 'luck'; known are generator, refined, random"),
            ("search run --strategy Random", "unknown strategy 'Random'"),
            ("search run --strategy=", "unknown strategy ''"),
            ("compare run --strategy random", "No such option: --strategy"),
            ("compare run --strategies random,luck", "unknown strategy 'luck'"),
            ("compare run --strategies random,random", "random"),
            ("compare run --strategies ,", "generator"),
            ("rank run --paths 2", "Invalid value for '--paths': Input should be greater than or equal to 3"),
            ("rank run --paths many", "Invalid value for '--paths': Input should be a valid integer"),
            ("rank run --images 0", "--images '0': write numbers above 0, separated by commas"),
            ("rank run --images 10,,20", "--images '10,,20': write numbers above 0"),
            ("rank run --images 10,-5", "--images '10,-5': write numbers above 0"),
            ("rank run --images 1.5", "--images '1.5': write numbers above 0"),
            ("rank run --images nan", "--images 'nan': write numbers above 0"),
            ("rank run --images=", "--images '': write numbers above 0"),
            ("rank run --table", "Option '--table' requires an argument"),
            ("report run --out new", "No such option: --out"),
            ("retrain run", "give either --zoo NAME run/candidates.jsonl"),
            (
                "retrain run a.json --epochs 0",
                "Invalid value for '--epochs': Input should be greater than or equal to 1",
            ),
            ("retrain run a.json --epochs 1.5", "Invalid value for '--epochs': Input should be a valid integer"),
            ("retrain run a.json --inherit=3", "Option '--inherit' does not take a value"),
            ("retrain run a.json --set seed=3", "No such option: --set"),
        )
    ),
    mistake("many-digits", ["rank", "run", "--images", "9" * 5000], "--images '999"),
    mistake("long-strategy", ["search", "run", "--strategy", "x" * 5000], "unknown strategy 'xxx"),
]

CASES = [*BUDGETS, *ARCHITECTURES, *TABLES, *FLAGS]
ALL_CASES = [*CASES, *test_bad_recipes.CASES, *test_bad_data.CASES, *test_bad_runs.CASES]
"""Every bad input that is tried, in all four files."""


@pytest.mark.parametrize(("arguments", "names", "prepare"), CASES)
def test_a_bad_question_is_refused(
    workshop: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], names: str, prepare: Prepare | None
) -> None:
    if prepare is not None:
        prepare(workshop)
    refuse(capsys, workshop, arguments, names)


def test_many_mistakes_are_tried() -> None:
    """The tables are as long as they claim, and no row is there twice under two names."""
    assert len(CASES) >= 150
    assert len(ALL_CASES) > 600  # as docs/runs.md says
    for table in (CASES, test_bad_recipes.CASES, test_bad_data.CASES, test_bad_runs.CASES):
        assert len({row.id for row in table}) == len(table)


@pytest.mark.parametrize(
    "command",
    [
        "space tiny.toml",
        "report run",
        "supernet run",
        "rank run --paths 3 --images 9",
        "retrain run arch.json --epochs 1",
    ],
)
def test_what_the_mistakes_are_made_in_is_good(
    workshop: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Without this, a prepared folder that is bad itself would make every refusal look right."""
    (workshop / "arch.json").write_text(json.dumps(GOOD))
    code, out, err = call(capsys, *command.split())
    assert (code, bool(out)) == (0, True), err


FEW_EXAMPLES = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
BUDGET_LIKE = st.text(st.sampled_from("macsprbito<=≤,. 0123456789eEkMGT+-_%\n\0\ud800"), max_size=20)


@FEW_EXAMPLES
@given(text=BUDGET_LIKE | st.text(max_size=20))
def test_any_text_as_a_budget_is_refused(workshop: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    with suppress(BudgetError):
        asked = set(BudgetSet.parse(text).limits())
        assume(not asked <= {"macs", "params", "conv_macs", "bitops"})  # else it is a budget after all
    refuse(capsys, workshop, ["generate", "run", f"--budget={text}"], "budget")


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
ALMOST = st.fixed_dictionaries({"space": st.just("unified") | PLAIN, "choices": st.lists(PLAIN, max_size=3) | VALUES})


def fits(value: Any) -> bool:
    """Whether this is an architecture of the prepared run's space: two decisions of 80 choices."""
    choices = value.get("choices") if isinstance(value, dict) and value.get("space") == "unified" else None
    return isinstance(choices, list) and len(choices) == 2 and all(type(c) is int and 0 <= c < 80 for c in choices)


@FEW_EXAMPLES
@given(value=VALUES | ALMOST | st.lists(ALMOST, max_size=2))
def test_any_json_as_an_architecture_is_refused(workshop: Path, capsys: pytest.CaptureFixture[str], value: Any) -> None:
    assume(not any(map(fits, value if isinstance(value, list) else [value])))
    (workshop / "arch.json").write_text(json.dumps(value))
    refuse(capsys, workshop, ["retrain", "run", "arch.json"], "arch.json")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("bad.toml", "run bad.toml --out new"),
        ("images.npz", "run tiny.toml --out new"),
        ("run/supernet.safetensors", "search run --strategy random"),
        ("run/stages.json", "generate run"),
    ],
)
@FEW_EXAMPLES
@given(share=st.floats(0, 0.99), garbage=st.binary(max_size=60))
def test_any_bytes_as_a_file_are_refused(
    workshop: Path, capsys: pytest.CaptureFixture[str], prepared: Path, name: str, command: str, share: float,
    garbage: bytes,
) -> None:  # fmt: skip
    """The start of the real file, if there is one, and then garbage."""
    real = (prepared / name).read_bytes() if (prepared / name).exists() else b""
    (workshop / name).write_bytes(real[: int(share * len(real))] + garbage)
    refuse(capsys, workshop, command.split(), name)


def test_a_real_process_refuses_alike(workshop: Path) -> None:
    before = contents(workshop)
    answer = subprocess.run(
        [sys.executable, "-m", "anybudget", "generate", "none"], capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stdout) == (2, ""), answer.stderr
    (message,) = answer.stderr.splitlines()
    assert message.startswith("error: ")
    assert not missing("none: not a run folder", message), message
    assert contents(workshop) == before
