"""`metagym arena`: methods side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metagym.cli.console import JsonOption, console, print_json, print_text, progress, resumable
from metagym.cli.evaluate import ControlOption, FolderOption, read_controls
from metagym.cli.model_options import (
    ActorOption,
    BudgetOption,
    ReflectorSamplingOption,
    SamplingOption,
    read_actor,
    read_budget,
    read_limits,
    read_shared_model,
)
from metagym.errors import MissingExtraError


def arena_command(
    methods: Annotated[
        list[str] | None,
        typer.Argument(help="ict, best_of_n(ict), gepa, package.module:MyReflector, ...; by default all."),
    ] = None,
    preset: Annotated[str, typer.Option(help="`arena-small`, `ict`, or your own .toml file.")] = "arena-small",
    actor: ActorOption = None,
    reflector_model: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="The model that the methods ask: NAME@URL, NAME, FILE.json or `demo`; by default the actor's.",
        ),
    ] = None,
    learning_budget: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=N,...",
            help="What each meta-episode may use to learn: episodes=50,tokens=N,calls=N,cost=X; by default the "
            "preset's.",
        ),
    ] = None,
    budget: BudgetOption = None,
    sampling: SamplingOption = None,
    reflector_sampling: ReflectorSamplingOption = None,
    control: ControlOption = None,
    out: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run methods side by side: the same tasks and seeds, equal learning budgets, together with null controls.

    --budget holds for everything that is played on one environment with one batch size k.
    """
    from metagym.budget import Budget
    from metagym.evaluation.arena import run_arena
    from metagym.evaluation.output.tables import standings_tables
    from metagym.evaluation.preset import load_preset

    actor_spec = read_actor(actor, sampling)
    protocol, controls = load_preset(preset), read_controls(control)
    update: dict[str, object] = {} if controls is None else {"controls": controls}
    if learning_budget is not None:
        update["budget"] = Budget(**read_limits("--learning-budget", learning_budget))
    protocol = protocol.model_copy(update=update)
    path = out or Path("runs") / protocol.name
    with resumable(path, f"the same command with --out {path}"), progress() as bars:
        bar = bars.add_task("episodes", total=None)
        bouts = run_arena(
            protocol,
            methods or ["all"],
            actor=actor_spec,
            model=read_shared_model(reflector_model, reflector_sampling, actor=actor_spec),
            path=path,
            limits=read_budget(budget),
            on_arm=lambda name, num: bars.reset(bar, total=num, description=name),
            on_episode=lambda trajectory: bars.advance(bar),
        )
    if as_json:
        print_json([bout.standings.model_dump(mode="json") for bout in bouts])
        return
    for bout in bouts:
        console.print(*standings_tables(bout.standings), sep="\n", highlight=False)
        print_text(f"\nThe records, the standings (arena.md, .csv, .json) and their curves are in {bout.folder}.")
    print_text(_report(path))


def _report(path: Path) -> str:
    """Write the report beside the records, and return a sentence on its place, or on the package that it needs."""
    from metagym.report import make_report

    try:
        return f"The report to look at: {make_report([path], path / 'report.html').path}"
    except MissingExtraError as error:
        return str(error)
