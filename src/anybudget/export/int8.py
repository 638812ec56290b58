"""int8 networks: ONNX Runtime's static quantisation, held to the answers of the network of floats."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from anybudget.data import ImageSet, Split
from anybudget.errors import RunError
from anybudget.export.onnx_file import INPUT, answers_of, describe, feed_of, session_of
from anybudget.export.quantisation import static_int8
from anybudget.export.subject import Subject, interval
from anybudget.runtime.progress import Task
from anybudget.runtime.rounds import Rounds, measure
from anybudget.storage.records import Quantised

if TYPE_CHECKING:
    import onnx

MIN_AGREEMENT = 95.0
"""Percent of the test images on which the int8 network has to answer as the network of floats does."""

CALIBRATION_IMAGES = 512
"""Training images on which the range of every activation is found."""

_BATCH = 64
_ROUNDS = Rounds(starts=1, rounds=24)


def quantise(model: onnx.ModelProto, subject: Subject, calibration: ImageSet, *, with_preprocessing: bool) -> bytes:
    """A model with int8 weights, a scale per output channel, and uint8 activations (QDQ format).

    The ranges of activations are the least and greatest values on the calibration images.

    Args:
        model: of `onnx_file`; stays as it is.
        subject: the network it is of.
        calibration: training images.
        with_preprocessing: see `onnx_file`; scaling and normalisation stay in floats.

    Raises:
        ConfigError: onnxruntime is not installed.
    """
    feeds = (
        {INPUT: feed_of(subject, part, with_preprocessing=with_preprocessing)}
        for part in calibration.images.split(_BATCH)
    )
    found = static_int8(model, feeds)
    describe(found, subject, with_preprocessing=with_preprocessing)
    content: bytes = found.SerializeToString()
    return content


def compared(
    models: tuple[bytes, bytes],
    subject: Subject,
    test: Split,
    *,
    with_preprocessing: bool,
    calibration_images: int,
    task: Task,
) -> Quantised:
    """An int8 network beside that of floats: answers to all test images, sizes, and the time of one image.

    Args:
        models: of floats, and int8.
        subject: the network.
        test: the test split.
        with_preprocessing: see `onnx_file`.
        calibration_images: how many calibrated it.
        task: advanced by one for every batch, see `batches_of`.
    """
    sessions = [session_of(model) for model in models]
    both = [answers_of(session, subject, with_preprocessing=with_preprocessing) for session in sessions]
    equal, right = 0, [0, 0]
    for batch, labels in test.batches(_BATCH):
        found = [answers(batch).argmax(1) for answers in both]
        equal += int((found[0] == found[1]).sum())
        right = [count + int((one == labels.numpy()).sum()) for count, one in zip(right, found, strict=True)]
        task.advance()
    feed = {INPUT: feed_of(subject, test.sample(1, 0).images, with_preprocessing=with_preprocessing)}
    floats, int8 = (partial(session.run, None, feed) for session in sessions)
    times = measure([lambda: floats, lambda: int8], lambda: floats, _ROUNDS).times
    return Quantised(
        calibration_images=calibration_images,
        agreement_percent=100.0 * equal / len(test),
        before=interval(right[0], len(test)),
        after=interval(right[1], len(test)),
        before_bytes=len(models[0]),
        after_bytes=len(models[1]),
        before_ms=times[0].once,
        after_ms=times[1].once,
    )


def batches_of(test: Split) -> int:
    """How many batches `compared` takes."""
    return -(-len(test) // _BATCH)


def require_agreement(found: Quantised, least: float) -> None:
    """Require that an int8 network answers as that of floats does, on so many percent of the test images.

    Raises:
        RunError: it does not.
    """
    if found.agreement_percent < least:
        raise RunError(
            f"--to int8: answers as the network of floats does on {found.agreement_percent:.2f}% of the test images, "
            f"and {least:g}% are required (top-1 {found.before.top1_percent:.2f}% before, "
            f"{found.after.top1_percent:.2f}% after); nothing is written: lower --min-agreement, or take --to onnx"
        )
