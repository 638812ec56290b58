"""Cuts a batch: into equal shares for the processes, and a share among paths and into equal parts, one by one."""

from __future__ import annotations

FEWEST = 2
"""Images that a norm needs at once: one image has no variance where the map is a single pixel."""


def batch_problem(
    size: int, processes: int = 1, accumulate: int = 1, paths: int = 1, *, section: str = ""
) -> str | None:
    """What is wrong with a batch of `size` images, shared out among `processes` and forwarded in `accumulate` parts.

    Shares have to be equal, since a mean of means is the mean of all only then; parts differ by one image at most
    (`torch.tensor_split`), and are weighted by their images.

    Args:
        size: images of all processes together.
        processes: how many share the batch.
        accumulate: parts of each share, or of each path's images of it.
        paths: among how many paths each share is cut.
        section: the table of the recipe that has `batch_size` and `accumulate`.

    Returns:
        The message, with what would do; None if nothing is wrong.
    """
    table = f"{section}." if section else ""
    if size % processes:
        return (
            f"{table}batch_size {size} cannot be shared out evenly among {processes} processes (devices * nodes); take "
            f"a multiple of {processes}"
        )
    share = size // processes
    if share // paths // accumulate >= FEWEST:
        return None
    shared = f", {share} for each of {processes} processes (devices * nodes)" if processes > 1 else ""
    parted = f", in {accumulate} parts ({table}accumulate)" if accumulate > 1 else ""
    pathed = f", shared by {paths} paths ({table}share_batch)" if paths > 1 else ""
    most = share // paths // FEWEST
    fewer = f", or {table}accumulate of at most {most}" if accumulate > 1 and most else ""
    return (
        f"{table}batch_size {size}{shared}{pathed}{parted} leaves fewer than {FEWEST} images at once, which norms "
        f"cannot be trained on; take a batch_size of at least {FEWEST * processes * paths * accumulate}{fewer}"
    )
