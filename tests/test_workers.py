"""Worker processes: results in any number of them, errors, deaths, stopping, and that none outlives its parent."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from anybudget.errors import ConfigError, DataError, RunError
from anybudget.runtime import workers as module
from anybudget.runtime.process_state import computing_threads
from anybudget.runtime.progress import Task
from anybudget.runtime.signals import Stopped, current_request, stop_requests
from anybudget.runtime.workers import DEATHS, Piece, Workers

TWO = Workers(2, threads=1)
log = logging.getLogger("anybudget.test")


class Bar:
    """A task that remembers."""

    def __init__(self) -> None:
        self.done, self.figures = 0, set[str]()

    def advance(self, steps: int = 1, figure: str = "") -> None:
        self.done += steps
        self.figures.add(figure)


def pieces(work: Callable[[int, Task], object], count: int = 4) -> list[Piece[object]]:
    return [Piece(f"piece {number}", partial(work, number)) for number in range(count)]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    for _ in range(int(50 * seconds)):
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def compute(number: int, task: Task) -> tuple[int, float, int]:
    """Something whose last bits depend on the number of threads, and that has to be shared memory to be found."""
    task.advance(3, f"figure {number}")
    task.advance(2)
    convolved = torch.nn.functional.conv2d(IMAGES + number, WEIGHTS, padding=1)
    return os.getpid(), float(convolved.square().mean()), torch.get_num_threads()


IMAGES, WEIGHTS = (
    torch.randn(*shape, generator=torch.Generator().manual_seed(0)) for shape in ((64, 8, 32, 32), (16, 8, 3, 3))
)


def test_results_do_not_depend_on_the_number_of_workers() -> None:
    bars = [Bar() for _ in range(3)]
    with computing_threads(2):
        compute(0, bars[0])  # so that OpenMP has threads that a fork loses
        found = [
            dict(Workers(count, threads=1).each(pieces(compute, 5), bar))
            for count, bar in zip((1, 2, 8), bars, strict=True)
        ]
        assert torch.get_num_threads() == 2
    assert [list(results) for results in found[:1]] == [list(range(5))]
    values = [[results[index][1:] for index in range(5)] for results in found]  # type: ignore[index]
    assert values[0] == values[1] == values[2]
    assert {threads for results in values for _, threads in results} == {1}
    assert [bar.done for bar in bars[1:]] == [25, 25]
    assert {f"figure {number}" for number in range(5)} <= bars[1].figures
    pids = [{result[0] for result in results.values()} for results in found]  # type: ignore[index]
    assert pids[0] == {os.getpid()}
    assert [len(others - {os.getpid()}) for others in pids[1:]] == [5, 5]
    assert not any(alive(pid) for others in pids[1:] for pid in others)


def test_a_piece_alone_and_a_worker_start_no_worker() -> None:
    assert dict(TWO.each(pieces(lambda *_: os.getpid(), 1))) == {0: os.getpid()}

    def nested(*_: object) -> bool:
        return set(dict(TWO.each(pieces(lambda *_: os.getpid()))).values()) == {os.getpid()}

    assert dict(TWO.each(pieces(nested, 2))) == {0: True, 1: True}


def fail(error: Callable[[], object], number: int, _task: Task) -> object:
    if number == 1:
        error()
    return number


class OddError(Exception):
    """Cannot be unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_(error: BaseException) -> None:
    raise error


