"""The examination of run folders: it sees every damage, says what helps, and touches nothing."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from anybudget.errors import RunError
from anybudget.recipe import reproducibility_settings
from anybudget.runs import doctor
from anybudget.runs.run import Run
from anybudget.storage import checkpoint as checkpoints
from anybudget.storage.checkpoint import FileCheckpoint
from anybudget.storage.journal import Journal
from anybudget.storage.run_folder import RunFolder
from conftest import call
from mistakes import Prepare, edited, made_folder, removed, written

RUN, LAST = Path("run"), Path("half/checkpoints/supernet.checkpoint")
PREVIOUS = LAST.with_name(f"{LAST.name}.previous")
JOURNAL = Path("run/checkpoints/search-random.jsonl")


@contextlib.contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Check that nothing below a folder is changed within, not even a time."""

    def state() -> dict[Path, tuple[int, bytes]]:
        return {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in folder.rglob("*")}

    before = state()
    yield
    assert state() == before


def examined(capsys: pytest.CaptureFixture[str], run: Path) -> dict[str, tuple[str, str]]:
    """State and text of every check of `anybudget doctor RUN --json`, by what was looked at."""
    capsys.readouterr()  # of what a test did before
    with untouched(run):
        code, out, err = call(capsys, "doctor", run, "--json")
    assert not err
    found = json.loads(out)
    problems = [check for check in found["checks"] if check["state"] == "problem"]
    assert (code, found["problems"]) == (2 if problems else 0, len(problems))
    assert found["run"] == str(run)
    assert all(check["state"] in ("ok", "note", "problem") and "\n" not in check["found"] for check in found["checks"])
    # What helps stands behind a semicolon, in the words of the other messages.
    assert all(any(mark in check["found"] for mark in ("; ", "in recipe.toml")) for check in problems)
    return {check["check"]: (check["state"], check["found"]) for check in found["checks"]}


def states(checks: dict[str, tuple[str, str]], state: str) -> list[str]:
    return [name for name, (found, _) in checks.items() if found == state]


@pytest.mark.usefixtures("workshop")
def test_a_finished_run_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "search", "run", "--strategy", "random")[0] == 0
    checks = examined(capsys, RUN)
    assert not states(checks, "note") + states(checks, "problem")
    (network,) = Path("run/retrain").iterdir()
    assert {
        *doctor.STAGE_FILES,
        "pool.jsonl",
        "generator.safetensors",
        "search/random.jsonl",
        "provenance.json",
    } <= set(checks)
    assert checks["supernet.csv"][1] == "2 rows"
    assert checks["candidates.jsonl"][1] == "2 lines"
    assert checks["supernet.safetensors"][1].startswith("fits the recipe; ")
    assert checks[f"retrain/{network.name}"][1] == "6 files are readable"
    assert checks["at work"] == ("ok", "nobody")
    code, out, _ = call(capsys, "doctor", "run")
    assert code == 0
    assert "no problems" in out
    assert "finished" in out


@pytest.mark.usefixtures("workshop")
def test_stages_to_come_are_notes(capsys: pytest.CaptureFixture[str]) -> None:
    checks = examined(capsys, Path("half"))
    assert states(checks, "note") == ["generator", "search", "random", "retrain"]
    assert checks["generator"][1] == "not finished; run: anybudget generator half"
    assert states(examined(capsys, Path("nas-bench-macro")), "note") == list(doctor.STAGE_FILES)


def other_weights(folder: Path) -> None:
    shutil.copy(folder / "run/generator.safetensors", folder / "run/supernet.safetensors")


def poisoned(folder: Path) -> None:
    tensors = load_file(folder / "run/supernet.safetensors")
    next(tensor for tensor in tensors.values() if tensor.is_floating_point()).fill_(float("nan"))
    save_file(tensors, folder / "run/supernet.safetensors")


def network(name: str, content: str | bytes | None) -> Prepare:
    """Damage or remove a file of the network that was retrained."""

    def prepare(folder: Path) -> None:
        (path,) = folder.glob(f"run/retrain/*/{name}")
        path.unlink() if content is None else path.write_bytes(
            content.encode() if isinstance(content, str) else content
        )

    return prepare


