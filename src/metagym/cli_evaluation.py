"""The commands that measure: `metagym evaluate`, `compare`, `runs`. They only ask and print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from metagym.errors import ApparatusError, ConfigError, RunFolderError

if TYPE_CHECKING:
    from metagym.comparison import Comparison
    from metagym.evaluation_report import EvaluationReport
    from metagym.statistics import Estimate

commands = typer.Typer()
console = Console()
errors = Console(stderr=True)


@commands.command()
def evaluate(
    preset: Annotated[str, typer.Option(help="`ict`, `ict-small`, `stream`, or a .toml file of yours.")],
    actor: Annotated[str | None, typer.Option(help="`demo`, `random`, or package.module:MyActor.")] = None,
    actor_model: Annotated[str | None, typer.Option(help="The actor's model.")] = None,
    actor_base_url: Annotated[str | None, typer.Option(help="The actor's server.")] = None,
    reflector: Annotated[
        str | None,
        typer.Option(help="`demo`, `fixed`, package.module:MyReflector, or a folder with a reflector.json."),
    ] = None,
    reflector_model: Annotated[str | None, typer.Option(help="The reflector's model.")] = None,
    reflector_base_url: Annotated[str | None, typer.Option(help="The reflector's server.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="The environment variable that holds the key.")] = None,
    control: Annotated[list[str] | None, typer.Option(help="A control arm, instead of the preset's.")] = None,
    no_controls: Annotated[bool, typer.Option("--no-controls", help="Evaluate the reflector alone.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder; the same again goes on there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
) -> None:
    """Evaluate a reflector on held-out families, beside its noise floor and null controls."""
    from metagym.campaign import run_campaign
    from metagym.preset import load_preset

    protocol = load_preset(preset)
    actor_spec = actor or _model_spec(actor_model, actor_base_url, api_key_env)
    if actor_spec is None:
        raise ConfigError(
            "No actor is named, and a measurement plays no stand-in unasked. Say --actor-model NAME (with "
            "--actor-base-url for a server of your own), or --actor demo for the scripted one."
        )
    reflector_spec = reflector or _model_spec(reflector_model, reflector_base_url, api_key_env)
    if reflector_spec is None:
        if actor != "demo":
            raise ConfigError(
                "No reflector is named. Say --reflector-model NAME, or --reflector demo, fixed or pkg:Class."
            )
        reflector_spec = "demo"
    path = out or Path("runs") / f"evaluate-{protocol.name}"
    with _progress() as progress:
        bar = progress.add_task("episodes", total=None)

        def on_arm(name: str, num_episodes: int) -> None:
            progress.reset(bar, total=num_episodes, description=name)

        try:
            found = run_campaign(
                protocol,
                actor=actor_spec,
                reflector=reflector_spec,
                path=path,
                controls=() if no_controls else control,
                on_arm=on_arm,
                on_episode=lambda trajectory: progress.advance(bar),
            )
        except (ApparatusError, KeyboardInterrupt):
            errors.print(f"What was played is in {path}. The same command with --out {path} goes on.", soft_wrap=True)
            raise
    for evaluated in found:
        if as_json:
            console.print_json(json.dumps([report.model_dump(mode="json") for report in evaluated.reports]))
            continue
        print_report(evaluated.reports[0])
        if evaluated.comparisons:
            print_comparisons(evaluated.comparisons)
        console.print(f"\nThe records lie in {evaluated.folder}.\n", soft_wrap=True, highlight=False)


@commands.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of evaluations; the first against each other.")],
    endpoint: Annotated[str, typer.Option(help="`chosen` (the primary endpoint) or `last`.")] = "chosen",
    margin: Annotated[float | None, typer.Option(help="The difference that would not matter.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Compare what was not measured alike.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare evaluated arms: paired per-seed differences, families with equal weight."""
    from metagym.comparison import compare as compare_reports
    from metagym.evaluation_store import read_report

    if endpoint not in ("chosen", "last"):
        raise ConfigError(f"--endpoint must be 'chosen' or 'last', got {endpoint!r}.")
    reports = [read_report(run) for run in runs]
    comparisons = compare_reports(
        reports, endpoint="last" if endpoint == "last" else "chosen", margin=margin, force=force
    )
    if as_json:
        console.print_json(json.dumps([comparison.model_dump(mode="json") for comparison in comparisons]))
        return
    print_comparisons(comparisons)


