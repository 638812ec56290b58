"""What ties a run to its data: `data.json` and the listing in the run folder, and the refusal of other data."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from anybudget.data import DataFacts, DataSource, Listing, what_differs
from anybudget.errors import DataError, MissingDataError, RunError, reason
from anybudget.storage.records import DataRecord, read_record
from anybudget.storage.run_folder import RunFolder

log = logging.getLogger(__name__)

FACTS, LISTING = "data.json", "data.listing.gz"
"""What a network of the run needs to know of its data, and the listing that tells which data these are."""

IN_PYTHON = "(handed over in Python)"
"""What stands for the place of data that were given to a run as an object."""

TOLERANCE = 1e-9
"""By how much a mean may differ that was computed on another machine from the same pixels."""


class DataTie:
    """What a run folder says of its data; a folder of an older version, or one not begun, says nothing.

    Raises:
        RunError: (from whatever reads it) `data.json` is damaged.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @property
    def path(self) -> Path:
        """The file of facts, whether it is there or not."""
        return self.folder.path / FACTS

    def facts(self) -> DataFacts | None:
        """What the run was begun with; None where it does not say."""
        record = self._record()
        return None if record is None else DataFacts.from_record(record)

    def source(self) -> str | None:
        """Where the data lay when they were last used."""
        record = self._record()
        return None if record is None else record.source

    def identified(self, source: str, identify: Callable[[], Listing]) -> Listing:
        """The listing of the data set `source`, which has to be that of this run.

        Args:
            source: what it is called in messages.
            identify: gives the listing.

        Raises:
            DataError: there is no data set there, or it cannot be used.
            RunError: it is another one; says what differs.
        """
        try:
            found = identify()
        except MissingDataError as error:
            elsewhere = "; if the data of this run lie elsewhere now, say where with --data PATH"
            raise MissingDataError(f"{error}{elsewhere if self.folder.exists() else ''}") from None
        facts = self.facts()
        if facts is not None and facts.digest != found.digest:
            raise RunError(
                f"{source}: not the data that {self.folder.path} was begun with: {self._difference(found)}; put the "
                "data back as they were, say with --data PATH where they lie, or begin anew with another --out"
            )
        return found

    def check_splits(self, data: DataSource) -> None:
        """Check that data of the right listing fall into the same splits, with the same pixels as far as means tell.

        Raises:
            RunError: the splits are others.
        """
        facts = self.facts()
        if facts is None or data.draw is None:
            return
        if facts.draw != data.draw:
            before, now = (_listed(draw.left_out) for draw in (facts.draw, data.draw))
            why = (
                f"images left out as unreadable: {before} then, {now} now"
                if before != now
                else "drawn with another seed or other fractions, or by another version of anybudget or torch"
            )
            raise RunError(
                f"{self.folder.path}: the same data, but in other splits than this run was begun with ({why}); use "
                "what provenance.json says, or begin anew with another --out"
            )
        pairs = zip((*facts.mean, *facts.std), (*data.mean, *data.std), strict=True)
        if not all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in pairs):
            log.warning(
                "%s: the pixels of its training images are not those that it was begun with: files have changed and "
                "kept their size, or another version of Pillow decodes them otherwise; results may differ",
                self.folder.path,
            )

    def write(self, found: DataFacts, listing: Listing, source: str) -> None:
        """Keep what the run's data are and where they lie, unless that is kept already."""
        facts = self.facts()
        if facts is None:
            if self.folder.begun:
                log.warning(
                    "%s: was begun by a version that did not keep which data it used; it is tied to these from now on",
                    self.folder.path,
                )
            self.folder.write_bytes(LISTING, listing.pack())
        elif not (self.folder.path / LISTING).exists():
            self.folder.write_bytes(LISTING, listing.pack())
        if facts is not None and self.source() == source:
            return
        if facts is not None and self.folder.writes:
            log.warning("%s: its data are read from %s from now on", self.folder.path, source)
        self.folder.write_json(FACTS, {**(facts or found).to_dict(), "source": source})

    def _difference(self, found: Listing) -> str:
        path = self.folder.path / LISTING
        try:
            kept = Listing.unpack(path.read_bytes(), str(path))
        except (OSError, DataError) as error:
            return f"their digests differ (the listing that would say in what cannot be read: {reason(error)})"
        return what_differs(kept, found) or f"their digests differ ({path} is of neither)"

    def _record(self) -> DataRecord | None:
        # A file may be where the folder is to be, which is said when it is made.
        return read_record(self.path, DataRecord, _WAY_OUT) if self.path.exists() else None


_WAY_OUT = "put the file back as it was, or delete it to tie the run to the data that are there now"


def _listed(files: Iterable[str]) -> str:
    return ", ".join(files) or "none"
