"""The application: every command with its panel and its examples, and the options of the whole."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final

from rich.logging import RichHandler
from rich.markup import escape
from typer import Context, Exit, Option, Typer

from metagym._version import __version__
from metagym.cli import machine
from metagym.cli.console import console, errors, print_text, without_escapes
from metagym.cli.estimate import estimate_command
from metagym.cli.extend import extend_command
from metagym.cli.gate import gate_command
from metagym.cli.measure import arena_command, compare_command, evaluate_command
from metagym.cli.model_options import GUIDE
from metagym.cli.models import models_get_command, models_list_command
from metagym.cli.note import note_command
from metagym.cli.options import FLAGS, Command
from metagym.cli.presets import presets_list_command, presets_show_command
from metagym.cli.repair import repair_command
from metagym.cli.report import plot_command, report_command
from metagym.cli.run import demo_command, resume_command, run_command
from metagym.cli.runs import runs_command
from metagym.cli.show import export_command, show_command, verify_command
from metagym.cli.tasks import tasks_check_command
from metagym.cli.train import train_collect_command, train_demo_command, train_export_command, train_grpo_command
from metagym.cli.watch import watch_command
from metagym.errors import (
    BadBatchError,
    BudgetExceededError,
    EpisodesFailedError,
    InfrastructureError,
    InnerEnvError,
    MetaGymError,
    user_trace,
    with_place,
)
from metagym.workers.protocol import WorkerLostError

DEBUG_VARIABLE: Final = "METAGYM_DEBUG"
PANELS: Final[dict[str, tuple[Callable[..., Any], ...]]] = {
    "See": (demo_command, show_command, watch_command, report_command, note_command, plot_command, runs_command),
    "Run": (run_command, resume_command, repair_command, estimate_command, machine.serve_command),
    "Measure": (
        verify_command,
        evaluate_command,
        extend_command,
        compare_command,
        gate_command,
        arena_command,
        export_command,
    ),
    "Environments": (machine.envs_command,),
    "Help": (machine.doctor_command,),
}
"""The panels of `metagym --help`, in its order, and the commands in each."""
TRAIN_COMMANDS: Final = (train_demo_command, train_collect_command, train_grpo_command, train_export_command)
GROUPS: Final = (
    ("models", "Run", "Language models on this machine, for --actor local.", (models_list_command, models_get_command)),
    (
        "presets",
        "Measure",
        "Protocols with a name, for evaluate and arena.",
        (presets_list_command, presets_show_command),
    ),
    ("train", "Train", "Train reflectors: collect experience, run GRPO, see it learn.", TRAIN_COMMANDS),
    ("alfworld", "Environments", "ALFWorld: generate games.", (machine.alfworld_generate_command,)),
    ("tasks", "Environments", "The tasks of an environment.", (tasks_check_command,)),
    (
        "minihack",
        "Environments",
        "MiniHack: its families and the number of their levels.",
        (machine.minihack_levels_command,),
    ),
)
"""The groups of commands: name, panel, help and commands."""
DEFAULT_COMMANDS: Final[dict[str, Callable[[], None]]] = {
    "models": models_list_command,
    "presets": presets_list_command,
}
"""The action of a group's name alone, if it has one."""
EXAMPLES: Final = """
metagym demo
    metagym demo --env MetaGym/ALFWorld-v0 -n 5
    metagym show runs/demo-gates-v0-seed0
metagym show runs/demo-gates-v0-seed0 --step 0
metagym watch runs/demo-gates-v0-seed0
    metagym watch RUN --once --json
metagym report runs/demo-gates-v0-seed0 -o report.html
metagym note runs/demo-gates-v0-seed0 3 "knocks at the iron gate"
metagym plot runs/demo-gates-v0-seed0 -o curve.svg
metagym runs
    metagym runs FOLDER --json
metagym run MetaGym/Gates-v0 --actor demo --reflector ace_style:demo -n 3
    metagym run MetaGym/Gates-v0 --actor gpt-4o-mini --dry-run
    metagym run MetaGym/Gates-v0 --actor Qwen/Qwen3-8B@http://localhost:8000/v1 -n 5
    metagym run MetaGym/Gates-v0 --actor local --reflector local -n 2
    metagym run MetaGym/ALFWorld-v0 --actor gpt-4o-mini --reflector opro_style:gpt-4o --budget tokens=500000
    metagym run my_module:MyMetaEnv --actor random --reflector my_module:MyReflector
metagym resume runs/gates-v0-seed0
    metagym resume RUN --budget tokens=2000000
metagym repair runs/gates-v0-seed0
metagym estimate MetaGym/Gates-v0 -n 10 --seeds 5 --prices prompt=0.15,completion=0.6
    metagym estimate --preset ict --prices prompt=0.15,completion=0.6
    metagym estimate MetaGym/Gates-v0 --actor model.json --budget cost=20 --effect 0.1
    metagym estimate --like runs/evaluate-ict-small/gates-v0-k5/reflector
metagym serve Qwen/Qwen3-8B --engine vllm --port 8000
    metagym serve smollm2-135m
    metagym serve model.gguf --engine-option=--parallel=8 --engine-option=--ctx-size=32768
metagym models list
metagym models get smollm2-135m
    metagym models get https://example.org/model.gguf --sha256 DIGEST
    metagym models get Qwen/Qwen3-8B-GGUF:Q4_K_M
metagym verify runs/demo-gates-v0-seed0
metagym evaluate ict-small --actor demo
    metagym evaluate MetaGym/Gates-v0 --families law-0007,law-0500 --seeds 5 --steps 3 --actor demo --dry-run
    metagym evaluate MetaGym/Questions-v0 --option rows=questions.jsonl --option num_test=20 --actor NAME@URL
    metagym evaluate ict --actor gpt-4o-mini --reflector gpt-4o --budget tokens=5000000
    metagym evaluate mine.toml --actor NAME@URL --reflector my_module:MyReflector
metagym extend runs/evaluate-ict-small --seeds 10
metagym presets list
metagym presets show ict-small
metagym compare runs/evaluate-ict-small
    metagym compare A B --margin 0.05
metagym gate old.md new.md --actor demo --option families='["law-0007"]'
    metagym gate old.md new.md --env MetaGym/ALFWorld-v0 --actor NAME@URL --episodes 400 --markdown
metagym arena --preset arena-small --actor demo
    metagym arena ict 'best_of_n(ict)' gepa --preset ict --actor NAME@URL --learning-budget episodes=50
metagym export runs/demo-gates-v0-seed0 --atif episodes
    metagym export RUN --parquet scores.parquet
metagym train demo --runs 2 --steps 20
metagym train collect MetaGym/Gates-v0 --actor demo --loops 2 -o data
    metagym train collect MetaGym/MiniHack-v0 --actor NAME@URL --reflector NAME@URL -o data
metagym train grpo MetaGym/Gates-v0 --actor demo --reflector FOLDER --data data -o run -n 25
metagym train export run -o turns.jsonl
metagym envs
metagym alfworld generate --out games --games 2
metagym tasks check MetaGym/Gates-v0 --option families='["law-0007"]' --tasks 50
    metagym tasks check MetaGym/MiniHack-v0 --option families='["MiniHack-Room-Dark-5x5-v0"]' --actor demo
metagym minihack levels MiniHack-Read-v0 --seeds 50
metagym doctor
    metagym doctor --fix
    metagym doctor --actor Qwen/Qwen3-8B@http://localhost:8000/v1
"""
"""The examples in each command's help: its first, which runs without a model, and below it the others."""


