"""Exporting a trained network: all forms that are wanted are made and checked, then written together, or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from anybudget.data import DataSource
from anybudget.errors import ConfigError, RunError
from anybudget.export.card import CARD, write_card
from anybudget.export.checking import Reference
from anybudget.export.int8 import MIN_AGREEMENT, batches_of
from anybudget.export.making import FORMS, FormName, Maker
from anybudget.export.onnx_model import EXTRA, require_onnx
from anybudget.export.openvino_ir import require_openvino
from anybudget.export.source import network_code
from anybudget.export.subject import Subject, name_of
from anybudget.runtime.optional import optional
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.storage.files import write_together
from anybudget.storage.records import Export, Form, read_record

RECORD = "export.json"

_AGAIN = "delete that file, and export the network again"


@dataclass(frozen=True)
class Wanted:
    """What is to be exported: which forms, and how.

    `min_agreement` is the least share of test images in percent on which an int8 network has to answer as that of
    floats does. `with_preprocessing` puts scaling and normalisation into ONNX, int8 and OpenVINO models.

    Raises:
        ConfigError: a form is unknown, or the others do not fit.
    """

    forms: tuple[str, ...] = ("onnx",)
    with_preprocessing: bool = False
    min_agreement: float = MIN_AGREEMENT

    def __post_init__(self) -> None:
        unknown = [form for form in self.forms if form not in FORMS]
        if unknown or not self.forms:
            raise ConfigError(f"--to {unknown[0] if unknown else ''}: write one of {', '.join(FORMS)}")
        if not 0 <= self.min_agreement <= 100:
            raise ConfigError(f"--min-agreement {self.min_agreement:g}: is a percentage, from 0 to 100")
        if self.with_preprocessing and set(self.forms) == {"torch"}:
            raise ConfigError("--with-preprocessing: --to torch writes `normalise` beside the network; leave it out")

    @property
    def names(self) -> tuple[FormName, ...]:
        """The forms, each once, in the order in which they are made."""
        return tuple(form for form in FORMS if form in self.forms)


def check_wanted(wanted: Wanted, folder: Path) -> None:
    """Check what can be checked before any work: libraries and the folder.

    Raises:
        ConfigError: a library is not installed, or the folder is a file.
    """
    in_the_way = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if in_the_way is not None:
        raise ConfigError(f"--out {folder}: {in_the_way} is a file; give a folder")
    if set(wanted.names) - {"torch"}:
        require_onnx(f"--to {wanted.names[0]}")
        optional("onnxruntime", f"--to {wanted.names[0]}", EXTRA)
    if "openvino" in wanted.names:
        require_openvino()


def export(
    subject: Subject, wanted: Wanted, folder: Path, data: DataSource | None = None, progress: Progress | None = None
) -> Export:
    """Make forms of a network, check each against PyTorch, and write them with a model card into `folder`.

    Either all that is wanted is written, or nothing. Forms of the same weights that are there already stay, and the
    card lists them, too.

    Args:
        subject: the network.
        wanted: which forms.
        folder: where to; made if it is not there.
        data: of the run: the test split checks, training images calibrate. Without, images of random pixels check, and
            there is no int8.
        progress: where the work reports.

    Returns:
        What `export.json` holds.

    Raises:
        ConfigError: a library is not installed, the folder is a file, or a form is not to be had of this network.
        RunError: a form computes something else than PyTorch, or the folder holds another network or cannot be written.
    """
    check_wanted(wanted, folder)
    former = _former(folder, subject)
    if "torch" in wanted.names:
        network_code(subject.specs)  # a block without source is to be noticed before the work
    if data is None and "int8" in wanted.names:
        raise ConfigError(
            "--to int8: is calibrated on training images, and this folder of a network is not in its run; give the run"
        )
    made: dict[str, Form] = {}
    files: dict[str, bytes] = {}
    steps = len(wanted.names) + (batches_of(data.test()) if data is not None and "int8" in wanted.names else 0)
    with (progress or SilentProgress()).task(f"export {subject.name}", steps) as task:
        reference = Reference.to_images(subject, None if data is None else data.test())
        maker = Maker(subject, reference, data, wanted.with_preprocessing, wanted.min_agreement, task)
        for name in wanted.names:
            content, made[name] = maker.make(name)
            files |= content
            task.advance()
    same = former is not None and former.model_copy(update={"forms": {}}) == subject.record
    kept = former.forms if former is not None and same else {}
    record = subject.record.model_copy(update={"forms": {**kept, **made}})
    files[RECORD] = (json.dumps(record.to_json(), indent=2, ensure_ascii=False) + "\n").encode()
    files[CARD] = write_card(record, subject).encode()
    write_together(folder, files)
    for outdated in _files(former) - _files(record):  # of weights that are no longer those of the network
        (folder / outdated).unlink(missing_ok=True)
    return record


def _former(folder: Path, subject: Subject) -> Export | None:
    """What has been exported to a folder before.

    Raises:
        RunError: it is another network.
    """
    former = read_record(folder / RECORD, Export, _AGAIN)
    if former is not None and former.network != subject.record.network:
        raise RunError(
            f"{folder}: holds the network {name_of(former.network)}, exported before, and not "
            f"{subject.name}; choose another --out"
        )
    return former


def _files(record: Export | None) -> set[str]:
    """The files of all forms."""
    return set() if record is None else {name for form in record.forms.values() for name in form.files}
