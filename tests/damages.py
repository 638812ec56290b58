"""How the tables of mistakes damage the files of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from mistakes import Prepare, both, mistake, written


def values(name: str, change: Callable[[Any], object]) -> Prepare:
    """Change the object of a JSON file, or of the first line of a JSONL file, in place."""

    def prepare(folder: Path) -> None:
        first, *rest = (folder / name).read_text().splitlines() if name.endswith("l") else [(folder / name).read_text()]
        data = json.loads(first)
        change(data)
        (folder / name).write_text("\n".join([json.dumps(data), *rest]) + "\n")

    return prepare


def weights(name: str, change: Callable[[dict[str, Any]], object]) -> Prepare:
    """Change the tensors of a safetensors file in place."""

    def prepare(folder: Path) -> None:
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name)

    return prepare


def retrained(change: Callable[[Path], Prepare]) -> Prepare:
    """Change the result of the network that the run has retrained."""

    def prepare(folder: Path) -> None:
        (result,) = folder.glob("run/retrain/*/result.json")
        change(result.relative_to(folder))(folder)

    return prepare


def not_retrained(change: Prepare) -> Prepare:
    """Do one more thing to a run, the last stage of which is to be done again."""
    return both(values("run/stages.json", lambda stages: stages.pop("retrain")), change)


def damaged(identifier: str, name: str, content: str | bytes, command: str, names: str = "") -> Any:
    """A row about a file of the run `run` that holds something else."""
    return mistake(f"{name}-{identifier}", command, f"run/{name}{names}", written(f"run/{name}", content))