DAMAGES: list[tuple[str, Prepare, str]] = [
    ("recipe.toml", edited("run/recipe.toml", lambda data: data.replace(b"seed", b"sed")), "mean seed?; mend it"),
    ("recipe.toml", written("run/recipe.toml", b"\xff"), "damaged"),
    ("device", edited("run/recipe.toml", lambda data: data.replace(b'"cpu"', b'"tpu"')), "use auto or cpu, in recipe"),
    ("stages.json", written("run/stages.json", "{"), "delete it to run all stages again"),
    (
        "stages.json",
        edited("run/stages.json", lambda data: data.replace(b'"random": {', b'"random": 3, "x": {')),
        '"random" must be an object, found 3; delete it',
    ),
    ("supernet.csv", written("run/supernet.csv", "epoch,loss\n1,x\n"), "line 2"),
    ("generator.csv", written("run/generator.csv", "epoch\n"), "holds no row; put it back as it was, or delete"),
    ("supernet.json", made_folder("run/supernet.json"), "cannot be read"),
    ("supernet.json", written("run/supernet.json", '{"images_trained": -1}'), '"images_trained" '),
    ("pool.jsonl", written("run/pool.jsonl", '{"loss": 1}'), 'pool.jsonl, line 1: lacks "architecture"'),
    ("/data.json", network("data.json", '{"format": "other"}'), "no description of data of anybudget"),
    ("data", edited("run/data.json", lambda data: data.replace(b'"version": 1', b'"version": 2')), "a newer version"),
    ("pool.jsonl", removed("run/pool.jsonl"), "missing; put it back, or delete run/stages.json and run: anybudget run"),
    ("generator.json", removed("run/generator.json"), 'or take "generator" out of run/stages.json and run: any'),
    ("supernet.safetensors", edited("run/supernet.safetensors", lambda data: data[:-9]), "damaged or not safetensors"),
    ("supernet.safetensors", removed("run/supernet.safetensors"), "missing; delete run/stages.json"),
    ("supernet.safetensors", other_weights, "weights of another network"),
    ("supernet.safetensors", poisoned, "not finite"),
    ("generator.safetensors", written("run/generator.safetensors", b""), "damaged or not safetensors"),
    ("candidates.jsonl", written("run/candidates.jsonl", '{}\n{"a"'), 'candidates.jsonl, line 1: lacks "budgets"'),
    ("random.jsonl", written("run/random.jsonl", b"\xff"), "not UTF-8"),
    ("provenance.json", written("run/provenance.json", "[]"), "expected a JSON object"),
    ("compare.json", written("run/compare.json", "nonsense"), "delete it and run: anybudget compare run"),
    ("search/linear.jsonl", written("run/search/linear.jsonl", "nonsense"), "search run --strategy linear"),
    ("/result.json", network("result.json", "{"), "architecture.json"),
    ("/architecture.json", network("architecture.json", None), "missing; put it back, or run: anybudget retrain run"),
    ("/retrain.csv", network("retrain.csv", None), "missing"),
    ("/weights.safetensors", network("weights.safetensors", "x"), "damaged or not safetensors"),
    ("retrain", lambda folder: shutil.rmtree(folder / "run/retrain"), 'no network is there; take "retrain" out of'),
]  # fmt: skip


@pytest.mark.parametrize(("name", "prepare", "text"), DAMAGES, ids=[f"{row[0]}-{row[2][:12]}" for row in DAMAGES])
def test_every_damage_is_one_problem(
    workshop: Path, capsys: pytest.CaptureFixture[str], name: str, prepare: Prepare, text: str
) -> None:
    prepare(workshop)
    checks = examined(capsys, RUN)
    (problem,) = states(checks, "problem")
    assert problem.endswith(name)
    assert text in checks[problem][1]


@pytest.mark.usefixtures("workshop")
def test_all_problems_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """However many files are damaged at once, and whatever the other commands do with them."""
    for path in [*RUN.rglob("*.json"), *RUN.rglob("*.csv"), *RUN.rglob("*.jsonl"), *RUN.rglob("*.safetensors")]:
        path.write_bytes(b"\x1b[31m{\xff")
    checks = examined(capsys, RUN)
    assert len(states(checks, "problem")) == 18
    (RUN / "recipe.toml").write_text("[" * 100_000)
    assert len(states(examined(capsys, RUN), "problem")) == 18
    code, out, _ = call(capsys, "doctor", "run")
    assert code == 2
    assert "18 problems" in out
    assert "\x1b" not in out


@pytest.mark.usefixtures("workshop")
@pytest.mark.parametrize("where", ["nowhere", "tiny.toml", "x" * 5000])
def test_what_is_no_run_is_a_problem(capsys: pytest.CaptureFixture[str], where: str) -> None:
    code, out, err = call(capsys, "doctor", where)
    assert (code, err) == (2, "")
    assert "1 problem" in out


