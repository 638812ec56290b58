"""Each form of a network made and checked, in memory: nothing is written here but in temporary folders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from anybudget.data import DataSource
from anybudget.export.checking import Answers, Reference, require_equal
from anybudget.export.int8 import CALIBRATION_IMAGES, compared, quantise, require_agreement
from anybudget.export.one_file import to_one_file
from anybudget.export.onnx_file import answers_of, input_of, onnx_file, session_of
from anybudget.export.openvino_ir import answers_of as openvino_answers_of
from anybudget.export.openvino_ir import to_openvino
from anybudget.export.standalone import run_alone, write_source
from anybudget.export.subject import Subject
from anybudget.runtime.progress import Task
from anybudget.storage.files import write_together
from anybudget.storage.records import Form

if TYPE_CHECKING:
    import onnx

FormName = Literal["onnx", "torch", "int8", "openvino"]
FORMS: tuple[FormName, ...] = get_args(FormName)

MODULE = "network"
"""How the files of a network begin."""


class Made(NamedTuple):
    """A form: its files by name, and its record."""

    files: dict[str, bytes]
    form: Form


@dataclass
class Maker:
    """Makes the forms of a network; what several of them need is made once.

    Args:
        subject: the network.
        reference: what PyTorch answers.
        data: training images calibrate int8, all test images measure it; the other forms need none.
        with_preprocessing: whether models take pixels; see `WithPreprocessing`.
        min_agreement: of int8, see `require_agreement`.
        task: advanced by what `int8.batches_of` says, if int8 is made.
    """

    subject: Subject
    reference: Reference
    data: DataSource | None
    with_preprocessing: bool
    min_agreement: float
    task: Task

    def make(self, name: FormName) -> Made:
        """A form.

        Raises:
            ConfigError: a library is not installed, or the network has a block that this form cannot have.
            RunError: it computes something else than PyTorch.
        """
        makers: dict[FormName, Callable[[], Made]] = {
            "onnx": self._onnx,
            "torch": self._torch,
            "int8": self._int8,
            "openvino": self._openvino,
        }
        return makers[name]()

    @cached_property
    def _model(self) -> onnx.ModelProto:
        return onnx_file(self.subject, with_preprocessing=self.with_preprocessing)

    @cached_property
    def _content(self) -> bytes:
        """The ONNX file, checked."""
        content: bytes = self._model.SerializeToString()
        require_equal(self.reference.compared(self._answers(content)), "onnx", self.subject)
        return content

    def _onnx(self) -> Made:
        return self._made({f"{MODULE}.onnx": self._content}, self._answers(self._content))

    def _int8(self) -> Made:
        assert self.data is not None, "int8 is calibrated on data"
        pixels = self.with_preprocessing
        calibration = self.data.train.sample(CALIBRATION_IMAGES, 0)
        content = quantise(self._model, self.subject, calibration, with_preprocessing=pixels)
        models, test = (self._content, content), self.data.test()
        found = compared(
            models, self.subject, test, with_preprocessing=pixels, calibration_images=len(calibration), task=self.task
        )
        require_agreement(found, self.min_agreement)
        made = self._made({f"{MODULE}.int8.onnx": content}, self._answers(content))
        return made._replace(form=made.form.model_copy(update={"quantised": found}))

    def _openvino(self) -> Made:
        found = to_openvino(self._content, self.subject)
        answers = openvino_answers_of(found, self.subject, with_preprocessing=self.with_preprocessing)
        made = self._made({f"{MODULE}.xml": found.xml, f"{MODULE}.bin": found.weights}, answers)
        require_equal(made.form.checked, "openvino", self.subject)
        return made

    def _torch(self) -> Made:
        subject = self.subject
        source = write_source(subject.specs, subject.facts, module=MODULE, about=subject.about())
        files = {f"{MODULE}.py": source.encode(), f"{MODULE}.safetensors": to_one_file(subject)}
        with tempfile.TemporaryDirectory() as folder:
            write_together(Path(folder), files)
            logits = run_alone(Path(folder), MODULE, self.reference.images).numpy()
        checked = self.reference.compared_logits(logits)
        require_equal(checked, "torch", subject)
        sizes = {name: len(content) for name, content in files.items()}
        return Made(files, Form(files=sizes, input=input_of(subject, with_preprocessing=False), checked=checked))

    def _answers(self, content: bytes) -> Answers:
        return answers_of(session_of(content), self.subject, with_preprocessing=self.with_preprocessing)

    def _made(self, files: dict[str, bytes], answers: Answers) -> Made:
        sizes = {name: len(content) for name, content in files.items()}
        said = input_of(self.subject, with_preprocessing=self.with_preprocessing)
        return Made(files, Form(files=sizes, input=said, checked=self.reference.compared(answers)))
