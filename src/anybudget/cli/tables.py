"""The tables that commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anybudget.cli.streams import out, printable
from anybudget.cli.terminal import new_table, show
from anybudget.cli.worth import print_worth

if TYPE_CHECKING:
    from anybudget.runs.run import Run
    from anybudget.storage.records import MeasuredLatency


# As `anybudget.evaluation.metrics` has them, which imports NumPy: help is to be immediate.
TOP1, LOSS = "top1_percent", "loss"

MOST_CLASSES = 30
"""Up to so many classes, the terminal shows what a network does class by class; the report always does."""


def _quantity(value: float) -> str:
    from anybudget.budgets import format_quantity

    return format_quantity(value)


def _limits(budgets: Mapping[str, float]) -> str:
    """A budget set as it is asked for, exactly."""
    from anybudget.budgets import Budget, BudgetSet

    return str(BudgetSet(tuple(Budget(cost, limit) for cost, limit in budgets.items())))


def print_space(summary: Mapping[str, Any]) -> None:
    """Print what `space_summary` found."""
    from anybudget.budgets import exact_quantity

    size, networks = summary["size"], summary["networks"]
    distinct = f", {networks:,} of them distinct" if networks < size else ""
    out.print(
        f"search space {summary['space']}: {summary['decisions']} decisions, {size:,} networks ({size:.2e}){distinct}"
    )
    table = new_table("costs", ("cost", "min", "median", "max"))
    for name, row in summary["costs"].items():
        table.add_row(name, *(exact_quantity(float(f"{row[key]:.12g}")) for key in ("min", "median", "max")))
    show(table)
    for name, row in summary["costs"].items():
        if "note" in row:
            out.print(f"{name}: {row['note']}", markup=False)
    table = new_table("budgets", ("budgets", "reachable"))
    for row in summary["budgets"]:
        table.add_row(row["text"], "yes" if row["reachable"] else f"no: {row['reason']}")
    show(table)


def print_candidates(
    rows: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]] = (), *, metric: str = TOP1
) -> None:
    """Print architectures that were found, beside the random baseline at the same budgets where there is one.

    Args:
        rows: answers.
        baseline: random networks.
        metric: by which networks were chosen.
    """
    from anybudget.budgets import least_unused_percent

    names, raced = _costs_of(rows), any(row.get("race") for row in rows)
    columns = ["budgets", *names, "unused of the tightest", "supernet top-1", "balanced"]
    columns += ["supernet loss"] if metric == LOSS else []
    columns += ["random best", "random mean", "random worst"] if baseline else []
    table = new_table("architectures found", [*columns, *(["supernet's place", *RACED] if raced else [])])
    for row in rows:
        budgets, costs = row["budgets"], row["costs"]
        cells = [
            _limits(budgets),
            *(_cost(costs, name) for name in names),
            f"{least_unused_percent(budgets, costs):.2f}%",
            f"{row['supernet_top1_percent']:.2f}%",
            _percent(row.get("supernet_balanced_accuracy_percent")),
        ]
        if metric == LOSS:
            cells.append(_nats(row.get("supernet_loss")))
        scores = [other["supernet_top1_percent"] for other in baseline if other["budgets"] == budgets]
        spread = (max(scores), sum(scores) / len(scores), min(scores)) if scores else (None,) * 3
        cells += map(_percent, spread) if baseline else ()
        race = row.get("race")
        if race:
            networks = race["networks"]
            cells += [f"{networks[0]['supernet_place']} of {len(networks)}", *_raced(row)]
        table.add_row(*cells)
    show(table)
    if metric == LOSS:
        out.print("networks were chosen by their validation loss, in nats: lower is better")
    _print_largest_class(rows, "validation")


def print_proposals(rows: Sequence[Mapping[str, Any]], target: Path) -> None:
    """Print what the generator of the run at `target` holds most probable, and that nobody has judged it."""
    from anybudget.budgets import least_unused_percent

    names = _costs_of(rows)
    columns = ("budgets", *names, "unused of the tightest", "architecture", "log-probability")
    table = new_table("most probable architectures, not judged", columns)
    for row in rows:
        budgets, costs = row["budgets"], row["costs"]
        table.add_row(
            _limits(budgets),
            *(_cost(costs, name) for name in names),
            f"{least_unused_percent(budgets, costs):.2f}%",
            " ".join(map(str, row["architecture"]["choices"])),
            f"{row['log_probability']:.2f}",
        )
    show(table)
    out.print(
        "not judged: chosen by their probability under the generator, without looking at an image, and not kept; "
        f"anybudget generate {target} judges them and others",
        markup=False,
    )


RACED = ("raced top-1", "raced loss")
"""The columns of what a network reached in its race."""


def _raced(row: Mapping[str, Any]) -> list[str]:
    """What a network reached in its race, with weights of its own; empty where it has not raced."""
    if not row.get("race"):
        return [""] * len(RACED)
    last = row["race"]["networks"][0]["rounds"][-1]
    return [_percent(last["validation_top1_percent"]), _nats(last["validation_loss"])]


def _nats(value: float | None) -> str:
    """A loss as tables write it; empty where it is not said."""
    return "" if value is None else f"{value:.4f}"


def _costs_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The costs that a table of networks shows: those that are always shown, and all that are limited."""
    from anybudget.costs import shown_costs

    shown = shown_costs(dict.fromkeys(name for row in rows for name in row["costs"]))
    return list(dict.fromkeys((*shown, *(name for row in rows for name in row.get("budgets", ())))))


