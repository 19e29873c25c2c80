"""The command line: `metagym demo`, `run`, `resume`, and the commands of the other modules. It only asks and prints."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.logging import RichHandler

from metagym._version import __version__
from metagym.cli import alfworld, doctor, envs, minihack, models, records, training
from metagym.cli.arena import compete
from metagym.cli.console import (
    DEBUG_VARIABLE,
    EXIT_CODES,
    JsonOption,
    console,
    errors,
    examples,
    print_json,
    print_text,
    progress,
    resumable,
    run_app,
)
from metagym.cli.evaluation import commands as evaluation_commands
from metagym.cli.options import model_spec, read_budget, read_json, read_pairs, read_reflector, read_text
from metagym.cli.plotting import plot
from metagym.cli.reporting import report
from metagym.cli.watching import watch
from metagym.errors import ConfigError

SEE, RUN, MEASURE, TRAIN, ENVIRONMENTS, HELP = "See", "Run", "Measure", "Train", "Environments", "Help"
"""The panels of `metagym --help`, in its order."""

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="\n\n".join(
        (
            "[bold]Begin with[/bold] metagym demo: a prompt gets better in seconds, with no model and no key.",
            "Where something does not work: metagym doctor. What a command takes: metagym COMMAND --help.",
            EXIT_CODES,
        )
    ),
)

StepsOption = Annotated[int, typer.Option("--steps", "-n", min=1, help="Meta-steps to run.")]
SeedOption = Annotated[int, typer.Option(help="Fixes the tasks that are drawn, and all chance.")]
MaxTokensOption = Annotated[int | None, typer.Option(min=0, help="Stop before the run takes more tokens.")]
MaxCallsOption = Annotated[int | None, typer.Option(min=0, help="Stop before the run makes more calls.")]
MaxCostOption = Annotated[
    float | None, typer.Option(min=0, help="Stop before the run costs more money; --client then holds prices.")
]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="The run folder; by default a new one in runs/.")]


@app.command(
    rich_help_panel=SEE,
    epilog=examples(
        "metagym demo", "metagym demo --env MetaGym/ALFWorld-v0 -n 5", "metagym show runs/demo-gates-v0-seed0"
    ),
)
def demo(
    env: Annotated[
        str, typer.Option("--env", help="A meta-environment; `metagym envs` lists them.")
    ] = "MetaGym/Gates-v0",
    steps: StepsOption = 10,
    seed: SeedOption = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """See a prompt get better over meta-steps: offline, with a scripted actor and a scripted reflector."""
    from metagym.runs import Manifest

    manifest = Manifest(env_id=env, env_options={"actor": "demo"}, reflector="demo", seed=seed, num_steps=steps)
    _experiment(manifest, out or _new_folder(f"demo-{env}-seed{seed}"), as_json=as_json)


app.command(rich_help_panel=SEE, epilog=examples("metagym show RUN", "metagym show RUN --step 0"))(records.show)
app.command(rich_help_panel=SEE)(watch)
app.command(rich_help_panel=SEE, epilog=examples("metagym report runs/evaluate-ict-small -o report.html"))(report)
app.command(rich_help_panel=SEE)(plot)


@app.command(
    rich_help_panel=RUN,
    epilog=examples(
        "metagym run MetaGym/ALFWorld-v0 --model gpt-4o-mini --max-tokens 500000",
        "metagym run MetaGym/Gates-v0 --model Qwen/Qwen3-8B --base-url http://localhost:8000/v1 -n 5",
        "metagym run MetaGym/Gates-v0 --actor demo --reflector my_module:MyReflector",
        "metagym run my_module:MyMetaEnv --actor random --reflector fixed",
    ),
)
def run(
    env: Annotated[str, typer.Argument(help="An id that `metagym envs` lists, or package.module:MyMetaEnv.")],
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
    as_json: JsonOption = False,
) -> None:
    """Run a meta-environment with a model of yours as actor and reflector."""
    from metagym.runs import Manifest

    limits = read_json("--client", client) | ({"offline": True} if replay is not None else {})
    actor_spec = actor or model_spec(actor_model or model, actor_base_url or base_url, api_key_env, limits)
    reflector_spec = read_reflector(
        reflector, model_spec(reflector_model or model, reflector_base_url or base_url, api_key_env, limits)
    )
    for role, spec in (("actor", actor_spec), ("reflector", reflector_spec)):
        if spec is None:
            raise ConfigError(
                f"No {role} is named, and a measurement plays no stand-in unasked. Say --model NAME (with --base-url "
                f"http://localhost:8000/v1 for a server of your own, or OPENAI_API_KEY set), --{role}-model NAME, or "
                f"--{role} demo for the scripted one."
            )
    budget = read_budget(max_tokens, max_calls, max_cost)
    manifest = Manifest(
        env_id=env,
        env_options={
            **read_pairs(option),
            "actor": actor_spec,
            **({"budget": budget} if budget else {}),
        },
        reflector=reflector_spec,
        seed=seed,
        num_steps=steps,
        first_prompt=None if prompt is None else read_text("--prompt", prompt),
    )
    _experiment(manifest, out or _new_folder(f"{env}-seed{seed}"), replay=replay, as_json=as_json)


@app.command(
    rich_help_panel=RUN,
    epilog=examples("metagym resume runs/gates-v0-seed0", "metagym resume RUN --max-tokens 2000000"),
)
def resume(
    run: records.RunArgument,
    max_tokens: MaxTokensOption = None,
    max_calls: MaxCallsOption = None,
    max_cost: MaxCostOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was stopped, exactly where it was; with a larger budget where that stopped it."""
    from metagym.runs import RunFolder

    manifest = RunFolder.open(run).manifest
    if manifest.evaluation is not None:
        raise ConfigError(f"{run} belongs to an evaluation: give the command again that began it.")
    base = manifest.env_options.get("budget")
    budget = read_budget(max_tokens, max_calls, max_cost, base=base)
    _experiment(manifest, run, resume=True, budget=budget, as_json=as_json)


