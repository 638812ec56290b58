"""Networks that were measured elsewhere, by whatever means: a CSV file, and the profile that is made of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from anybudget.architecture import Architecture
from anybudget.costs import build_costs
from anybudget.costs.latency import Device, LatencyProfile, Running, space_digest
from anybudget.costs.table import CostTable
from anybudget.errors import ArchitectureError, DataError, shorten, shown
from anybudget.latency.checking import check_of
from anybudget.latency.fitting import MeasuredNetworks, fit_latency
from anybudget.latency.promise import cross_validated, promise_of
from anybudget.reading import UnreadableError, parse_csv, parse_json, read_text, unreadable_as
from anybudget.runtime.progress import Progress
from anybudget.spaces import SearchSpace

ELSEWHERE = "elsewhere"
"""The runtime and the device of what this package did not measure."""

_COLUMNS = ["architecture", "ms"]
_NAMED = 5
_WAY_OUT = 'begin it with architecture,ms and give a line "[0, 2, 1]",12.5 for each network'


def read_measurements(path: Path, space: SearchSpace) -> MeasuredNetworks:
    """The networks of a CSV file `architecture,ms`.

    An architecture is its JSON: the list of the index of each decision's choice, or the object that commands print.

    Raises:
        DataError: the file cannot be read, or lines are wrong, which are named.
    """
    with unreadable_as(DataError, path, "cannot read the measured networks", _WAY_OUT):
        rows = parse_csv(read_text(path))
    if not rows or [name.lower() for name in rows[0][1]] != _COLUMNS:
        found = ",".join(rows[0][1]) if rows else ""
        raise DataError(f"{path}: its first line is {shown(shorten(found))}; {_WAY_OUT}")
    networks: dict[Architecture, float] = {}
    lines: dict[Architecture, int] = {}
    problems = []
    for line, cells in rows[1:]:
        try:
            network, ms = _network(cells, space)
            if network in lines:
                raise DataError(f"the network of line {lines[network]} again; give each network once")
        except (ArchitectureError, DataError, UnreadableError) as error:
            problems.append(f"line {line}: {error}")
        else:
            networks[network], lines[network] = ms, line
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise DataError(f"{path}: {'; '.join(problems[:_NAMED])}{more}")
    return MeasuredNetworks.of(space, list(networks), list(networks.values()))


def profile_of(space: SearchSpace, measured: MeasuredNetworks, where: str, progress: Progress) -> LatencyProfile:
    """What `latency.json` holds of networks that were measured elsewhere.

    The model is fitted to all of them. What is said and promised of its errors is by cross-validation.

    Args:
        space: of the networks.
        measured: at least 12 of them; a promise of 95% needs 19.
        where: what the device is called.
        progress: shows the cross-validation.

    Raises:
        DataError: too few networks.
    """
    started = time.time()
    predicted = cross_validated(space, measured, progress=progress)
    model = fit_latency(space, measured)
    macs = build_costs(space, ["macs"])["macs"].terms.costs(measured.choices)
    return LatencyProfile(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.time() - started, 1),
        space_digest=space_digest(space),
        device=Device(kind=ELSEWHERE, processor=where),
        running=Running(runtime=ELSEWHERE, version="unknown"),
        table=CostTable.of_terms(space, model.terms, "ms"),
        promises={"quiet": promise_of(predicted, measured.ms)},
        check=check_of(predicted, measured.ms, macs),
    )


def _network(cells: list[str], space: SearchSpace) -> tuple[Architecture, float]:
    """The network of a line, in canonical form, and its latency in ms."""
    if len(cells) != len(_COLUMNS):
        raise DataError(f"has {len(cells)} columns, not 2; an architecture has commas, so put it in quotes")
    data = parse_json(cells[0])
    if isinstance(data, list):
        data = {"space": space.name, "choices": data}
    network = space.simplified(Architecture.from_dict(data))
    try:
        ms = float(cells[1])
    except ValueError:
        ms = float("nan")
    if not (np.isfinite(ms) and ms > 0):
        raise DataError(f"{shown(cells[1])} is no time in ms above 0")
    return network, ms