def _add(group: Typer, panel: str | None, command: Callable[..., Any]) -> None:
    name = command.__name__.removesuffix("_command").replace("_", " ")
    (found,) = (lines for lines in re.split(r"\n(?=metagym)", EXAMPLES) if re.match(rf"\s*metagym {name}\b", lines))
    epilog = ["[bold]For example[/bold]", *(escape(line.strip()) for line in found.strip().splitlines())]
    if "sampling" in inspect.signature(command).parameters:  # it asks models
        epilog += ["[bold]SPEC[/bold]", *(f"[bold]{form}[/bold]: {escape(meaning)}" for form, meaning in GUIDE)]
    paragraphs = [" ".join(lines.split()) for lines in (inspect.getdoc(command) or "").split("\n\n")]
    about, more = "\n\n".join(paragraphs), "\n\n".join(epilog)
    group.command(name.split()[-1], cls=Command, rich_help_panel=panel, help=about, epilog=more)(command)


def _callback(default: Callable[[], None] | None) -> Callable[[Context], None]:
    def callback(context: Context) -> None:
        if default is not None and context.invoked_subcommand is None:
            default()

    return callback


app = Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="[bold]Begin with[/bold] metagym demo: a prompt gets better in seconds, with no model and no key.\n\n"
    "If something does not work: metagym doctor. What a command takes: metagym COMMAND --help.\n\n"
    "Exit codes: 0 done, 1 an error or a difference found, 2 wrong usage, 130 stopped by Ctrl-C.",
)
for _panel, _commands in PANELS.items():
    for _command in _commands:
        _add(app, _panel, _command)
