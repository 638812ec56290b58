"""`write_report`: puts tables and pictures on one page, and the page into the run folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2

from anybudget.budgets import format_quantity, unused_percent
from anybudget.costs import shown_costs, title_of, unit_of
from anybudget.evaluation.metrics import LOSS
from anybudget.report import accuracy, blocks, classes, curves, delivered, health, race, strategies, times, words, worth
from anybudget.report.contents import STAGES, RetrainedNetwork, RunContents, read_run
from anybudget.report.summary import BudgetGroup, Headline, group_budgets, summarise
from anybudget.search import STRATEGIES
from anybudget.storage.files import write_whole
from anybudget.storage.records import Answer, Curve, Retrained, ZooTrained


def write_report(run: Path) -> Path:
    """Write `report.html` into the run folder `run`, from the files in it alone, and return its path.

    The page is one file that needs no network. What has not run yet is left out and named. The same folder gives the
    same bytes.

    Raises:
        RunError: `run` is no run folder, a file in it is damaged, or the page cannot be written.
    """
    run = Path(run)
    page = render(read_run(run))
    # A lone surrogate in a name of the run folder must not cost the whole report.
    return write_whole(run / "report.html", page.encode("utf-8", errors="backslashreplace"))


def page_environment() -> jinja2.Environment:
    """Where the templates of pages are found, and what they may call."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("anybudget", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cost_title": title_of,
        "cost_unit": unit_of,
        "duration": words.duration,
        "figure": words.figure,
        "limits": words.limits,
        "moment": words.moment,
        "quantity": format_quantity,
        "signed": words.signed,
        "stage_name": words.stage_name,
        "start": words.start,
    }
    return environment


def render(contents: RunContents) -> str:
    """The page as a text."""
    groups = group_budgets(contents)
    headline = summarise(contents, groups)
    compared = worth.section(contents.worth, groups)
    latest = [row.answer for group in groups for row in group.rows if row.answer is not None]
    template = page_environment().get_template("report.html")
    return template.render(
        contents=contents,
        title=_title(contents),
        subtitle=_subtitle(contents),
        headline=headline,
        sentences=[*([compared["overview"]] if compared else []), *_sentences(headline, groups)],
        notices=_notices(contents, headline),
        comparisons=_comparisons(groups),
        largest_class_percent=latest[-1].validation_largest_class_percent if latest else None,
        deliveries=_deliveries(contents.answers),
        strategies=strategies.section(contents.comparison),
        health=health.section(contents.health),
        latencies=contents.latencies,
        races=race.section(latest),
        by_loss=_setting(contents, "search", "metric") == LOSS,
        worth=compared,
        architectures=_architectures(latest),
        retrained=[_retrained(i, network, latest) for i, network in enumerate(contents.retrained, start=1)],
        zoo=contents.zoo,
        detectors=contents.detectors,
        zoo_costs=shown_costs(_costs(contents.zoo)),
        retrained_costs=shown_costs(_costs(network.result for network in contents.retrained)),
        training=_training(contents),
        stage_bar=times.draw(contents.stages, "times-bar") if contents.stages else None,
    )


def _title(contents: RunContents) -> str:
    return str(contents.recipe.get("name") or _setting(contents, "data", "source") or contents.folder)


def _subtitle(contents: RunContents) -> list[str]:
    facts = {
        "data": _setting(contents, "data", "source"),
        "search space": _setting(contents, "space", "name"),
        "strategy": _setting(contents, "search", "strategy"),
        "run folder": contents.folder,
    }
    return [f"{name} {value}" for name, value in facts.items() if value]


def _setting(contents: RunContents, table: str, key: str) -> str:
    section = contents.recipe.get(table)
    return str(section.get(key, "")) if isinstance(section, dict) else ""


def _asks_generator(contents: RunContents) -> bool:
    """Whether the strategy of the run needs a trained generator; one that is not known here may."""
    strategy = STRATEGIES.get(_setting(contents, "search", "strategy") or "generator")
    return strategy is None or strategy.needs_generator


def _sentences(headline: Headline, groups: Sequence[BudgetGroup]) -> list[str]:
    """What was asked and what was delivered, in words."""
    if not headline.budget_sets or headline.mean_unused_percent is None:
        return []
    costs = "; ".join(" and ".join(title_of(cost) for cost in group.costs) for group in groups)
    asked = f"Asked for {_count(headline.budget_sets, 'budget')} on {costs}: "
    if headline.violations:
        verb = "exceeds" if headline.violations == 1 else "exceed"
        kept = f"{headline.violations} of {_count(headline.answers, 'answer')} {verb} the limit."
    else:
        kept = f"every answer is within its limit, with {headline.mean_unused_percent:.2f} % left unused on average."
    sentences = [asked + kept]
    if headline.gain_over_mean is not None and headline.gain_over_best is not None:
        sentences.append(
            "By the supernet’s scores on validation data, at the same budgets, the architectures that were found score "
            f"{_points(headline.gain_over_mean)} the mean and {_points(headline.gain_over_best)} the best of the "
            "random ones; scores are not what networks reach when they are trained."
        )
    return sentences


