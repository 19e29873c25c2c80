"""The commands that measure: `metagym evaluate`, `compare`, `runs`, `export`. They only ask and print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from metagym.cli.console import JsonOption, console, examples, print_json, print_text, progress, resumable
from metagym.cli.options import model_spec, read_budget, read_json, read_reflector
from metagym.errors import ConfigError, RunFolderError
from metagym.rendering import plural

MEASURE = "Measure"
commands = typer.Typer()


@commands.command(
    rich_help_panel=MEASURE,
    epilog=examples(
        "metagym evaluate --preset ict-small --actor demo",
        "metagym evaluate --preset ict --actor-model gpt-4o-mini --reflector-model gpt-4o --max-cost 20",
        "metagym evaluate --preset mine.toml --actor-model NAME --reflector my_module:MyReflector",
    ),
)
def evaluate(
    preset: Annotated[str, typer.Option(help="`ict`, `ict-small`, `stream`, or a .toml file of yours.")],
    actor: Annotated[str | None, typer.Option(help="`demo`, `random`, or package.module:MyActor.")] = None,
    actor_model: Annotated[str | None, typer.Option(help="The actor's model.")] = None,
    actor_base_url: Annotated[str | None, typer.Option(help="The actor's server.")] = None,
    reflector: Annotated[
        str | None,
        typer.Option(help="A method's name, `demo`, package.module:MyReflector, or a folder with a reflector.json."),
    ] = None,
    reflector_model: Annotated[str | None, typer.Option(help="The reflector's model.")] = None,
    reflector_base_url: Annotated[str | None, typer.Option(help="The reflector's server.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="The environment variable that holds the key.")] = None,
    client: Annotated[str, typer.Option(help="JSON: time limits, rates and prices of the model's server.")] = "{}",
    control: Annotated[list[str] | None, typer.Option(help="A control arm, instead of the preset's.")] = None,
    no_controls: Annotated[bool, typer.Option("--no-controls", help="Evaluate the reflector alone.")] = False,
    max_tokens: Annotated[int | None, typer.Option(help="Budget in tokens, for each environment and k.")] = None,
    max_calls: Annotated[int | None, typer.Option(help="Budget in model calls.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Budget in money.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder; the same again goes on there.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a reflector on held-out families, beside its noise floor and null controls."""
    from metagym.evaluation.campaign import run_campaign, run_streams
    from metagym.evaluation.output.tables import comparison_tables, report_tables, stream_tables
    from metagym.evaluation.preset import load_preset

    protocol = load_preset(preset)
    limits = read_json("--client", client)
    actor_spec = actor or model_spec(actor_model, actor_base_url, api_key_env, limits)
    if actor_spec is None:
        raise ConfigError(
            "No actor is named, and a measurement plays no stand-in unasked. Say --actor-model NAME (with "
            "--actor-base-url for a server of your own), or --actor demo for the scripted one."
        )
    reflector_spec = read_reflector(reflector, model_spec(reflector_model, reflector_base_url, api_key_env, limits))
    if reflector_spec is None:
        if actor != "demo":
            raise ConfigError(
                "No reflector is named. Say --reflector-model NAME, or --reflector demo, fixed or pkg:Class."
            )
        reflector_spec = "demo"
    budget = read_budget(max_tokens, max_calls, max_cost)
    path = out or Path("runs") / f"evaluate-{protocol.name}"
    with resumable(path, f"the same command with --out {path}"), progress() as bars:
        bar = bars.add_task("episodes", total=None)

        def on_arm(name: str, num_episodes: int) -> None:
            bars.reset(bar, total=num_episodes, description=name)

        def on_episode(trajectory: Any) -> None:
            bars.advance(bar)

        if protocol.protocol == "stream":
            streams = run_streams(
                protocol,
                actor=actor_spec,
                reflector=reflector_spec,
                path=path,
                budget=budget,
                on_episode=on_episode,
            )
            found = []
        else:
            streams = []
            found = run_campaign(
                protocol,
                actor=actor_spec,
                reflector=reflector_spec,
                path=path,
                controls=() if no_controls else control,
                budget=budget,
                on_arm=on_arm,
                on_episode=on_episode,
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
        print_text(f"\nThe records lie in {evaluated.folder}: metagym report {evaluated.folder} -o report.html\n")


@commands.command(
    rich_help_panel=MEASURE,
    epilog=examples("metagym compare runs/evaluate-ict-small", "metagym compare A B --margin 0.05"),
)
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Evaluations, or a folder of them; the first against each."),
    ],
    endpoint: Annotated[str, typer.Option(help="`chosen` (the primary endpoint) or `last`.")] = "chosen",
    margin: Annotated[float | None, typer.Option(help="The difference that would not matter.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Compare what was not measured alike.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare evaluated arms: paired per-seed differences, families with equal weight."""
    from metagym.evaluation.comparison import compare as compare_reports
    from metagym.evaluation.output.tables import comparison_tables
    from metagym.evaluation.store import read_report

    if endpoint not in ("chosen", "last"):
        raise ConfigError(f"--endpoint must be 'chosen' or 'last', got {endpoint!r}.")
    reports = [read_report(run) for run in _arms(runs)]
    comparisons = compare_reports(
        reports, endpoint="last" if endpoint == "last" else "chosen", margin=margin, force=force
    )
    if as_json:
        print_json([comparison.model_dump(mode="json") for comparison in comparisons])
        return
    console.print(*comparison_tables(comparisons), sep="\n", highlight=False)


def _arms(paths: list[Path]) -> list[Path]:
    """Return the run folders at and below the paths; in a folder of an evaluation its own arm comes before controls."""
    from metagym.evaluation.arms import is_control, recorded_kind
    from metagym.runs import read_manifest
    from metagym.runs.watching.watcher import run_folders

    found: list[Path] = []
    for path in paths:
        kinds = {folder: recorded_kind(read_manifest(folder).evaluation) for folder in run_folders(path)}
        below = [folder for folder, kind in kinds.items() if folder == path or kind != "tuning"]
        found += sorted(below, key=lambda folder: is_control(kinds[folder])) or [path]
    return list(dict.fromkeys(found))


@commands.command(rich_help_panel="See", epilog=examples("metagym runs", "metagym runs FOLDER --json"))
def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, in all folders below.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """List the runs in a folder."""
    from metagym.runs import MANIFEST, read_manifest

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
        print_json(rows)
        return
    # A name that is cut off names nothing: the folder goes into further lines where the terminal is narrow.
    table = Table(*(Column(name, overflow="fold") for name in ("run", "environment", "arm", "")))
    for row in rows:
        state = "" if row.get("finished") else "unfinished"
        mark = "SCRIPTED" if row.get("scripted") else ""
        table.add_row(
            row["run"],
            row.get("environment", ""),
            row.get("arm", ""),
            row.get("problem", f"{mark} {state}".strip()),
        )
    console.print(table if rows else f"No run in {folder}.")


@commands.command(
    rich_help_panel=MEASURE,
    epilog=examples("metagym export RUN --atif FOLDER", "metagym export RUN --parquet scores.parquet"),
)
def export(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    parquet: Annotated[Path | None, typer.Option(help="Write an evaluation's scores to this file.")] = None,
    atif: Annotated[Path | None, typer.Option(help="Write the episodes to this folder, as ATIF v1.7.")] = None,
) -> None:
    """Write a run in formats that others read."""
    from metagym.evaluation.output.atif import write_atif
    from metagym.evaluation.output.exports import write_parquet
    from metagym.runs import RunFolder

    if parquet is None and atif is None:
        raise ConfigError("Say what to write: --parquet FILE, --atif FOLDER. Figures: metagym plot RUN -o FILE.")
    with RunFolder.open(run) as folder:
        if parquet is not None:
            console.print(f"{plural(write_parquet(folder, parquet), 'score')} in {parquet}", soft_wrap=True)
        if atif is not None:
            console.print(f"{plural(write_atif(folder, atif), 'episode')} in {atif}", soft_wrap=True)
