"""The arena on the command line: `metagym arena`. It only asks and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metagym.cli.console import JsonOption, console, print_json, print_text, progress, resumable
from metagym.cli.options import model_spec, read_budget, read_json
from metagym.errors import ConfigError, MissingExtraError


def compete(
    preset: Annotated[str, typer.Option(help="`arena-small`, `ict`, or a .toml file of yours.")] = "arena-small",
    reflectors: Annotated[
        str, typer.Option(help="`all`, or names with commas: ict,best_of_n(ict),gepa,package.module:MyReflector.")
    ] = "all",
    budget: Annotated[
        str | None,
        typer.Option(help="What each meta-episode may take to learn: episodes=50,calls=N,tokens=N,cost=X."),
    ] = None,
    actor: Annotated[str | None, typer.Option(help="`demo`, `random`, or package.module:MyActor.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The reflectors' model (`demo`: scripted), and the actor's where none is named."),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Its server, such as http://localhost:8000/v1.")] = None,
    actor_model: Annotated[str | None, typer.Option(help="The actor's model, where it differs.")] = None,
    actor_base_url: Annotated[str | None, typer.Option(help="The actor's server.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="The environment variable that holds the key.")] = None,
    client: Annotated[str, typer.Option(help="JSON: time limits, rates and prices of the model's server.")] = "{}",
    control: Annotated[list[str] | None, typer.Option(help="A null control, instead of the preset's.")] = None,
    no_controls: Annotated[bool, typer.Option("--no-controls", help="No null controls but `fixed`.")] = False,
    max_tokens: Annotated[int | None, typer.Option(help="Stop before an environment and k take more tokens.")] = None,
    max_calls: Annotated[int | None, typer.Option(help="Stop before they take more calls.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Stop before they cost more money.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder; the same again goes on there.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run methods side by side: the same tasks and seeds, equal learning budgets, beside null controls."""
    from metagym.evaluation.arena import run_arena
    from metagym.evaluation.output.tables import standings_tables
    from metagym.evaluation.preset import load_preset

    limits = read_json("--client", client)
    asked = model_spec(model, base_url, api_key_env, limits)
    player = actor or model_spec(actor_model, actor_base_url or base_url, api_key_env, limits)
    if player is None and model != "demo":
        player = asked
    if player is None:
        raise ConfigError(
            "No actor is named, and a measurement plays no stand-in unasked. Say --model NAME (with --base-url for a "
            "server of your own), --actor-model NAME, or --actor demo for the scripted one."
        )
    protocol = load_preset(preset)
    learning = read_limits(budget) or protocol.budget
    controls = () if no_controls else protocol.controls if control is None else tuple(control)
    protocol = protocol.model_copy(update={"budget": learning, "controls": controls})
    path = out or Path("runs") / protocol.name
    with resumable(path, f"the same command with --out {path}"), progress() as bars:
        bar = bars.add_task("episodes", total=None)
        bouts = run_arena(
            protocol,
            split_names(reflectors),
            actor=player,
            model=asked,
            path=path,
            limits=read_budget(max_tokens, max_calls, max_cost),
            on_arm=lambda name, num: bars.reset(bar, total=num, description=name),
            on_episode=lambda trajectory: bars.advance(bar),
        )
    if as_json:
        print_json([bout.standings.model_dump(mode="json") for bout in bouts])
        return
    for bout in bouts:
        console.print(*standings_tables(bout.standings), sep="\n", highlight=False)
        print_text(f"\nThe records, the standings (arena.md, .csv, .json) and their curves lie in {bout.folder}.")
    print_text(_report(path))


def split_names(text: str) -> list[str]:
    """Return the names between the commas.

    >>> split_names("ict, best_of_n(ict),gepa")
    ['ict', 'best_of_n(ict)', 'gepa']
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigError(f"--reflectors expects `all`, or names with commas between them, got {text!r}.")
    return names


def read_limits(text: str | None) -> Any:
    """Return the budget that `episodes=50,tokens=20000` stands for; None means the preset's.

    Raises:
        ConfigError: it is none.
    """
    from pydantic import ValidationError

    from metagym.budget import Budget

    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        return Budget.model_validate({name.strip(): number.strip() for name, _, number in pairs})
    except ValidationError:
        known = ", ".join(Budget.model_fields)
        raise ConfigError(
            f"--budget expects NAME=NUMBER with commas between them, the names among {known}; got {text!r}."
        ) from None


def _report(path: Path) -> str:
    """Write the report beside the records, and say where it is; or what it needs."""
    from metagym.report import make_report

    try:
        return f"The report to look at: {make_report([path], path / 'report.html').path}"
    except MissingExtraError as error:
        return str(error)
