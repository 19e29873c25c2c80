"""Build the page: templates put all results into one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from metagym._version import __version__
from metagym.errors import ConfigError, RunFolderError
from metagym.evaluation.comparison import differences
from metagym.files import write_whole
from metagym.imports import require
from metagym.optional_attributes import without_addresses
from metagym.rendering import plural, visible
from metagym.report import table_rows
from metagym.report.embedded_episodes import pack, pack_episodes
from metagym.report.headlines import headline, standings_headline
from metagym.report.heat_map import draw_heat_map, maps_of
from metagym.report.learning_curves import draw_panel, panels_of
from metagym.report.prompt_history import histories
from metagym.report.run_reading import Run, read_runs, standings_of
from metagym.types import digest

SCRIPT = ("elements", "payload", "words", "list", "map", "messages", "episode", "compare", "prompts", "navigation")
"""The parts of the script in `static/script/`, in order: later parts use earlier ones; the last one starts the page."""
PARTS = ("line", "band", "again", "others", "online", "dots")
"""Parts of a panel that the legend names only if they are drawn."""


class ReportFile(NamedTuple):
    """The file that was written."""

    path: Path
    num_bytes: int
    num_runs: int
    num_episodes: int
    """The number of episodes in the report."""
    num_recorded: int
    """The number of episodes in the run folders."""
    problems: tuple[str, ...]
    """What could not be read, one line each; the report shows it too."""


def make_report(runs: Sequence[str | Path], out: str | Path, *, max_episodes: int = 1_000) -> ReportFile:
    """Write one HTML file about the runs at and below the given folders, with at most `max_episodes` whole episodes.

    A folder that cannot be read, or a run that is not finished, is not an error: the report shows it.

    Raises:
        ConfigError: `runs` is empty, or `out` is not the name of an HTML file.
        MissingExtraError: jinja2 is not installed.
        RunFolderError: one of the folders does not exist, or `out` cannot be written.
    """
    if not runs:
        raise ConfigError("Expected at least one run folder, got nothing.")
    out = Path(out)
    if os.path.isdir(out):
        raise RunFolderError(f"Expected the HTML file to write, got the folder {out}. Use {out / 'report.html'}.")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"Expected an HTML file to write (.html), got {out}. To draw a figure: metagym plot.")
    found = read_runs([Path(run) for run in runs], max_episodes=max_episodes)
    page = render(found)
    try:
        write_whole(out, page)
    except OSError as error:
        raise RunFolderError(f"Expected a file that can be written at {out}: {error}.") from error
    return ReportFile(
        path=out,
        num_bytes=len(page.encode()),
        num_runs=len(found),
        num_episodes=sum(len(run.episodes) for run in found),
        num_recorded=sum(run.num_episodes for run in found),
        problems=tuple(f"{run.path}: {run.problem}" for run in found if run.problem),
    )


def render(runs: Sequence[Run]) -> str:
    """Return the page as HTML."""
    jinja2 = require("jinja2", extra="report")
    groups = arrange(runs)
    ordered = [run for group in groups for run in group]
    index, chunks = pack_episodes(ordered)
    static = resources.files("metagym.report").joinpath("static")
    style = static.joinpath("report.css").read_text(encoding="utf-8")
    parts = (static.joinpath("script", f"{name}.js").read_text(encoding="utf-8") for name in SCRIPT)
    script = '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metagym.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    environment.globals["plural"] = plural
    starts = [sum(map(len, groups[:number])) for number in range(len(groups))]
    laid_out = [_group(start, group, index["episodes"]) for start, group in zip(starts, groups, strict=True)]
    page: str = environment.get_template("page.html.jinja").render(
        version=__version__,
        style=style,
        script=script,
        policy=_policy(style, script),
        groups=laid_out,
        mains=[group for group in laid_out if not group["is_aside"]] or laid_out,
        scripted=any(run.scripted for run in runs),
        num_runs=len(runs),
        num_shown=len(index["episodes"]),
        num_recorded=sum(run.num_episodes for run in runs),
        measured_differently=_measured_differently(groups),
        payload={"index": pack(index), "prompts": pack(histories(ordered))},
        chunks=chunks,
    )
    return page


def arrange(runs: Sequence[Run]) -> list[list[Run]]:
    """Group the evaluations that were measured alike, controls last; every other run is its own group.

    The arms of an arena are in the order of its standings. The tuning run of a control is not a result: it is last.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        name = digest(without_addresses(run.report.measurement)) if run.report else str(run.path)
        groups.setdefault(name, []).append(run)
    found = [_in_order(group) for group in groups.values()]
    return sorted(found, key=lambda group: group[0].arm_kind == "tuning")


