"""`metagym evaluate` and `compare`: reflectors on held-out families, and their differences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metagym.cli.console import JsonOption, console, print_json, print_text, progress, resumable
from metagym.cli.model_options import (
    ActorOption,
    BudgetOption,
    ReflectorOption,
    ReflectorSamplingOption,
    SamplingOption,
    read_actor,
    read_budget,
    read_reflector,
)
from metagym.errors import ConfigError

ControlOption = Annotated[
    list[str] | None,
    typer.Option(help="A control arm in place of those of the preset, repeatable; `none`: no control arms."),
]
FolderOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="The folder; the same command with it resumes what it holds.")
]


def evaluate_command(
    preset: Annotated[str, typer.Option(help="`ict`, `ict-small`, `stream`, or your own .toml file.")],
    actor: ActorOption = None,
    reflector: ReflectorOption = None,
    budget: BudgetOption = None,
    sampling: SamplingOption = None,
    reflector_sampling: ReflectorSamplingOption = None,
    control: ControlOption = None,
    out: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a reflector on held-out families, together with its noise floor and null controls.

    The budget holds for each environment and each batch size k of the preset.
    """
    from metagym.evaluation.campaign import run_campaign, run_streams
    from metagym.evaluation.output.tables import comparison_tables, report_tables, stream_tables
    from metagym.evaluation.preset import load_preset

    protocol = load_preset(preset)
    actor_spec = read_actor(actor, sampling)
    path = out or Path("runs") / f"evaluate-{protocol.name}"
    arguments: dict[str, Any] = {
        "actor": actor_spec,
        "reflector": read_reflector(reflector, reflector_sampling, actor=actor_spec),
        "path": path,
        "budget": read_budget(budget),
    }
    with resumable(path, f"the same command with --out {path}"), progress() as bars:
        bar = bars.add_task("episodes", total=None)
        arguments["on_episode"] = lambda trajectory: bars.advance(bar)
        streams, found = [], []
        if protocol.protocol == "stream":
            streams = run_streams(protocol, **arguments)
        else:
            found = run_campaign(
                protocol,
                **arguments,
                controls=read_controls(control),
                on_arm=lambda name, num: bars.reset(bar, total=num, description=name),
            )
    for guess in () if as_json else protocol.guessed:
        console.print(f"guessed: {guess}", highlight=False, markup=False)
    for stream in streams:
        if as_json:
            print_json(stream.model_dump(mode="json"))
        else:
            console.print(*stream_tables(stream), sep="\n", highlight=False)
    for evaluated in found:
        if as_json:
            print_json([report.model_dump(mode="json") for report in evaluated.reports])
            continue
        console.print(*report_tables(evaluated.reports[0]), sep="\n", highlight=False)
        if evaluated.comparisons:
            console.print(*comparison_tables(evaluated.comparisons), sep="\n", highlight=False)
        print_text(f"\nThe records are in {evaluated.folder}: metagym report {evaluated.folder} -o report.html\n")


def read_controls(given: list[str] | None) -> tuple[str, ...] | None:
    """Return the control arms that `--control` asks for; None means those of the preset."""
    if given is None:
        return None
    if "none" in given and len(given) > 1:
        raise ConfigError(f"--control none leaves no control arms, so it is given alone; got {', '.join(given)}.")
    return tuple(name for name in given if name != "none")


def compare_command(
    runs: Annotated[
        list[Path], typer.Argument(help="Evaluations, or folders of them; the first is compared with each other one.")
    ],
    endpoint: Annotated[str, typer.Option(help="`chosen` (the primary endpoint) or `last`.")] = "chosen",
    margin: Annotated[float | None, typer.Option(help="A difference that is too small to matter.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Compare what was not measured alike.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare evaluated arms by paired differences per seed; families have equal weight."""
    from metagym.evaluation.comparison import compare
    from metagym.evaluation.output.tables import comparison_tables
    from metagym.evaluation.store import read_report

    if endpoint not in ("chosen", "last"):
        raise ConfigError(f"--endpoint must be 'chosen' or 'last', got {endpoint!r}.")
    reports = [read_report(run) for run in _arms(runs)]
    comparisons = compare(reports, endpoint="last" if endpoint == "last" else "chosen", margin=margin, force=force)
    if as_json:
        print_json([comparison.model_dump(mode="json") for comparison in comparisons])
        return
    console.print(*comparison_tables(comparisons), sep="\n", highlight=False)


def _arms(paths: list[Path]) -> list[Path]:
    """Return the run folders at and below the paths; in an evaluation's folder its own arm comes before controls."""
    from metagym.evaluation.controls import is_control, recorded_kind
    from metagym.runs import read_manifest
    from metagym.runs.watching.watcher import run_folders

    found: list[Path] = []
    for path in paths:
        kinds = {folder: recorded_kind(read_manifest(folder).evaluation) for folder in run_folders(path)}
        below = [folder for folder, kind in kinds.items() if folder == path or kind != "tuning"]
        found += sorted(below, key=lambda folder: is_control(kinds[folder])) or [path]
    return list(dict.fromkeys(found))