for _name, _panel, _help, _commands in GROUPS:
    _default = DEFAULT_COMMANDS.get(_name)
    _group = Typer(no_args_is_help=_default is None, pretty_exceptions_enable=False)
    # Without a callback, a group of one command would be that command.
    _group.callback(help=_help, invoke_without_command=_default is not None)(_callback(_default))
    app.add_typer(_group, name=_name, rich_help_panel=_panel)
    for _command in _commands:
        _add(_group, None, _command)


@app.callback(invoke_without_command=True)
def options(
    context: Context,
    version: Annotated[bool, Option("--version", help="Print the version and leave.")] = False,
    verbose: Annotated[bool, Option("--verbose", "-v", help="Print the library's log.")] = False,
    debug: Annotated[
        bool, Option("--debug", help=f"Show the traceback of an error; so does {DEBUG_VARIABLE}=1.")
    ] = False,
    yes: Annotated[bool, Option("--yes", help=FLAGS["--yes"])] = False,
    dry_run: Annotated[bool, Option("--dry-run", help=FLAGS["--dry-run"])] = False,
) -> None:
    """Learn to write better system prompts for language agents, from experience."""
    if version:
        console.print(__version__, highlight=False)
        raise Exit
    for flag, is_given in (("--yes", yes), ("--dry-run", dry_run)):
        context.meta[f"metagym {flag}"] = is_given
    handler = RichHandler(console=errors, show_path=False) if errors.is_terminal else logging.StreamHandler()
    if not errors.is_terminal:  # nothing is wrapped in a pipe or a log, so that it can be searched
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])


def _hint(error: MetaGymError) -> str:
    """Return the source of an infrastructure error and what to do; empty if its message says so itself."""
    if isinstance(error, BudgetExceededError):
        return "A larger one: --budget NAME=N, with NAME among tokens, calls, cost, episodes"
    if not isinstance(error, InfrastructureError) or isinstance(error, BadBatchError):
        return ""
    meta_step = error.meta_step if isinstance(error, EpisodesFailedError) else None
    failed = [item for item in (meta_step.trajectories if meta_step else ()) if item.error]
    if user_trace(error).place or any(item.traceback for item in failed):
        return "The fault is in your own code, at the line in brackets. To see its traceback: add --debug."
    name = failed[0].error.partition(":")[0] if failed else type(error).__name__
    if name in (InnerEnvError.__name__, WorkerLostError.__name__):
        return "The fault is in the environment, and in no server or key. To see its traceback: add --debug."
    return "To check the server, the key and the installation: metagym doctor"


def main() -> None:
    """Run the command line. An error ends in a sentence and exit code 1; `--debug` shows its traceback."""
    # An installed script does not look for `lessons:MyReflector` in the folder in which it is called.
    if "" not in sys.path:
        sys.path.append("")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # in a C locale, a bar that cannot be written becomes a '?'
            stream.reconfigure(errors="replace")
    debug = "--debug" in sys.argv or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    sys.argv[:] = [word for word in sys.argv if word != "--debug"]  # it is allowed anywhere
    try:
        app()
    except Exception as error:
        if debug:
            raise
        message = escape(without_escapes(str(error), errors))
        if isinstance(error, MetaGymError):
            errors.print(f"[red]Error:[/red] {message}", highlight=False, soft_wrap=True)
            if hint := _hint(error):
                print_text(hint, to=errors)
        elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            errors.print(f"[red]Error:[/red] {message}", highlight=False, soft_wrap=True)
            print_text("Make room for the output and the records, and give the command again.", to=errors)
        else:
            name, _, message = without_escapes(with_place(error), errors).partition(": ")
            errors.print(f"[red]Unexpected {name}:[/red] {escape(message)}", highlight=False)
            print_text(
                "This is a defect in metagym, or in an environment, actor or reflector that was loaded. Run the same "
                "command with --debug to see the traceback. If the defect is in metagym, please report it with the "
                "traceback and the output of `metagym doctor --json`.",
                to=errors,
            )
        sys.exit(1)
