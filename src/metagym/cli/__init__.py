"""The command line: `metagym demo`, `run`, `resume`, `show`, `envs` and those on models. It only asks and prints."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from metagym._version import __version__
from metagym.cli import alfworld, minihack, models, training
from metagym.cli.evaluation import commands as evaluation_commands
from metagym.cli.plotting import plot
from metagym.cli.watching import watch
from metagym.errors import ApparatusError, ConfigError, MetaGymError

app = typer.Typer(
    help="Learn to write better system prompts for language agents, from experience.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(evaluation_commands)
app.add_typer(alfworld.app, name="alfworld")
app.add_typer(minihack.app, name="minihack")
app.add_typer(training.app, name="train")
console = Console()
errors = Console(stderr=True)

StepsOption = Annotated[int, typer.Option("--steps", "-n", min=1, help="Meta-steps to run.")]
SeedOption = Annotated[int, typer.Option(help="Fixes the tasks that are drawn, and all chance.")]
MaxTokensOption = Annotated[int | None, typer.Option(min=0, help="Stop before the run takes more tokens.")]
MaxCallsOption = Annotated[int | None, typer.Option(min=0, help="Stop before the run makes more calls.")]
MaxCostOption = Annotated[
    float | None, typer.Option(min=0, help="Stop before the run costs more money; --client then holds prices.")
]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="The run folder; by default a new one in runs/.")]


@app.command()
def demo(
    env: Annotated[
        str, typer.Option("--env", help="A meta-environment; `metagym envs` lists them.")
    ] = "MetaGym/Gates-v0",
    steps: StepsOption = 10,
    seed: SeedOption = 0,
    out: OutOption = None,
) -> None:
    """See a prompt get better over meta-steps: offline, with a scripted actor and a scripted reflector."""
    from metagym.runs import Manifest

    manifest = Manifest(env_id=env, env_options={"actor": "demo"}, reflector="demo", seed=seed, num_steps=steps)
    _experiment(manifest, out or _new_folder(f"demo-{env}-seed{seed}"))


@app.command()
def run(
    env: Annotated[str, typer.Argument(help="A meta-environment; `metagym envs` lists them.")],
    model: Annotated[str | None, typer.Option(help="The model of both actor and reflector.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Its server, such as http://localhost:8000/v1.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="The environment variable that holds its key.")] = None,
    actor: Annotated[str | None, typer.Option(help="`demo`, `random`, or package.module:MyActor.")] = None,
    actor_model: Annotated[str | None, typer.Option(help="The actor's model, where it differs.")] = None,
    actor_base_url: Annotated[str | None, typer.Option(help="The actor's server.")] = None,
    reflector: Annotated[
        str | None,
        typer.Option(help="A method's name (`ict`, `opro_style`, ...), `demo`, or package.module:MyReflector."),
    ] = None,
    reflector_model: Annotated[str | None, typer.Option(help="The reflector's model, where it differs.")] = None,
    reflector_base_url: Annotated[str | None, typer.Option(help="The reflector's server.")] = None,
    steps: StepsOption = 10,
    seed: SeedOption = 0,
    option: Annotated[list[str] | None, typer.Option(help="NAME=JSON, an option of the environment.")] = None,
    prompt: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="File of the first prompt.")] = None,
    client: Annotated[str, typer.Option(help="JSON: time limits, rates and prices of the model's server.")] = "{}",
    max_tokens: MaxTokensOption = None,
    max_calls: MaxCallsOption = None,
    max_cost: MaxCostOption = None,
    replay: Annotated[Path | None, typer.Option(help="A cassette (replies.sqlite) to play back, offline.")] = None,
    out: OutOption = None,
) -> None:
    """Run a meta-environment with a model of yours as actor and reflector."""
    from metagym.runs import Manifest

    limits = models.read_json("--client", client) | ({"offline": True} if replay is not None else {})
    actor_spec = actor or _model_spec(actor_model or model, actor_base_url or base_url, api_key_env, limits)
    reflector_spec = models.read_reflector(
        reflector, _model_spec(reflector_model or model, reflector_base_url or base_url, api_key_env, limits)
    )
    for role, spec in (("actor", actor_spec), ("reflector", reflector_spec)):
        if spec is None:
            raise ConfigError(
                f"No {role} is named, and a measurement plays no stand-in unasked. Say --model NAME (with --base-url "
                f"http://localhost:8000/v1 for a server of your own, or OPENAI_API_KEY set), --{role}-model NAME, or "
                f"--{role} demo for the scripted one."
            )
    budget = models.read_budget(max_tokens, max_calls, max_cost)
    manifest = Manifest(
        env_id=env,
        env_options={
            **models.read_options(option or []),
            "actor": actor_spec,
            **({"budget": budget} if budget else {}),
        },
        reflector=reflector_spec,
        seed=seed,
        num_steps=steps,
        first_prompt=None if prompt is None else prompt.read_text(encoding="utf-8"),
    )
    _experiment(manifest, out or _new_folder(f"{env}-seed{seed}"), replay=replay)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    max_tokens: MaxTokensOption = None,
    max_calls: MaxCallsOption = None,
    max_cost: MaxCostOption = None,
) -> None:
    """Go on with a run that was stopped, exactly where it was; with a larger budget where that stopped it."""
    from metagym.runs import RunFolder

    manifest = RunFolder.open(run).manifest
    if manifest.evaluation is not None:
        raise ConfigError(f"{run} belongs to an evaluation: give the same `metagym evaluate` command again.")
    base = manifest.env_options.get("budget")
    _experiment(manifest, run, resume=True, budget=models.read_budget(max_tokens, max_calls, max_cost, base=base))


app.command()(models.estimate)
app.command()(models.serve)
app.command()(watch)
app.command()(plot)


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    step: Annotated[int | None, typer.Option(help="Show this meta-step's episodes.")] = None,
) -> None:
    """Show a run: rewards and prompts, or one meta-step's episodes."""
    from metagym.rendering import render_batch
    from metagym.runs import RunFolder

    folder = RunFolder.open(run)
    history = folder.history
    if step is None:
        _print_history(history, folder.manifest.scripted)
        console.print(f"\n{folder.num_episodes} episodes in {run}", soft_wrap=True)
        models.print_spending(run)
    elif 0 <= step < len(history):
        console.print(render_batch(history[step].trajectories, show_thoughts=True), markup=False, highlight=False)
    elif not history:
        raise ConfigError(f"No meta-step was finished in {run}, so there is none to show.")
    else:
        raise ConfigError(f"--step must be from 0 to {len(history) - 1}, got {step}.")