def _cost(costs: Mapping[str, float], name: str) -> str:
    """A cost as tables write it; empty where the run did not have it yet."""
    return _quantity(costs[name]) if name in costs else ""


def _percent(value: float | None) -> str:
    """A share as tables write it; empty where a run from before it was measured does not say it."""
    return "" if value is None else f"{value:.2f}%"


def _print_largest_class(rows: Sequence[Mapping[str, Any]], split: str) -> None:
    """What top-1 and balanced accuracy have to beat: always answering with the largest class."""
    shares = [row[key] for row in rows if (key := f"{split}_largest_class_percent") in row]
    if shares:
        out.print(
            f"always answering with the largest class gives {shares[-1]:.2f}% top-1 on {split} images; balanced "
            "accuracy is the mean over classes of their share of right answers"
        )


def print_comparison(found: Mapping[str, Any]) -> None:
    """Print what `compare` found: top-1 at every budget, then what the strategies add up to."""
    from anybudget.evaluation.metrics import title

    strategies, metric = found["strategies"], found.get("metric", TOP1)
    raced = any("race" in strategy for strategy in strategies)
    chosen = "" if metric == TOP1 else f", chosen by {title(metric)}{' (lower is better)' if metric == LOSS else ''}"
    table = new_table(f"supernet top-1 by strategy{chosen}", ["", *(strategy["name"] for strategy in strategies)])
    for index, budgets in enumerate(found["budgets"]):
        answers = [strategy["candidates"][index] for strategy in strategies]
        for number, shown in enumerate(dict.fromkeys((TOP1, "balanced_accuracy_percent", metric))):
            label = _limits(budgets) if not number else f"  {title(shown)}"
            table.add_row(label, *_figures(answers, shown, primary=shown == metric))
        if raced:
            for name, cells in zip(RACED, zip(*map(_raced, answers), strict=True), strict=True):
                table.add_row(f"  {name}", *cells)
    table.add_section()
    table.add_row("least use of a budget", *(f"{100 * found['min_use']:.3g}%" for _ in strategies))
    table.add_row("hypervolume", *(f"{strategy['hypervolume']:.4f}" for strategy in strategies))
    for key, name in (
        ("evaluations", "candidates evaluated"),
        ("images", "images, training included"),
        ("macs", "MACs"),
    ):
        table.add_row(name, *(_quantity(strategy["spent"][key]) for strategy in strategies))
        if raced and key != "evaluations":
            table.add_row("  of it in the race", *(_quantity(strategy["race"][key]) for strategy in strategies))
    table.add_row("seconds", *(f"{strategy['spent']['seconds']:.1f}" for strategy in strategies))
    show(table)


def _figures(answers: Sequence[Mapping[str, Any]], metric: str, *, primary: bool) -> list[str]:
    """The figure of a metric for each answer; of the primary one the best stand out."""
    values = [row.get(f"supernet_{metric}") for row in answers]
    known = [value for value in values if value is not None]
    best = (min if metric == LOSS else max)(known, default=None)
    texts = [_nats(value) if metric == LOSS else _percent(value) for value in values]
    return [
        f"[bold]{text}[/bold]" if primary and value is not None and value == best else text
        for text, value in zip(texts, values, strict=True)
    ]


def print_ranking(found: Mapping[str, Any]) -> None:
    """Print how well few images order architectures, and how well the supernet agrees with what is known."""
    total = found["validation_images"]
    columns = ("images", "loss", "top-1", "loss for top-1", "loss on one batch")
    for name, supernet in found["supernets"].items():
        span = supernet["top1_percent"]
        heading = (
            f"{name} supernet: Kendall's tau of {found['paths']} networks' scores on few images and on all {total:,} "
            f"(top-1 {span['lowest']:.1f} to {span['highest']:.1f}%)"
        )
        table = new_table(heading, columns)
        for row in supernet["rows"]:
            keys = ("loss", "top1", "loss_for_top1", "batch_loss")
            table.add_row(f"{row['images']:,}", *(_tau(row[key]) for key in keys))
        show(table)
        for key, what in (("retrained", "retrained networks"), ("truth", "ground truth")):
            if supernet[key]:
                agreement = supernet[key]
                tau = f"tau {_tau(agreement['top1'])} of top-1, {_tau(agreement['loss'])} of loss"
                out.print(
                    f"{name} supernet against {what} ({agreement['networks']}): {tau}; "
                    f"picks {agreement['picked_percent']:.2f}% of at best {agreement['best_percent']:.2f}% "
                    f"(mean {agreement['mean_percent']:.2f}%)"
                )
    if found.get("snapshots"):
        _print_snapshots(found["snapshots"])


