"""The application: every command with its panel and an example, and the options of the whole."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.logging import RichHandler
from rich.markup import escape

from metagym._version import __version__
from metagym.cli import environments, evaluate, report, show, train
from metagym.cli.arena import arena_command
from metagym.cli.console import DEBUG_VARIABLE, EXIT_CODES, console, errors, examples, run_app
from metagym.cli.doctor import doctor_command
from metagym.cli.estimate import estimate_command
from metagym.cli.model_options import GUIDE
from metagym.cli.renamed import Command
from metagym.cli.run import demo_command, resume_command, run_command
from metagym.cli.serve import serve_command
from metagym.cli.train_demo import train_demo_command
from metagym.cli.watch import watch_command

SEE, RUN, MEASURE, TRAIN, ENVIRONMENTS, HELP = "See", "Run", "Measure", "Train", "Environments", "Help"
"""The panels of `metagym --help`, in its order."""


def _add(group: typer.Typer, panel: str | None, command: Callable[..., Any], *lines: str) -> None:
    """Add a command; `lines` are examples, of which the first runs without a model."""
    epilog = [examples(*lines)]
    if "sampling" in inspect.signature(command).parameters:  # it asks models
        epilog += ["[bold]SPEC[/bold]", *(f"[bold]{form}[/bold]: {escape(meaning)}" for form, meaning in GUIDE)]
    name = command.__name__.removesuffix("_command").rpartition("_")[2]  # minihack_levels_command is `levels`
    group.command(name, cls=Command, rich_help_panel=panel, epilog="\n\n".join(epilog))(command)


def _add_group(panel: str, name: str, help_text: str) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    group.callback(help=help_text)(lambda: None)  # without it, a group of one command would be that command
    app.add_typer(group, name=name, rich_help_panel=panel)
    return group


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="\n\n".join(
        (
            "[bold]Begin with[/bold] metagym demo: a prompt gets better in seconds, with no model and no key.",
            "If something does not work: metagym doctor. What a command takes: metagym COMMAND --help.",
            EXIT_CODES,
        )
    ),
)
_add(
    app,
    SEE,
    demo_command,
    "metagym demo",
    "metagym demo --env MetaGym/ALFWorld-v0 -n 5",
    "metagym show runs/demo-gates-v0-seed0",
)
_add(app, SEE, show.show_command, "metagym show runs/demo-gates-v0-seed0 --step 0")
_add(app, SEE, watch_command, "metagym watch runs/demo-gates-v0-seed0", "metagym watch RUN --once --json")
_add(app, SEE, report.report_command, "metagym report runs/demo-gates-v0-seed0 -o report.html")
_add(app, SEE, report.plot_command, "metagym plot runs/demo-gates-v0-seed0 -o curve.svg")
_add(app, SEE, show.runs_command, "metagym runs", "metagym runs FOLDER --json")
_add(
    app,
    RUN,
    run_command,
    "metagym run MetaGym/Gates-v0 --actor demo --reflector ace_style:demo -n 3",
    "metagym run MetaGym/Gates-v0 --actor Qwen/Qwen3-8B@http://localhost:8000/v1 -n 5",
    "metagym run MetaGym/ALFWorld-v0 --actor gpt-4o-mini --reflector opro_style:gpt-4o --budget tokens=500000",
    "metagym run my_module:MyMetaEnv --actor random --reflector my_module:MyReflector",
)
_add(app, RUN, resume_command, "metagym resume runs/gates-v0-seed0", "metagym resume RUN --budget tokens=2000000")
_add(
    app,
    RUN,
    estimate_command,
    "metagym estimate MetaGym/Gates-v0 -n 10 --seeds 5 --prices prompt=0.15,completion=0.6",
    "metagym estimate MetaGym/Gates-v0 --actor model.json --budget cost=20 --effect 0.1",
)
_add(app, RUN, serve_command, "metagym serve Qwen/Qwen3-8B --engine vllm --port 8000")
_add(app, MEASURE, show.verify_command, "metagym verify runs/demo-gates-v0-seed0")
_add(
    app,
    MEASURE,
    evaluate.evaluate_command,
    "metagym evaluate --preset ict-small --actor demo",
    "metagym evaluate --preset ict --actor gpt-4o-mini --reflector gpt-4o --budget tokens=5000000",
    "metagym evaluate --preset mine.toml --actor NAME@URL --reflector my_module:MyReflector",
)
_add(
    app,
    MEASURE,
    evaluate.compare_command,
    "metagym compare runs/evaluate-ict-small",
    "metagym compare A B --margin 0.05",
)
_add(
    app,
    MEASURE,
    arena_command,
    "metagym arena --preset arena-small --actor demo",
    "metagym arena ict 'best_of_n(ict)' gepa --preset ict --actor NAME@URL --learning-budget episodes=50",
)
_add(
    app,
    MEASURE,
    show.export_command,
    "metagym export runs/demo-gates-v0-seed0 --atif episodes",
    "metagym export RUN --parquet scores.parquet",
)
training = _add_group(TRAIN, "train", "Train reflectors: collect experience, run GRPO, see it learn.")
_add(training, None, train_demo_command, "metagym train demo --runs 2 --steps 20")
_add(
    training,
    None,
    train.train_collect_command,
    "metagym train collect MetaGym/Gates-v0 --actor demo --loops 2 -o data",
    "metagym train collect MetaGym/MiniHack-v0 --actor NAME@URL --reflector NAME@URL -o data",
)
_add(
    training,
    None,
    train.train_grpo_command,
    "metagym train grpo MetaGym/Gates-v0 --actor demo --reflector FOLDER --data data -o run -n 25",
)
_add(training, None, train.train_export_command, "metagym train export run -o turns.jsonl")
_add(app, ENVIRONMENTS, environments.envs_command, "metagym envs")
alfworld = _add_group(ENVIRONMENTS, "alfworld", "ALFWorld: generate games.")
_add(alfworld, None, environments.alfworld_generate_command, "metagym alfworld generate --out games --games 2")
minihack = _add_group(ENVIRONMENTS, "minihack", "MiniHack: its families and the number of their levels.")
_add(minihack, None, environments.minihack_levels_command, "metagym minihack levels MiniHack-Read-v0 --seeds 50")
_add(app, HELP, doctor_command, "metagym doctor", "metagym doctor --actor Qwen/Qwen3-8B@http://localhost:8000/v1")


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