def test_errors_are_those_of_the_piece() -> None:
    with pytest.raises(DataError, match="a file is damaged"):
        list(TWO.each(pieces(partial(fail, lambda: raise_(DataError("a file is damaged"))))))
    with pytest.raises(ZeroDivisionError) as error:
        list(TWO.each(pieces(partial(fail, lambda: 1 // 0))))
    assert "in fail" in error.value.__notes__[0]
    with pytest.raises(RuntimeError, match="OddError: 1 and 2"):
        list(TWO.each(pieces(partial(fail, lambda: raise_(OddError(1, 2))))))
    with pytest.raises(Exception, match="pickle"):
        list(TWO.each(pieces(lambda number, _: lambda: number)))


def test_what_is_logged_is_said_by_the_parent(caplog: pytest.LogCaptureFixture) -> None:
    list(TWO.each(pieces(lambda number, _: log.warning("from piece %d", number))))
    assert {record.getMessage() for record in caplog.records} == {f"from piece {number}" for number in range(4)}


def dies(folder: Path, times: int, number: int, task: Task) -> int:
    """Piece 1 dies this often, each time after 3 of its 5 steps."""
    task.advance(3)
    mark = folder / f"{len(list(folder.iterdir()))}"
    if number == 1 and int(mark.name) < times:
        time.sleep(0.11)
        task.advance(0)  # tells of the steps
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    task.advance(2)
    return number


def test_the_piece_of_a_dead_worker_is_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bar = Bar()
    found = dict(Workers(3, threads=1).each(pieces(partial(dies, tmp_path, DEATHS - 1)), bar))
    assert found == {number: number for number in range(4)}
    assert bar.done == 20
    assert caplog.text.count("has died of SIGKILL; piece 1 is done again, with 2 worker(s)") == 1
    assert caplog.text.count("has died of SIGKILL; piece 1 is done again, with 1 worker(s)") == DEATHS - 2


def test_it_is_given_up_after_some_deaths(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"^piece 1: {DEATHS} worker processes .* of SIGKILL; .*take fewer --workers"):
        list(TWO.each(pieces(partial(dies, tmp_path, 99))))
    with pytest.raises(RunError, match="the last one of exit code 3"):
        list(TWO.each(pieces(lambda *_: os._exit(3))))


def obedient(folder: Path, number: int, _task: Task) -> None:
    """Works until it is asked to stop, and then saves itself."""
    (folder / f"begun {number}").write_text(str(os.getpid()))
    request = current_request()
    while not request.made:
        time.sleep(0.01)
    time.sleep(0.1)
    (folder / f"saved {number}").touch()
    request.check()


def stubborn(folder: Path, number: int, _task: Task) -> None:
    (folder / f"begun {number}").write_text(str(os.getpid()))
    time.sleep(1000)


def begun(folder: Path, count: int = 2) -> list[int]:
    """The processes of workers, once they are at work."""
    assert wait_for(lambda: sum(bool(path.read_text()) for path in folder.glob("begun *")) == count)
    return [int(path.read_text()) for path in folder.glob("begun *")]


def child(work: Callable[[], object]) -> int:
    """A process of a group of its own that does some work, and exits with the code of how that stopped."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        os.setpgid(0, 0)
        signal.alarm(60)
        code = 1
        try:
            with stop_requests():
                work()
            code = 0
        except Stopped as stop:
            code = stop.exit_code
        finally:
            os._exit(code)
    return pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whom", ["parent", "group", "worker"])
def test_workers_that_save_themselves_are_waited_for(tmp_path: Path, number: int, whom: str) -> None:
    pid = child(lambda: list(TWO.each(pieces(partial(obedient, tmp_path)), saving=True)))
    workers = begun(tmp_path)
    if whom == "group":
        os.killpg(pid, number)
    elif whom == "parent":
        os.kill(pid, number)
    else:
        number = signal.SIGTERM  # workers leave Ctrl-C to their parent
        os.kill(workers[0], signal.SIGINT)
        os.kill(workers[0], number)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + number
    assert {path.name for path in tmp_path.glob("saved *")} == {"saved 0", "saved 1"}
    assert not any(map(alive, workers))


def test_others_are_ended_at_once(tmp_path: Path) -> None:
    pid = child(lambda: list(TWO.each(pieces(partial(stubborn, tmp_path)))))
    workers = begun(tmp_path)
    os.kill(pid, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert not any(map(alive, workers))


def test_the_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    pid = child(lambda: list(TWO.each(pieces(partial(stubborn, tmp_path)), saving=True)))
    workers = begun(tmp_path)
    os.kill(pid, signal.SIGINT)
    time.sleep(0.5)
    assert all(map(alive, workers))
    os.kill(pid, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert not any(map(alive, workers))


@pytest.mark.parametrize("saving", [False, True])
def test_no_worker_outlives_its_parent(tmp_path: Path, saving: bool) -> None:
    pid = child(lambda: list(Workers(4, threads=1).each(pieces(partial(stubborn, tmp_path)), saving=saving)))
    workers = begun(tmp_path, 4)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert wait_for(lambda: not any(map(alive, workers)))


def test_who_stops_asking_ends_the_workers(tmp_path: Path) -> None:
    def mixed(number: int, task: Task) -> int:
        return number if number == 0 else stubborn(tmp_path, number, task) or 0

    results: Iterator[tuple[int, int]] = TWO.each(pieces(mixed))  # type: ignore[arg-type]
    assert next(results) == (0, 0)
    workers = begun(tmp_path)
    results.close()  # type: ignore[attr-defined]
    assert not any(map(alive, workers))


def test_workers_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--workers 0: at least one"):
        Workers(0)
    with pytest.raises(ConfigError, match="--workers 2: a worker computes with one thread, not 4"):
        Workers(2, threads=4)
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: True)
    assert Workers(1, threads=1).count == 1
    with pytest.raises(ConfigError, match=r"--workers 2: .*CUDA.*; leave --workers out"):
        Workers(2, threads=1)
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module.sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="safe on Linux only, and this is darwin"):
        Workers(2, threads=1)
