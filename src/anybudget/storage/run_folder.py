"""The run folder: the files through which stages meet, written atomically, and the note of what is finished."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from filelock import FileLock, Timeout

from anybudget.errors import RunError, reason, shown
from anybudget.reading import (
    UnreadableError,
    parse_json,
    parse_object,
    parse_toml,
    read_bytes,
    read_text,
    unreadable_as,
)
from anybudget.storage.files import is_main_process, remedy, remove_unfinished, write_whole
from anybudget.storage.lock import has_ended, holder_of, is_locked
from anybudget.storage.provenance import VERSIONED, command, package_version, provenance
from anybudget.storage.records import Provenance, StageNote, Stages, read_record
from anybudget.storage.weights import read_weights

if TYPE_CHECKING:
    from torch import nn

STAGES = "stages.json"
"""The notes of finished stages."""

LOCK, HOLDER = ".lock", ".holder.json"
"""The file that work in a run folder locks, and the one that says who has."""

LINGERING = 20.0
"""Seconds that a lock is waited for whose process has ended."""


class RunFolder:
    """One run on disk. Every file is written whole or not at all; no file is ever unpickled.

    Of several processes that train together only the main one `writes`; the others write nothing when told to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes = is_main_process()
        self._lock: FileLock | None = None

    @property
    def held(self) -> bool:
        """Whether this process, or the one that it was forked from, has locked the folder."""
        return self._lock is not None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within, no other process writes here; the lock goes with the process, however it ends.

        Raises:
            RunError: another process has it, or the folder cannot be written.
        """
        if not self.writes or self._lock is not None:
            yield
            return
        holder = self.path / HOLDER
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            # Workers of a process that was killed end a moment after it, and keep the lock until then.
            lock.acquire(timeout=LINGERING if has_ended(holder) else 0)
        except Timeout:
            raise RunError(
                f"{self.path}: another process is at work here ({holder_of(holder)}); wait for it, end it, or choose "
                "another --out"
            ) from None
        except OSError as error:
            raise RunError(f"{self.path}: cannot write: {error.strerror}; make the folder writable") from None
        self._lock = lock
        try:
            remove_unfinished(self.path)
            self.write_json(holder.name, {"process": os.getpid(), "host": platform.node(), "command": command()})
            yield
        finally:
            self._lock = None
            holder.unlink(missing_ok=True)
            lock.release()

    def holder(self) -> tuple[str, bool | None] | None:
        """Who says to be at work here, and whether the lock agrees (None: cannot be told); None if nobody says so.

        Nothing is written. The lock is tried only where somebody says to have it, so that work that begins just now is
        not turned away.
        """
        path = self.path / HOLDER
        return (holder_of(path), is_locked(self.path / LOCK)) if path.exists() else None

    def digest(self, name: str) -> str:
        """The SHA-256 of a file, in hexadecimal.

        Raises:
            RunError: there is no such file, or it cannot be read.
        """
        try:
            return hashlib.sha256((self.path / name).read_bytes()).hexdigest()
        except OSError as error:
            raise RunError(f"{self.path / name}: cannot be read: {error}") from None

    @classmethod
    def create(cls, path: Path, recipe: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> RunFolder:
        """Make the folder and write the resolved recipe, its files and provenance, unless they are there already.

        Args:
            path: the run folder.
            recipe: as plain data.
            files: what the recipe's paths name, by these paths, relative to the folder.

        Raises:
            RunError: the folder cannot be written, or holds something that is no run.
        """
        run = cls(path)
        if not run.writes:
            return run
        made: list[Path] = []
        try:
            made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
            if not run.exists():
                if any(path.iterdir()):
                    raise RunError(f"{path}: the folder is not empty and holds no run; choose another --out")
                run._begin(recipe, files or {})
        except (OSError, RunError) as error:
            for folder in made:  # the innermost first; those that were not made after all are passed over
                with suppress(OSError):
                    folder.rmdir()
            if isinstance(error, RunError):
                raise
            if any(folder.is_file() for folder in (path, *path.parents)):
                raise RunError(f"{path}: a file is in the way of the run folder; choose another --out") from None
            raise RunError(f"{path}: cannot write the run folder: {reason(error)}; {remedy(error)}") from None
        return run

    def _begin(self, recipe: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write what makes a folder a run: all files or, where one fails, none."""
        try:
            self.write_json("provenance.json", provenance(recipe))
            self.write_recipe(recipe, files)
        except RunError:
            # Left behind, it would make the folder one that is not empty and holds no run.
            for name in ("recipe.toml", "provenance.json", *files):
                (self.path / name).unlink(missing_ok=True)
            for name in files:
                with suppress(OSError):
                    (self.path / name).parent.rmdir()
            raise

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run.

        Raises:
            RunError: there is no run at `path`.
        """
        run = cls(path)
        if not run.exists():
            raise RunError(f"{path}: not a run folder{_way_to_a_run(path)}")
        return run

    def exists(self) -> bool:
        """Whether a recipe has been written here."""
        return (self.path / "recipe.toml").is_file()

    def recipe(self) -> dict[str, Any]:
        """The resolved recipe as plain data.

        Raises:
            RunError: the file is damaged.
        """
        path = self.path / "recipe.toml"
        with unreadable_as(RunError, path, "damaged", "put the file back as it was, or begin anew with another --out"):
            return parse_toml(read_text(path))

    def finish(self, stage: str, seconds: float) -> None:
        """Note that a stage is finished and how long it took."""
        note = StageNote(seconds=round(seconds, 3), finished=datetime.now(UTC).isoformat(timespec="seconds"))
        self._write_stages({**self.stages(), stage: note})

    def forget(self, stages: Iterable[str]) -> list[str]:
        """Take notes of finished stages back, so that they run again; those that were finished."""
        noted = self.stages()
        again = [stage for stage in stages if noted.pop(stage, None) is not None]
        if again:
            self._write_stages(noted)
        return again

    def write_recipe(self, recipe: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> Path:
        """Write the resolved recipe, after the files that its paths name."""
        for name, content in (files or {}).items():
            self.write_bytes(name, content)
        return self.write_text("recipe.toml", tomli_w.dumps(recipe))

    def finished(self, stage: str) -> bool:
        """Whether `stage` has been finished."""
        return stage in self.stages()

    @property
    def begun(self) -> bool:
        """Whether any work has been done here: a stage is finished, or has saved itself."""
        return bool(self.stages()) or (self.path / "checkpoints").is_dir()

    def other_versions(self) -> list[str]:
        """Packages that results depend on and that have another version here than when the run was created.

        Each with both versions, in words; none where the run does not say.
        """
        try:
            noted = read_record(self.path / "provenance.json", Provenance)
        except RunError:
            return []  # only reports and this note need it
        found = []
        for name in VERSIONED:
            before, now = getattr(noted, f"{name}_version", None), package_version(name)
            if isinstance(before, str) and before != now:
                found.append(f"{name} {shown(before)[1:-1]}, here {now}")
        return found

    def require(self, stage: str, command: str) -> None:
        """Check that an earlier stage is finished.

        Raises:
            RunError: it is not; names the command that does it.
        """
        if not self.finished(stage):
            raise RunError(f"{self.path}: the {stage} stage has not finished; run: anybudget {command}")

    def write_text(self, name: str, text: str) -> Path:
        """Write a file whole or not at all."""
        return self._write(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file whole or not at all."""
        return self._write(name, content)

    def write_json(self, name: str, data: Any) -> Path:
        """Write a JSON file."""
        return self.write_text(name, json.dumps(data, indent=2) + "\n")

    def write_result(self, name: str, data: Any) -> Path:
        """Write a JSON file; another result that has the name is kept beside it, as `NAME.1.json` and so on.

        One that says the same, times apart, is replaced: it was written just before a kill, or asked for twice.
        """
        if self.writes and (self.path / name).exists():
            try:
                there = parse_json(read_bytes(self.path / name))
            except (OSError, UnreadableError):
                there = None  # damaged, and kept for whoever can read it
            if _timeless(there) != _timeless(json.loads(json.dumps(data))):
                self.keep(name)
        return self.write_json(name, data)

    def keep(self, name: str, *, copy: bool = False) -> Path:
        """Give a file, its copy or a folder a free name such as `compare.1.json`: another can take its place."""
        path = self.path / name
        free = next(f for n in count(1) if not (f := path.with_name(f"{path.stem}.{n}{path.suffix}")).exists())
        if not self.writes:
            return free
        return write_whole(free, path.read_bytes()) if copy else path.rename(free)

    def read_json(self, name: str, way_out: str = "") -> dict[str, Any]:
        """The object in a JSON file; the message on a file that holds none ends with `way_out`.

        Raises:
            RunError: there is no such file, or it is damaged.
        """
        path = self.path / name
        with unreadable_as(RunError, path, "damaged", way_out):
            return parse_object(read_bytes(path))

    def write_lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        """Write a JSONL file, one object per line."""
        return self.write_text(name, "".join(json.dumps(row) + "\n" for row in rows))

    def append_lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        """Add lines to a JSONL file, which is rewritten whole."""
        return self.write_lines(name, [*self.read_lines(name), *rows])

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The objects of a JSONL file; none if there is no such file.

        Raises:
            RunError: the file cannot be read, or a line is no JSON object.
        """
        path = self.path / name
        if not path.exists():
            return []
        with unreadable_as(RunError, path, "cannot be read", "put the file back as it was, or move it away"):
            lines = read_bytes(path).splitlines()
        rows = []
        for number, line in enumerate(lines, start=1):
            where, way_out = f"{path}, line {number}", "mend or remove that line"
            with unreadable_as(RunError, where, "not JSON", way_out):
                row = parse_json(line)
            if not isinstance(row, dict):
                raise RunError(f"{where}: expected a JSON object, found {shown(row)}; {way_out}")
            rows.append(row)
        return rows

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write rows of equal keys as CSV with a header."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return self.write_text(name, text.getvalue())

    def save_weights(self, name: str, module: nn.Module) -> Path:
        """Write the parameters and buffers of `module` as safetensors."""
        from safetensors.torch import save

        return self._write(name, save({key: value.contiguous().cpu() for key, value in module.state_dict().items()}))

    def load_weights(self, name: str, module: nn.Module) -> None:
        """Read what `save_weights` wrote.

        Raises:
            RunError: the file is missing, damaged, of another network, or holds what is no weight.
        """
        read_weights(
            self.path / name,
            module,
            f"delete {self.path / STAGES} and run again to train anew",
            described_by="the run's recipe",
        )

    def stages(self) -> dict[str, StageNote]:
        """The notes of finished stages.

        Raises:
            RunError: the file is damaged.
        """
        found = read_record(self.path / STAGES, Stages, "delete it to run all stages again")
        return {} if found is None else dict(found.root)

    def _write_stages(self, notes: Mapping[str, StageNote]) -> None:
        self.write_json(STAGES, {stage: note.to_json() for stage, note in notes.items()})

    def _write(self, name: str, content: bytes) -> Path:
        return write_whole(self.path / name, content) if self.writes else self.path / name


def _timeless(value: Any) -> Any:
    """Plain data without times."""
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key != "seconds"}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _way_to_a_run(path: Path) -> str:
    """What to do about a path that is no run folder, behind the words that say so."""
    if path.suffix != ".toml" or not path.is_file():
        return f" (no recipe.toml); make one with: anybudget run RECIPE --out {path}"
    made = Path("runs") / path.stem
    if (made / "recipe.toml").is_file():
        return f" but a recipe; did you mean {made}?"
    return f" but a recipe; make a run with: anybudget run {path}"