def _points(gain: float) -> str:
    return f"{abs(gain):.2f} points {'below' if gain < 0 else 'above'}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _notices(contents: RunContents, headline: Headline) -> list[str]:
    """What a reader must know before trusting the page: stages that have not run, and data that look wrong."""
    there = {
        "supernet": contents.supernet,
        "generator": contents.generator,
        "search": contents.answers,
        "random": contents.random,
        "retrain": contents.retrained,
        "latency": contents.latencies,
        "worth": contents.worth,
    }
    timed = {stage.stage for stage in contents.stages}
    # Few runs end with trained comparisons: what there is to do without them is said below.
    left_out = {"worth", "latency"} if _asks_generator(contents) else {"worth", "latency", "generator"}
    waiting = [
        name for stage, name in STAGES.items() if stage not in left_out and not there[stage] and stage not in timed
    ]
    empty = [name for stage, name in STAGES.items() if not there[stage] and stage in timed]
    notices = []
    if waiting:
        notices.append(f"Not run yet, so left out below: {', '.join(waiting)}.")
    if empty:
        notices.append(f"Finished, but there is nothing on file to show: {', '.join(empty)}.")
    if contents.answers and contents.worth is None:
        notices.append(
            "No networks have been trained to say what the search was worth, so all below are the supernet’s scores. "
            "To have answers trained beside random networks of their cost: anybudget worth RUN"
        )
    if contents.retraining:
        notices.append(f"Retraining has begun but has no result yet: {', '.join(contents.retraining)}.")
    if headline.random_violations:
        over = _count(headline.random_violations, "random architecture")
        notices.append(f"The baseline is not on equal terms: {over} over the budget drawn for.")
    superseded = headline.answers - headline.budget_sets
    if superseded:
        notices.append(
            f"{_count(superseded, 'earlier answer')} to a budget that was asked again: only the last one is compared, "
            "but all are checked against their limits."
        )
    return notices


def _comparisons(groups: Sequence[BudgetGroup]) -> list[dict[str, Any]]:
    """The budget-accuracy picture and table of each group of budget sets."""
    return [
        {
            "heading": " and ".join(title_of(cost) for cost in group.costs),
            "unit": unit_of(group.costs[0]),
            "several": len(group.costs) > 1,
            "picture": accuracy.draw(group, f"accuracy-{index}"),
            "rows": [(row, unused_percent(row.budgets, row.answer.costs) if row.answer else {}) for row in group.rows],
            "extra": [
                cost
                for cost in shown_costs(_costs([row.answer for row in group.rows if row.answer]))
                if cost not in group.costs
            ],
            "full_labels": sum(row.answer is not None for row in group.rows) <= accuracy.FULL_LABELS,
            "balanced": any(
                row.answer and row.answer.supernet_balanced_accuracy_percent is not None for row in group.rows
            ),
            "answered": any(row.answer for row in group.rows),
            "baseline": any(row.random for row in group.rows),
        }
        for index, group in enumerate(groups, start=1)
    ]


def _costs(networks: Iterable[Answer | Retrained | ZooTrained]) -> list[str]:
    """Every cost that is said of any of the networks."""
    return list(dict.fromkeys(cost for network in networks for cost in network.costs))


def _deliveries(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """One requested-against-delivered picture for each cost that was limited."""
    costs = list(dict.fromkeys(cost for answer in answers for cost in answer.budgets))
    return [
        {
            "cost": cost,
            "picture": delivered.draw(cost, [a for a in answers if cost in a.budgets], f"delivered-{index}"),
        }
        for index, cost in enumerate(costs, start=1)
    ]


def _architectures(latest: Sequence[Answer]) -> dict[str, Any]:
    """The drawings of the latest answers, their legend, and the same as rows of text."""
    legend = blocks.legend(answer.layers for answer in latest)
    drawings = [
        {
            "answer": answer,
            "picture": blocks.draw(
                answer.layers, legend, f"architecture-{index}", f"Architecture for {words.limits(answer.budgets)}"
            ),
        }
        for index, answer in enumerate(latest, start=1)
    ]
    depth = max((len(answer.layers) for answer in latest), default=0)
    table = [
        [blocks.in_words(answer.layers[layer]) if layer < len(answer.layers) else "" for answer in latest]
        for layer in range(depth)
    ]
    # One width for all drawings, so that they stand in straight columns.
    width = max((blocks.width(answer.layers) for answer in latest), default=0.0)
    skips = any(blocks.SKIP in layer for answer in latest for layer in answer.layers)
    stacked = any(len(layer) > 1 for answer in latest for layer in answer.layers)
    left_out = any(blocks.left_out(layer) for answer in latest for layer in answer.layers)
    return {
        "legend": legend.values(),
        "skips": skips,
        "stacked": stacked,
        "left_out": left_out,
        "width": round(width),
        "drawings": drawings,
        "table": table,
    }


def _retrained(index: int, network: RetrainedNetwork, latest: Sequence[Answer]) -> dict[str, Any]:
    """A retrained network, the answers it was chosen from, and its curve beside its test top-1."""
    asked = [answer for answer in latest if answer.architecture == network.result.architecture]
    picture = network.curve and curves.draw(
        network.curve["epoch"],
        network.curve["train_top1_percent"],
        f"retrain-{index}",
        "Training top-1 (%)",
        percent=True,
        reference=curves.Reference("test", network.result.test_top1_percent),
    )
    answered = classes.section(network.result.test_classes)
    return {"network": network, "asked": asked, "picture": picture, "classes": answered}


def _training(contents: RunContents) -> list[dict[str, Any]]:
    """The panels of each training stage, and the same as a table."""
    return [
        {"name": STAGES[stage].capitalize(), "curve": curve, "panels": _panels(stage, curve, quantities)}
        for stage, curve, quantities in (
            ("supernet", contents.supernet, {"loss": "Loss (nats)", "train_top1_percent": "Training top-1 (%)"}),
            (
                "generator",
                contents.generator,
                {
                    "cross_entropy": "Cross-entropy (nats)",
                    "budget_gap_percent": "Budget gap (% of the reachable interval)",
                },
            ),
        )
        if curve is not None
    ]


def _panels(stage: str, curve: Curve, quantities: dict[str, str]) -> list[str]:
    return [
        curves.draw(curve["epoch"], curve[column], f"{stage}-{column}", quantity, percent=column.endswith("_percent"))
        for column, quantity in quantities.items()
    ]