app.command(
    rich_help_panel=RUN,
    epilog=examples("metagym estimate MetaGym/ALFWorld-v0 -n 10 --seeds 5 --price-prompt 0.15 --price-completion 0.6"),
)(models.estimate)
app.command(rich_help_panel=RUN, epilog=examples("metagym serve Qwen/Qwen3-8B --engine vllm --port 8000"))(models.serve)
app.command(rich_help_panel=MEASURE, epilog=examples("metagym verify RUN"))(records.verify)
app.add_typer(evaluation_commands)
app.command(
    "arena",
    rich_help_panel=MEASURE,
    epilog=examples("metagym arena --preset arena-small --reflectors all --actor demo --model demo"),
)(compete)
app.add_typer(training.app, name="train", rich_help_panel=TRAIN)
app.command(rich_help_panel=ENVIRONMENTS)(envs.envs)
app.add_typer(alfworld.app, name="alfworld", rich_help_panel=ENVIRONMENTS)
app.add_typer(minihack.app, name="minihack", rich_help_panel=ENVIRONMENTS)
app.command(
    rich_help_panel=HELP,
    epilog=examples("metagym doctor", "metagym doctor --model NAME --base-url http://localhost:8000/v1"),
)(doctor.doctor)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print what the library logs.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show the traceback of an error; so does {DEBUG_VARIABLE}=1.")
    ] = False,
) -> None:
    """Learn to write better system prompts for language agents, from experience."""
    if version:
        console.print(__version__, highlight=False)
        raise typer.Exit
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)])


def main() -> None:
    """Run the command line."""
    run_app(app)


def _experiment(
    manifest: Any,
    path: Path,
    *,
    resume: bool = False,
    budget: dict[str, Any] | None = None,
    replay: Path | None = None,
    as_json: bool = False,
) -> None:
    from metagym.budget import Budget
    from metagym.models import Cassette
    from metagym.runs.running import run_experiment

    spent = lambda: models.print_spending(path, to=errors)  # noqa: E731
    with resumable(path / "manifest.json", f"metagym resume {path}", after=spent), progress() as bars:
        meta_steps = bars.add_task("meta-steps", total=manifest.num_steps)
        episodes = bars.add_task("episodes", total=None)
        result = run_experiment(
            manifest,
            path,
            resume=resume,
            budget=Budget.model_validate(budget) if budget else None,
            cassette=None if replay is None else Cassette(replay, mode="replay"),
            on_episode=lambda: bars.advance(episodes),
            on_meta_step=lambda meta_step: bars.advance(meta_steps),
        )
    scripted = any(meta_step.scripted for meta_step in result.history)
    if as_json:
        print_json(records.summary(result.history, path, scripted))
        return
    records.print_history(result.history, scripted)
    models.print_spending(path)
    print_text(f"\nThe record lies in {path}: metagym show {path} --step 0")


def _new_folder(name: str) -> Path:
    """Return the first free folder of that name in `runs/`."""
    stem = name.replace("MetaGym/", "").replace("/", "-").replace(":", "-").lower()
    number = 1
    while (path := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return path