def _print_snapshots(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how well a supernet ordered architectures while it was trained."""
    counts = [row["images"] for row in rows[0]["rows"][:-1]]
    known = [(key, f"{what} (loss)") for key, what in (("retrained", "retrained"), ("truth", "truth")) if rows[0][key]]
    columns = ["epoch", "mean top-1", *(f"{count:,} images" for count in counts), "trained supernet"]
    heading = "over training: Kendall's tau of losses with those on all images, and of the trained supernet"
    table = new_table(heading, [*columns, *(what for _, what in known)])
    for row in rows:
        few = [_tau(part["loss"]) for part in row["rows"][:-1]]
        mean = f"{row['top1_percent']['mean']:.1f}%"
        true = [_tau(row[key]["loss"]) for key, _ in known]
        table.add_row(str(row["epoch"]), mean, *few, _tau(row["trained_loss"]), *true)
    show(table)


def _tau(correlation: Mapping[str, float] | None) -> str:
    value = correlation["kendall"] if correlation else None
    return "" if value is None else f"{value:.3f}"


def print_retrained(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print retrained networks, of the run or of the zoo, with their test top-1."""
    from anybudget.report.words import start
    from anybudget.storage.records import TriedStart

    names = _costs_of(rows)
    top5 = any(row.get("test_top5_percent") is not None for row in rows)
    columns = ("architecture", *names, "epochs", "start", "test top-1", "balanced", *(["top-5"] if top5 else []))
    table = new_table("retrained networks", columns)
    for row in rows:
        table.add_row(
            row["zoo"] if "zoo" in row else _short_id(row),
            *(_cost(row["costs"], name) for name in names),
            str(row["epochs"]),
            "inherited weights" if row.get("inherited") else "from scratch",
            f"{row['test_top1_percent']:.2f}%",
            _percent(row.get("test_balanced_accuracy_percent")),
            *([_percent(row.get("test_top5_percent"))] if top5 else []),
        )
    show(table)
    for row in rows:
        if "tried" in row:
            out.print(f"{_short_id(row)}: {start(TriedStart.model_validate(row['tried']))}")
    _print_largest_class(rows, "test")
    if len(rows) == 1 and len(rows[0].get("test_classes", ())) in range(2, MOST_CLASSES + 1):
        _print_classes(rows[0]["test_classes"])


def _print_classes(classes: Sequence[Mapping[str, Any]]) -> None:
    """Print what a network does class by class."""
    from rich.text import Text

    table = new_table("test images by class", ("class", "images", "recall", "precision"))
    for row in classes:
        name = Text(printable(row["name"]))
        table.add_row(name, f"{row['images']:,}", _percent(row["recall_percent"]), _percent(row["precision_percent"]))
    show(table)


def _short_id(row: Mapping[str, Any]) -> str:
    from anybudget.architecture import Architecture

    return Architecture.from_dict(row["architecture"]).short_id


def print_latencies(rows: Sequence[MeasuredLatency]) -> None:
    """Print what answers take on the device that their budgets are for; nothing where none was measured."""
    if not rows:
        return
    columns = ("budgets", "architecture", "latency", "promised ms", "predicted ms", "measured ms", "kept", "unused")
    table = new_table("measured in a process of their own", columns)
    for row in rows:
        table.add_row(
            _limits(row.budgets),
            row.architecture.short_id,
            row.quantity if row.cost == "latency_ms" else f"{row.quantity} of {row.cost}",
            *(f"{value:.4g}" for value in (row.promised_ms, row.predicted_ms, row.measured_ms)),
            "yes" if row.kept else "no",
            f"{row.unused_percent:.1f}%",
        )
    show(table)


def print_results(opened: Run) -> None:
    """Print what a whole run found.

    Raises:
        RunError: a file does not hold what a run writes there.
    """
    from anybudget.storage.records import (
        Answer,
        Measured,
        MeasuredLatency,
        Retrained,
        Worth,
        ZooTrained,
        read_record,
        read_records,
    )

    folder = opened.folder
    answers = [row.to_json() for row in read_records(folder.path / "candidates.jsonl", Answer)]
    baseline = [row.to_json() for row in read_records(folder.path / "random.jsonl", Measured)]
    results = [
        *(read_record(path, Retrained) for path in sorted(folder.path.glob("retrain/*/result.json"))),
        *(read_record(path, ZooTrained) for path in sorted(folder.path.glob("zoo/*/result.json"))),
    ]
    rows = [result.to_json() for result in results if result is not None]
    print_candidates(answers, baseline, metric=opened.recipe.search.metric)
    if rows:
        print_retrained(sorted(rows, key=lambda row: list(row["costs"].values())))
    if folder.finished("latency"):
        print_latencies(list(read_records(folder.path / "latency.jsonl", MeasuredLatency)))
    worth = read_record(folder.path / "worth.json", Worth) if folder.finished("worth") else None
    if worth is not None:
        print_worth(worth)
