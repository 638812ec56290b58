"""Freed memory is kept for the next step while work goes on, and given back afterwards."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from anybudget.runtime import allocator
from anybudget.runtime.allocator import freed_memory_kept, set_by_environment

SWITCHES = (*allocator._VARIABLES, "GLIBC_TUNABLES")
SOURCES = Path(allocator.__file__).parents[2]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are counted on Linux")

STEPS = """
import resource
from contextlib import nullcontext
import torch
from anybudget.runtime.allocator import freed_memory_kept

torch.set_num_threads(1)

def step():  # 24 MB in blocks of 6
    return [torch.empty(1_500_000).fill_(1.0) for _ in range(4)]

def usage():
    return resource.getrusage(resource.RUSAGE_SELF)

def faults(within):
    with within:
        step(), step()
        before = usage().ru_minflt
        for _ in range(5):
            step()
        return usage().ru_minflt - before

plain = faults(nullcontext())
peak = usage().ru_maxrss
kept = faults(freed_memory_kept())
print(plain, kept, usage().ru_maxrss / peak)
"""


def measured(**environment: str) -> list[float]:
    """Page faults of five steps with the memory given back and kept, and what the peak became, in a fresh process."""
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    surroundings = {**clean, "PYTHONPATH": str(SOURCES), **environment}
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env=surroundings, capture_output=True, text=True, check=True, timeout=120
    )
    return [float(word) for word in done.stdout.split()]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What the allocator is told, instead of telling it."""
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)
    told: list[tuple[str, int, int]] = []

    def recorded(name: str) -> Callable[..., int]:
        return lambda *numbers: told.append((name, *numbers)) or 1  # type: ignore[func-returns-value]

    fake = allocator._Malloc(recorded("mallopt"), recorded("malloc_trim"))
    monkeypatch.setattr(allocator, "_glibc", lambda: fake)
    return told


@pytest.mark.skipif(allocator._glibc() is None, reason="needs glibc")
def test_steps_take_no_new_pages_and_no_more_memory() -> None:
    plain, kept, peak = measured()
    assert plain > 1000
    assert kept < plain / 20
    assert peak < 1.05


@pytest.mark.skipif(allocator._glibc() is None, reason="needs glibc")
def test_the_environment_has_the_last_word() -> None:
    plain, kept, _ = measured(MALLOC_MMAP_THRESHOLD_="65536")
    assert kept > 0.9 * plain


@pytest.mark.skipif(allocator._glibc() is None, reason="needs glibc")
def test_free_memory_is_given_back_afterwards() -> None:
    process = psutil.Process()
    with freed_memory_kept():
        blocks = [torch.ones(1_000_000) for _ in range(40)]
        del blocks
        within = process.memory_info().rss
    assert process.memory_info().rss < within - 100_000_000


def test_only_the_outermost_tells_the_allocator(calls: list[tuple[str, int, int]]) -> None:
    with freed_memory_kept():
        first = list(calls)
        with freed_memory_kept():
            pass
        assert calls == first
    assert [name for name, *_ in calls[len(first) :]] == ["mallopt", "mallopt", "malloc_trim"]
    assert {number for _, number, *_ in first} == {-1, -3}


def test_an_error_ends_it_too(calls: list[tuple[str, int, int]]) -> None:
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
    assert calls[-1] == ("malloc_trim", 0)
    assert not allocator._users.count


@pytest.mark.parametrize("name", SWITCHES)
def test_what_the_user_says_about_memory_stands(
    name: str, calls: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "glibc.malloc.trim_threshold=1" if name == "GLIBC_TUNABLES" else "1")
    with freed_memory_kept():
        pass
    assert set_by_environment() == name
    assert not calls


def test_other_tunables_are_none_of_ours(calls: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
    with freed_memory_kept():
        pass
    assert calls


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_without_glibc_nothing_happens(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: object) -> ctypes.CDLL:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", missing)
    allocator._glibc.cache_clear()
    try:
        with freed_memory_kept():
            assert torch.ones(3).sum() == 3
        assert allocator._glibc() is None
    finally:
        allocator._glibc.cache_clear()
