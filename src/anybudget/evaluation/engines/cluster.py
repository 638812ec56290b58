"""Starting Ray on this machine, and joining a cluster without waiting forever."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from anybudget.errors import ConfigError, reason, shorten, shown

REACH, JOIN = 5.0, 20.0
"""Seconds within which an address has to take a connection, and a cluster to take this machine in."""

LEAST_STORE = 128 * 2**20
"""Bytes of the object store of a cluster that is started here, if nothing larger goes there. Ray's own choice, a third
of the memory, is more than containers let processes share."""

_WAYS = (
    "give the address that `ray start --head` has printed, join this machine with `ray start --address`, and set "
    "RAY_AUTH_MODE here as there"
)

TRIAL = """
import logging, sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
except Exception as error:
    sys.exit(str(error))
"""


def check_reachable(address: str) -> None:
    """Check that something takes connections at an address; `auto` is for Ray to look up.

    Raises:
        ConfigError: nothing does within `REACH` seconds, or this is no address.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdigit() and int(port) < 2**16):
        raise ConfigError(f"--address {shown(address)}: write HOST:PORT, such as 10.0.0.5:6379, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--address {address}: nothing answers there ({reason(error)}); give the address that "
            "`ray start --head` has printed"
        ) from None


def join(address: str) -> None:
    """Join the cluster at an address.

    Raises:
        ConfigError: it cannot be joined.
    """
    check_reachable(address)
    # Ray itself waits for minutes, and may end its process; so it is tried in one that can be given up.
    command = [sys.executable, "-c", TRIAL, address]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=JOIN, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"--address {address}: no Ray cluster takes this machine in within {JOIN:.0f} s; {_WAYS}"
        ) from None
    if tried.returncode:
        raise ConfigError(f"--address {address}: {last_line(tried.stderr)}; {_WAYS}")
    _initialise(address=address)


def start(cores: int, store: int) -> None:
    """Start a cluster of this machine alone, which ends with this process.

    Args:
        cores: how many it gives to workers, there or not.
        store: bytes that its object store has to hold.

    Raises:
        ConfigError: Ray does not start.
    """
    # Said to be local, so that RAY_ADDRESS does not lead elsewhere.
    _initialise(
        address="local", num_cpus=cores, include_dashboard=False, object_store_memory=max(LEAST_STORE, 2 * store)
    )


def room(worker: Mapping[str, float]) -> int:
    """How many workers with these needs, such as `{"CPU": 2}`, the machines of the cluster hold."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    return sum(min(int(has.get(name, 0) // need) for name, need in worker.items()) for has in machines)


def last_line(text: object) -> str:
    """What a long message from Ray comes to."""
    lines = [line for line in str(text).splitlines() if line.strip()]
    return shorten(lines[-1], 160) if lines else "no reason given"


def _initialise(**options: Any) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray's makers are not told of it
    with _signals_kept():
        try:
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
        except (RayError, OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"Ray does not start: {last_line(error)}") from None
    # Ray says on standard output, where our JSON goes, that a worker has died; `WorkerPool` on standard error.
    ray._private.worker._worker_logs_enabled = False


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Undo that Ray puts a handler of its own in the place of ours, which saves work."""
    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