@app.command()
def verify(run: Annotated[Path, typer.Argument(help="The run folder.")]) -> None:
    """Execute a run's recorded commands again, without any model, and compare what is seen and scored."""
    from metagym.verification import verify_run

    report = verify_run(run)
    for difference in report.differences[:10]:
        where = f"{difference.task_id}, step {difference.step}, {difference.field}:"
        then, now = f"  recorded {difference.recorded:.300}", f"  again    {difference.again:.300}"
        console.print(f"{where}\n{then}\n{now}", markup=False, highlight=False)
    skipped = f", {report.num_skipped} failed ones skipped" if report.num_skipped else ""
    console.print(
        f"{report.num_episodes} episodes, {report.num_steps} steps{skipped}: {len(report.differences)} differ.",
        highlight=False,
    )
    if report.differences:
        raise typer.Exit(1)


@app.command()
def envs(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the meta-environments."""
    import gymnasium

    from metagym.experiment import meta_env_ids, missing_package

    rows = [
        {
            "id": env_id,
            "max_episode_steps": gymnasium.spec(env_id).max_episode_steps,
            "missing": missing_package(env_id),
        }
        for env_id in meta_env_ids()
    ]
    if as_json:
        console.print_json(json.dumps(rows))
        return
    table = Table("id", "meta-steps", "ready")
    for row in rows:
        ready = "yes" if row["missing"] is None else escape(f"no: pip install 'metagym[{row['missing']}]'")
        table.add_row(str(row["id"]), str(row["max_episode_steps"]), ready)
    console.print(table)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print what the library logs.")] = False,
) -> None:
    """Learn to write better system prompts for language agents, from experience."""
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)])


def main() -> None:
    """Run the command line; an error that metagym knows ends in a sentence and exit code 1."""
    # An installed script does not look for `lessons:MyReflector` in the folder where it is called.
    if "" not in sys.path:
        sys.path.append("")
    try:
        app()
    except MetaGymError as error:
        errors.print(f"[red]Error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


def _experiment(
    manifest: Any,
    path: Path,
    *,
    resume: bool = False,
    budget: dict[str, Any] | None = None,
    replay: Path | None = None,
) -> None:
    from metagym.experiment import run_experiment
    from metagym.models import Cassette
    from metagym.spending import Budget

    try:
        with _progress() as progress:
            meta_steps = progress.add_task("meta-steps", total=manifest.num_steps)
            episodes = progress.add_task("episodes", total=None)
            result = run_experiment(
                manifest,
                path,
                resume=resume,
                budget=Budget.model_validate(budget) if budget else None,
                cassette=None if replay is None else Cassette(replay, mode="replay"),
                on_episode=lambda: progress.advance(episodes),
                on_meta_step=lambda meta_step: progress.advance(meta_steps),
            )
    except (ApparatusError, KeyboardInterrupt) as error:
        if (path / "manifest.json").exists():
            errors.print(f"What was played is in {path}. Go on with: metagym resume {path}", soft_wrap=True)
            models.print_spending(path, to=errors)
        if isinstance(error, KeyboardInterrupt):
            sys.exit(130)
        raise
    _print_history(result.history, any(meta_step.scripted for meta_step in result.history))
    models.print_spending(path)
    console.print(f"\nThe record lies in {path}: metagym show {path} --step 0", soft_wrap=True, highlight=False)


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


def _print_history(history: Any, scripted: bool) -> None:
    if not history:
        console.print("No meta-step was finished.")
        return
    mark = "SCRIPTED: a stand-in played, this says nothing about language models." if scripted else None
    table = Table("meta-step", "reward", "", "episodes", "failed", "invalid", caption=mark)
    for meta_step in history:
        reward = 0.0 if meta_step.reward is None else meta_step.reward
        trajectories = meta_step.trajectories
        table.add_row(
            str(meta_step.index),
            "-" if meta_step.reward is None else f"{reward:.2f}",
            "█" * round(20 * max(0.0, min(1.0, reward))),
            str(len(trajectories)),
            str(meta_step.num_failed),
            str(sum(trajectory.num_invalid for trajectory in trajectories)),
        )
    console.print(table)
    for title, meta_step in (("First prompt", history[0]), ("Last prompt", history[-1])):
        console.print(f"\n[bold]{title}[/bold] (meta-step {meta_step.index})", highlight=False)
        console.print(meta_step.prompt, markup=False, highlight=False)


def _model_spec(
    model: str | None, base_url: str | None, api_key_env: str | None, client: dict[str, Any]
) -> dict[str, Any] | None:
    if model is None:
        return None
    spec = {"model": model, "base_url": base_url, "api_key_env": api_key_env, "client": client or None}
    return {name: value for name, value in spec.items() if value is not None}


def _new_folder(name: str) -> Path:
    """Return the first free folder of that name in `runs/`."""
    stem = name.replace("MetaGym/", "").replace("/", "-").lower()
    number = 1
    while (path := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return path
