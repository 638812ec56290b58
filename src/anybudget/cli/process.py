"""The command line as a process: how mistakes and stops end, and what is printed where."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from contextlib import suppress
from typing import NoReturn

import typer

from anybudget.cli.commands import app
from anybudget.cli.streams import OutputClosed, err, out, printable
from anybudget.errors import AnyBudgetError, reason, shorten

STOPPED, TERMINATED, BROKEN_PIPE = 130, 143, 141
"""Exit codes after Ctrl-C, SIGTERM and SIGPIPE, as shells have them: 128 and the number of the signal."""


def main() -> None:
    """Run the command line; a user's mistake gives one message and exit code 2, Ctrl-C exit code 130, SIGTERM 143."""
    from anybudget.runtime.signals import Stopped
    from anybudget.storage.files import is_main_process

    _write_any_character()
    _divert_native_output()
    # Of several processes that train together, one speaks.
    out.quiet = err.quiet = not is_main_process()
    logger = logging.getLogger("anybudget")
    logger.handlers = [_Notices()]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    code: object = 0
    try:
        code = app(prog_name="anybudget", standalone_mode=False)
        sys.stdout.flush()  # here, so that a full disk is said, and not when Python ends
    except Stopped as stop:
        code = stop.exit_code
    except AnyBudgetError as error:
        _fail(str(error))
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except (BrokenPipeError, OutputClosed):
        _forget_output()
        sys.exit(BROKEN_PIPE)
    except OSError as error:  # a name too long for the system, a folder where a file should be, no permission
        _forget_output()
        _fail(f"{shorten(str(error.filename))}: {reason(error)}" if error.filename else reason(error))
    except Exception as error:
        # Click's usage errors know how to print themselves, with the usage line, and carry exit code 2.
        if not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(getattr(error, "exit_code", 2))
    if code in (STOPPED, TERMINATED):  # Typer turns a Ctrl-C that nobody has noted into this return value
        err.print("stopped; what has been saved is kept, run the same command again to resume", markup=False)
        sys.exit(code)


class _Notices(logging.Handler):
    """Notices to the user on standard error; the work continues."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one notice."""
        err.print(f"note: {record.getMessage()}", style="yellow", markup=False)


def _fail(message: str) -> NoReturn:
    """Print the one message of a mistake and exit; on one line, whatever characters files and arguments hold."""
    line = printable(message)
    line = re.sub(r"\S{400,}", lambda match: f"{match[0][:120]}…{match[0][-120:]}", line)  # a path may be any length
    err.print(f"error: {line}", style="bold red", markup=False)
    sys.exit(2)


def _forget_output() -> None:
    """Give up what standard output has not taken yet: Python would try again when it ends, and complain."""
    with suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_any_character() -> None:
    """Let output in an encoding without some characters, such as ASCII, have them escaped instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _divert_native_output() -> None:
    """Send what native libraries print to standard error: standard output is for tables and JSON.

    HiGHS prints a line of its own now and then, from C, whatever it is told about logging.
    """
    try:
        if sys.stdout.fileno() != 1:
            return
    except (AttributeError, OSError, ValueError):
        return  # standard output has been replaced already, by a test or a notebook
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    os.dup2(2, 1)