def _in_order(group: Sequence[Run]) -> list[Run]:
    standings = standings_of(group)
    if standings is None:
        return sorted(group, key=lambda run: run.is_control)
    places = {row.arm: place for place, row in enumerate(standings.rows)}
    # The baseline is last, so that the headline is about a method.
    return sorted(group, key=lambda run: (run.arm == standings.baseline, places[run.arm]))


def _group(start: int, group: Sequence[Run], episodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    run = group[0]
    standings = standings_of(group)
    sentence, basis = headline(group) if standings is None else standings_headline(standings)
    scripted = any(item.scripted for item in group)
    panels, num_left_out = panels_of(group)
    compared, refused, notes = table_rows.comparison_rows(group) if standings is None else ([], "", standings.notes)
    own_notes = run.report.notes if run.report is not None else run.stream.notes if run.stream is not None else ()
    return {
        "number": start,
        "is_aside": run.arm_kind == "tuning",
        "run": run,
        "runs": group,
        "path": str(run.path),
        "headline": sentence,
        "basis": basis,
        "summary": table_rows.summary_rows(group),
        "scripted": scripted,
        "panels": [
            {"title": panel.title, "svg": draw_panel(panel, scripted=scripted, is_alone=len(panels) == 1)}
            for panel in panels
        ],
        "has": {
            **{part: any(any(getattr(panel, part)) for panel in panels) for part in PARTS},
            "test": any(panel.test is not None for panel in panels),
            "interval": any(item and item.low is not None for panel in panels for item in panel.line),
        },
        "num_left_out": num_left_out,
        "maps": [
            {"map": item, "svg": draw_heat_map(item, scripted=scripted)} for item in maps_of(start, run, episodes)
        ],
        "tiles": table_rows.tiles(run) if standings is None else [],
        "standings": [] if standings is None else table_rows.standings_rows(standings),
        "baseline": "" if standings is None else standings.baseline,
        "families": table_rows.family_rows(run),
        "noise": table_rows.noise_rows(run),
        "comparisons": compared,
        "refused": refused,
        "notes": list(dict.fromkeys([*own_notes, *notes])),
        "costs": [(item.name, rows) for item in group if (rows := table_rows.cost_rows(item))],
        "totals": [table_rows.totals(item) for item in group],
        "endings": table_rows.ending_rows(run),
        "errors": table_rows.error_rows(group),
        "fingerprints": table_rows.fingerprints(group),
        "warnings": [(item.name, warning) for item in group for warning in item.warnings],
        "problems": [(str(item.path), item.problem) for item in group if item.problem],
    }


def _measured_differently(groups: Sequence[Sequence[Run]]) -> list[str]:
    firsts = [(run, run.report) for run, *_ in groups if run.report is not None and run.arm_kind != "tuning"]
    return [
        f"{firsts[0][0].path} and {run.path} were not measured alike: {'; '.join(differences(firsts[0][1], report))}"
        for run, report in firsts[1:]
        if run.env_id == firsts[0][0].env_id
    ]


def _policy(style: str, script: str) -> str:
    """Return a content security policy that allows exactly this style and this script, and nothing else."""
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in (script, style))
    allowed = "script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:".format(*digests)
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