@commands.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, in all folders below.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs in a folder."""
    from metagym.manifest import MANIFEST, read_manifest

    rows: list[dict[str, Any]] = []
    for file in sorted(folder.rglob(MANIFEST)):
        row: dict[str, Any] = {"run": str(file.parent)}
        try:
            manifest = read_manifest(file.parent)
        except RunFolderError as error:
            rows.append({**row, "kind": "unreadable", "problem": str(error)})
            continue
        about = manifest.evaluation
        rows.append(
            {
                **row,
                "kind": "run" if about is None else "evaluation",
                "environment": manifest.env_id,
                "arm": "" if about is None else about["arm"],
                "finished": about is None or (file.parent / "report.json").exists(),
                "scripted": manifest.scripted,
            }
        )
    if as_json:
        console.print_json(json.dumps(rows))
        return
    table = Table("run", "kind", "environment", "arm", "")
    for row in rows:
        state = "" if row.get("finished") else "unfinished"
        mark = "SCRIPTED" if row.get("scripted") else ""
        table.add_row(
            row["run"],
            row["kind"],
            row.get("environment", ""),
            row.get("arm", ""),
            row.get("problem", f"{mark} {state}"),
        )
    console.print(table if rows else f"No run in {folder}.")


def print_report(report: EvaluationReport) -> None:
    """Print a report as a table, one row a family and one for all."""
    table = Table(
        "family", "sp_0", "chosen", "last", "gain [95 %]", "optimism", "replay", "transfer", "gap", "regressed",
        title=f"{report.arm}: test scores, {report.num_seeds} seeds",
        caption="\n".join(report.notes) or None,
    )  # fmt: skip
    for name, figures in [*report.families.items(), ("all", report.overall)]:
        table.add_row(
            name,
            _mean(figures.test_first),
            _mean(figures.test_chosen),
            _mean(figures.test_last),
            _interval(figures.gain),
            _mean(figures.optimism, "+"),
            _mean(figures.replay_gain, "+"),
            _mean(figures.transfer_gain, "+"),
            _mean(figures.memorisation_gap, "+"),
            _mean(figures.regression_rate),
            end_section=name == list(report.families)[-1],
        )
    console.print(table)
    online = " ".join(_mean(estimate) for estimate in report.overall.online)
    validation = " ".join(_mean(estimate) for estimate in report.overall.validation)
    console.print(f"online score per meta-step:  {online}", highlight=False)
    console.print(f"validation score per prompt: {validation}", highlight=False)
    console.print(f"verdict: {report.verdict}", highlight=False, soft_wrap=True)


def print_comparisons(comparisons: tuple[Comparison, ...]) -> None:
    """Print comparisons as a table, one row each."""
    first = comparisons[0]
    notes = list(dict.fromkeys(note for comparison in comparisons for note in comparison.notes))
    table = Table(
        "against", "difference [95 %]", "p", "sign flip", "new tasks [95 %]", "detectable", "dropped", "verdict",
        title=f"{first.first} against each: test score of the {first.endpoint} prompt, paired by seed",
        caption="\n".join(notes) or None,
    )  # fmt: skip
    for item in comparisons:
        dropped = f"{item.num_dropped}"
        if item.num_dropped:
            dropped += f" (worst case {item.worst_case[0]:+.2f} to {item.worst_case[1]:+.2f})"
        p_value = None if item.difference is None else item.difference.p_value
        table.add_row(
            item.second,
            _interval(item.difference),
            _number(p_value, ".4f"),
            _number(item.sign_flip_p, ".4f"),
            _interval(item.new_tasks),
            _number(item.detectable, ".3f"),
            dropped,
            item.verdict,
        )
    console.print(table)
    if len(first.families) > 1:
        family_table = Table("against", "family", "difference [95 %]", "Holm's p")
        for item in comparisons:
            for name, family in item.families.items():
                family_table.add_row(item.second, name, _interval(family.difference), _number(family.adjusted_p, ".4f"))
        console.print(family_table)


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:+.3f} [no interval]"
    return f"{estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _mean(estimate: Estimate | None, sign: str = "") -> str:
    return _number(None if estimate is None else estimate.mean, f"{sign}.2f")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _model_spec(model: str | None, base_url: str | None, api_key_env: str | None) -> dict[str, Any] | None:
    if model is None:
        return None
    spec = {"model": model, "base_url": base_url, "api_key_env": api_key_env}
    return {name: value for name, value in spec.items() if value is not None}


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
