"""Networks as one file of Python that needs torch and no anybudget, beside their weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import jinja2
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from anybudget.data import DataFacts
from anybudget.data.preparation import UNCHANGED
from anybudget.errors import RunError, shorten
from anybudget.export.source import ACTIVATIONS, WIDTH, called, network_code
from anybudget.spaces import BlockSpec, ClassifierSpec
from anybudget.spaces.nas_bench_201 import KERNELS
from anybudget.storage.files import write_whole

TEMPLATE = "network.py.jinja"

_SECONDS = 600


def write_source(specs: Sequence[BlockSpec], facts: DataFacts, *, module: str, about: tuple[str, str]) -> str:
    """The source of a network: its blocks as small classes, the network as a table of them, and a `main`.

    Only the classes in use are written. The file reads its weights from `<module>.safetensors` beside it, and image
    files as `DataFacts.prepare` does.

    Args:
        specs: of the network.
        facts: of its data.
        module: the name of the file, without its ending.
        about: a title and a sentence or two, which the file begins with.

    Raises:
        ConfigError: a block has no source; see `network_code`.
    """
    code, preparation = network_code(specs), facts.preparation
    classifier = cast(ClassifierSpec, specs[-1])
    resized = preparation.resize != UNCHANGED
    title, intro = (_harmless(text) for text in about)
    return _environment().get_template(TEMPLATE).render(
        code=code,
        flags=code.flags,
        kernels=KERNELS,
        classifier=classifier,
        hidden_act=None if classifier.activation is None else ACTIVATIONS[classifier.activation],
        title=title,
        intro=intro,
        module=module,
        weights=f"{module}.safetensors",
        preparation=preparation,
        mean=facts.mean,
        std=facts.std,
        classes=facts.class_names or tuple(map(str, range(facts.classes))),
        mode="L" if preparation.channels == 1 else "RGB",
        deep=preparation.value_range is not None,
        resized_by_pillow=resized and facts.stored == "files",
        resized_by_torch=resized and facts.stored == "arrays",
    )  # fmt: skip


def named_weights(network: nn.Module, specs: Sequence[BlockSpec]) -> dict[str, Tensor]:
    """The weights and statistics of a network by the names that its stand-alone file has for them."""
    code = network_code(specs)
    return {code.renamed(key): tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()}


def restored_weights(tensors: dict[str, Tensor], network: nn.Module, specs: Sequence[BlockSpec]) -> dict[str, Tensor]:
    """The inverse of `named_weights`: by the names of `network`; names that it has not stay as they are."""
    code = network_code(specs)
    own = {code.renamed(key): key for key in network.state_dict()}
    return {own.get(name, name): tensor for name, tensor in tensors.items()}


def run_alone(folder: Path, module: str, images: Tensor) -> Tensor:
    """The logits that a stand-alone file gives, computed by a fresh process in which anybudget cannot be imported.

    Args:
        folder: where the file and its weights are; two files are left there.
        module: its name without the ending.
        images: uint8 [N, C, H, W].

    Raises:
        RunError: the process fails.
    """
    write_whole(folder / "images.safetensors", save({"images": images.contiguous()}))
    script = _ALONE.format(module=module)
    # Isolated, so that neither PYTHONPATH nor the current folder adds anything.
    answer = subprocess.run(
        [sys.executable, "-I", "-c", script, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    if answer.returncode:
        raise RunError(
            f"the stand-alone file does not run by itself, and nothing is written: {shorten(answer.stderr[-400:], 400)}"
            "; take --to onnx"
        )
    return load_file(folder / "logits.safetensors")["logits"]


_ALONE = """
import sys
for name in ("anybudget", "timm", "torchvision"):
    sys.modules[name] = None  # importing it fails
folder = sys.argv[1]
sys.path.insert(0, folder)
import torch
from safetensors.torch import load_file, save_file
import {module} as alone
images = load_file(folder + "/images.safetensors")["images"]
network = alone.load()
with torch.inference_mode():
    logits = torch.cat([network(alone.normalise(part)) for part in images.split(256)])
save_file({{"logits": logits}}, folder + "/logits.safetensors")
"""


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("anybudget", "templates"),
        autoescape=False,  # it writes Python
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quoted": _quoted, "listed": _listed, "trim_end": str.rstrip}
    environment.globals["init"] = _init
    return environment


def _init(*parameters: str) -> str:
    """The first line of a constructor; empty parameters are left out."""
    return called("def __init__", ["self", *filter(None, parameters)], indent=4, end=":")


def _quoted(text: str) -> str:
    """A text as a literal of Python, in double quotes; characters that UTF-8 cannot have are escaped."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _listed(texts: Sequence[str]) -> str:
    """Texts as a tuple of literals, wrapped where it is long."""
    parts = [_quoted(text) for text in texts]
    whole = f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if len(whole) + len("OPERATIONS = ") <= WIDTH:
        return whole
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 2 <= WIDTH:
            lines[-1] += f" {part},"
        else:
            lines.append(f"    {part},")
    return "\n".join(["(", *lines, ")  # fmt: skip"])


def _harmless(text: str) -> str:
    """Text that may stand in a docstring, whatever names are in it."""
    kept = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(textwrap.dedent(kept).replace("\\", "/").replace('"', "'").split())
