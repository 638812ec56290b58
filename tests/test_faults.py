"""What the system does to a run: a full disk, a folder that cannot be written, two processes, signals, devices."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anybudget.errors import AnyBudgetError, ConfigError, RunError
from anybudget.runs.run import Run
from anybudget.runtime.device import pick_device
from anybudget.runtime.signals import Stopped, StopRequest
from anybudget.storage.checkpoint import read
from anybudget.storage.files import write_together
from anybudget.storage.run_folder import RunFolder
from anybudget.testing.interruption import differing_files
from conftest import open_run
from forked import command_stopped
from mistakes import contents
from stopping import stop_after


def in_a_child(work: Callable[[], object]) -> int:
    """Do it in a process of its own; its exit code, 2 after an error of ours."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 1
        signal.alarm(60)
        try:
            work()
            code = 0
        except AnyBudgetError as error:
            print(error, file=sys.stderr)
            code = 2
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_full_disk_ends_with_a_clear_error_and_nothing_damaged(
    recipe_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files, as the system enforces it, lets metrics be written but no checkpoint."""
    whole, path = open_run(recipe_file, tmp_path / "whole"), tmp_path / "full"
    whole.train_supernet()
    started = open_run(recipe_file, path)
    stop_after(3, started.train_supernet)
    before = (path / "checkpoints" / "supernet.checkpoint").read_bytes()

    def on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        Run.open(path).train_supernet()

    assert in_a_child(on_a_full_disk) == 2
    said = capfd.readouterr().err
    assert "supernet.checkpoint: cannot write: File too large; free some space" in said
    assert (path / "checkpoints" / "supernet.checkpoint").read_bytes() == before
    assert not list(path.rglob("*.unfinished"))
    Run.open(path).train_supernet()
    assert not differing_files(tmp_path / "whole", path)


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_nothing(existing: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files, as the system enforces it, lets the first file be written and not the second."""
    folder = tmp_path / "made" / "out"
    if existing:
        write_together(folder, {"first": b"before", "second": b"before"})
    before = contents(tmp_path)

    def on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        write_together(folder, {"first": bytes(10), "second": bytes(10_000)})

    assert in_a_child(on_a_full_disk) == 2
    assert "cannot write" in capfd.readouterr().err
    assert contents(tmp_path) == before
    assert existing or not (tmp_path / "made").exists()
    write_together(folder, {"first": b"a", "second": b"b"})
    assert contents(tmp_path) == {"made": None, "made/out": None, "made/out/first": b"a", "made/out/second": b"b"}


def test_a_folder_that_cannot_be_written_is_named(recipe_file: Path) -> None:
    for place in ("/proc/anybudget", "/dev/null/run"):
        with pytest.raises(RunError, match=place):
            open_run(recipe_file, Path(place))


@pytest.fixture
def holder(recipe_file: Path, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A process that is at work in a run folder, and the folder."""
    run = open_run(recipe_file, tmp_path / "held")
    child = os.fork()
    if not child:
        with run.folder.locked():
            time.sleep(60)
        os._exit(0)
    deadline = time.monotonic() + 20
    while not (run.folder.path / ".holder.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield child, run.folder.path
    with contextlib.suppress(ProcessLookupError):  # the test may have ended it
        os.kill(child, signal.SIGKILL)


def test_two_processes_do_not_work_in_one_folder(holder: tuple[int, Path]) -> None:
    child, path = holder
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(RunError, match=rf"another process is at work here .process {child} on .*wait for it, end it"):
        Run.open(path).train_supernet()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with RunFolder(path).locked():  # the lock went with the process
        pass


def test_sigterm_saves_and_says_so(recipe_file: Path, tmp_path: Path) -> None:
    """A polite stop within a step: exit code 143, one line, and the same command resumes it."""
    out = tmp_path / "run"
    long = ["supernet", str(recipe_file), "--out", str(out), "--set", "supernet.epochs=4000"]
    answer = command_stopped(
        [*long, "--set", "checkpoint_seconds=0"], signal.SIGTERM, out / "checkpoints" / "supernet.checkpoint"
    )
    assert answer.code == 143, answer.err
    assert "what has been saved is kept" in answer.err
    assert "Traceback" not in answer.err
    assert read(out / "checkpoints" / "supernet.checkpoint")["schedule"]["last_epoch"] > 0


def test_a_second_stop_does_not_wait() -> None:
    from anybudget.runtime.signals import stop_requests

    def impatient() -> None:
        with stop_requests() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.made
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("still here")

    with pytest.raises(Stopped) as stopped:
        impatient()
    assert stopped.value.exit_code == 130
    StopRequest().check()  # nothing has been asked of a new one


def test_unknown_devices_are_no_traceback() -> None:
    with pytest.raises(ConfigError):
        pick_device("nonsense")
