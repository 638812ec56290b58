"""Work in a forked process: what it registers or breaks ends with it, and nothing has to be imported again."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from anybudget.cli.process import main


class Ended(NamedTuple):
    """How a process ended, and what it printed."""

    code: int
    out: str
    err: str


def forked(work: Callable[[], object], meanwhile: Callable[[int], object] = lambda _process: None) -> Ended:
    """Do work in a process of its own, and something `meanwhile`, given its number.

    Its code is that of `SystemExit`, and 1 behind a traceback of another error.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            _end(work, out.fileno(), err.fileno())
        meanwhile(child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return Ended(code, out.read(), err.read())


def _end(work: Callable[[], object], out: int, err: int) -> None:
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        work()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_script(script: Path) -> Ended:
    """Run a file of Python as `python FILE` does, from its folder."""

    def work() -> None:
        os.chdir(script.parent)
        sys.argv = [str(script)]
        runpy.run_path(str(script), run_name="__main__")

    return forked(work)


def command_stopped(arguments: Sequence[str], stop: signal.Signals, saved: Path) -> Ended:
    """Run a command of the command line, and send it a signal as soon as it has saved a file."""

    def wait(child: int) -> None:
        deadline = time.monotonic() + 60
        while not saved.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(child, stop)

    def work() -> None:
        sys.argv = ["anybudget", *arguments]
        main()

    return forked(work, wait)