@pytest.mark.usefixtures("workshop")
def test_reports_alone_miss_the_records(capsys: pytest.CaptureFixture[str]) -> None:
    for name in doctor.RECORDS:
        (RUN / name).unlink()
    checks = examined(capsys, RUN)
    assert states(checks, "note") == list(doctor.RECORDS)
    assert call(capsys, "generate", "run")[0] == 0
    assert call(capsys, "report", "run")[0] == 0


@pytest.mark.usefixtures("workshop")
def test_the_way_out_mends_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    (RUN / "generator.json").unlink()
    command = examined(capsys, RUN)["generator.json"][1].rpartition("run: anybudget ")[2]
    stages = json.loads((RUN / "stages.json").read_text())
    del stages["generator"]
    (RUN / "stages.json").write_text(json.dumps(stages))
    code, _, err = call(capsys, *command.split())
    assert code == 0, err
    assert not states(examined(capsys, RUN), "problem")


@pytest.fixture
def killed(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run `half` as a kill leaves it after the eighth step of supernet training."""
    shutil.rmtree(workshop / "half")
    shutil.copytree("nas-bench-macro", "half")
    text = Path("run/recipe.toml").read_text().replace("checkpoint_seconds = 300.0", "checkpoint_seconds = 0.0")
    Path("half/recipe.toml").write_text(text)
    save = FileCheckpoint.save
    saves: list[FileCheckpoint] = []

    def dying(self: FileCheckpoint, state: Any) -> None:
        save(self, state)
        saves.append(self)
        if len(saves) == 8:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(FileCheckpoint, "save", dying)
        with pytest.raises(RuntimeError, match="killed"):
            Run.open(Path("half")).train_supernet()
    return Path("half")


def goes_on() -> bool:
    """Whether training resumes from what it has saved."""
    try:
        Run.open(Path("half")).train_supernet()
    except RunError:
        return False
    return True


def test_saved_training(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checks = examined(capsys, killed)
    steps = checkpoints.read(LAST)["loop"]["step"]
    assert states(checks, "note")[0] == "supernet"
    for path, step in ((LAST, steps), (PREVIOUS, steps - 1)):
        state, found = checks[f"checkpoints/{path.name}"]
        assert state == "note"
        assert found.startswith(f"whole: epoch 2, step {step}, saved 20")
        assert found.endswith("; supernet: the same command resumes it")
    assert "a checkpoint takes about" in checks["disk"][1]
    assert 0 < doctor._expected_checkpoint(Run.open(killed).context) <= LAST.stat().st_size
    kept = {path: path.read_bytes() for path in (LAST, PREVIOUS)}
    assert goes_on()
    assert not LAST.exists()
    LAST.parent.mkdir(exist_ok=True)
    for path, content in kept.items():  # as a kill between the end and the tidying leaves them
        path.write_bytes(content)
    checks = examined(capsys, killed)
    assert "may be deleted" in checks[f"checkpoints/{LAST.name}"][1]
    assert not states(checks, "problem")


def of_another_version(data: bytes) -> bytes:
    return re.sub(rb'"version": \d+', b'"version": 99', data, count=1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: data[:-5], "truncated"),
        (of_another_version, "no checkpoint of this version"),
    ],
    ids=["cut", "version"],
)
def test_damaged_checkpoints(killed: Path, capsys: pytest.CaptureFixture[str], change: Any, text: str) -> None:
    kept = PREVIOUS.read_bytes()
    PREVIOUS.write_bytes(change(kept))
    checks = examined(capsys, killed)
    assert not states(checks, "problem")
    assert checks[f"checkpoints/{PREVIOUS.name}"][1].endswith(f"not needed, as {LAST.name} is whole")
    LAST.write_bytes(change(LAST.read_bytes()))
    checks = examined(capsys, killed)
    assert states(checks, "problem") == [f"checkpoints/{path.name}" for path in (LAST, PREVIOUS)]
    assert text in checks[f"checkpoints/{LAST.name}"][1]
    assert not goes_on()
    PREVIOUS.write_bytes(kept)
    checks = examined(capsys, killed)
    assert not states(checks, "problem")
    assert f"{text}" in checks[f"checkpoints/{LAST.name}"][1]
    assert f"resumes from {PREVIOUS.name}" in checks[f"checkpoints/{LAST.name}"][1]
    assert goes_on()


def test_work_begun_with_other_settings(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited("half/recipe.toml", lambda data: data.replace(b"batch_size = 16", b"batch_size = 8", 1))(Path())
    checks = examined(capsys, killed)
    assert states(checks, "problem") == [f"checkpoints/{path.name}" for path in (LAST, PREVIOUS)]
    assert "supernet.batch_size: 16 -> 8); use those, or delete it" in checks[f"checkpoints/{LAST.name}"][1]
    assert not goes_on()


def test_little_room(killed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    needed = max(
        path.stat().st_size for path in (LAST, PREVIOUS)
    )  # two are there, and the third is written beside them
    for free, state in ((needed - 1, "problem"), (needed, "ok")):
        monkeypatch.setattr("psutil.disk_usage", lambda _, free=free: usage(free))
        assert examined(capsys, killed)["disk"][0] == state
    shutil.rmtree(LAST.parent)
    assert examined(capsys, killed)["disk"][0] == "ok"
    monkeypatch.setattr("psutil.disk_usage", lambda _: usage(1000))
    found = examined(capsys, killed)["disk"]
    assert found[0] == "problem"
    assert found[1].endswith("free some space")


@pytest.mark.usefixtures("workshop")
def test_a_saved_search(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.open(RUN)
    weights = run.folder.digest("supernet.safetensors")
    settings = {"stage": "search random", "recipe": reproducibility_settings(run.recipe), "supernet": weights}
    scores = [((index, 0), {"top1": 0.5}) for index in range(5)]
    Journal(JOURNAL, settings).add(scores)
    found = examined(capsys, RUN)[f"checkpoints/{JOURNAL.name}"]
    assert found == ("note", "5 scores; search random: the same command resumes it")
    whole = JOURNAL.read_bytes()
    JOURNAL.write_bytes(whole[:-3])
    found = examined(capsys, RUN)[f"checkpoints/{JOURNAL.name}"]
    assert found[0] == "note"
    assert found[1].startswith("4 scores; damaged from line 6 on (1 line(s)), which is evaluated again; ")
    assert len(Journal(JOURNAL, settings).entries) == 4  # what a search sees, which mends the file
    assert JOURNAL.read_bytes() == b"".join(whole.splitlines(keepends=True)[:5])
    JOURNAL.write_bytes(of_another_version(whole))
    found = examined(capsys, RUN)[f"checkpoints/{JOURNAL.name}"]
    assert found[0] == "problem"
    assert "delete it to start this search anew" in found[1]
    JOURNAL.unlink()
    Journal(JOURNAL, {**settings, "supernet": "of another"}).add(scores)
    found = examined(capsys, RUN)[f"checkpoints/{JOURNAL.name}"]
    assert found[0] == "problem"
    assert "with other settings (supernet: 'of another' -> " in found[1]


def test_what_kills_leave_behind(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written("run/retrain/x/.weights.safetensors.abc.unfinished", "x" * 2048)(workshop)
    written("run/checkpoints/.x.checkpoint.abc.unfinished", "")(workshop)
    written("run/checkpoints/thesis.tex", "years of work")(workshop)
    written("run/.holder.json", json.dumps({"process": 7, "host": "here", "command": "anybudget run"}))(workshop)
    checks = examined(capsys, RUN)
    assert checks["left by kills"][1].startswith("2 unfinished file(s) of 2.0 KiB; ")
    assert checks["at work"] == (
        "note",
        "nobody; process 7 on here: anybudget run was killed; the next work here resumes",
    )
    assert checks["checkpoints/thesis.tex"] == ("note", "no file of anybudget")
    assert states(checks, "note") == ["at work", "retrain/x", "checkpoints/thesis.tex", "left by kills"]
    with RunFolder(RUN).locked():
        pass
    assert "left by kills" not in examined(capsys, RUN)


def test_a_process_at_work_is_seen_and_not_disturbed(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunFolder(RUN).locked():
        written("run/.recipe.toml.abc.unfinished", "being written")(workshop)
        for _ in range(3):
            checks = examined(capsys, RUN)
            state, found = checks["at work"]
            assert state == "note"
            assert found.startswith("process ")
            assert "left by kills" not in checks
        with pytest.raises(RunError, match="another process is at work"), RunFolder(RUN).locked():
            raise AssertionError("the lock was given away")
    assert examined(capsys, RUN)["at work"] == ("ok", "nobody")
