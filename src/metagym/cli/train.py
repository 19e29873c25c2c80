"""`metagym train demo`, `collect`, `grpo` and `export`: reflectors that learn, and their data for other trainers."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import gymnasium
from rich.table import Table
from typer import Argument, Option

from metagym.cli import model_options
from metagym.cli.console import AGAIN, SeedOption, console, errors, print_text, resumable, thinned
from metagym.cli.options import EnvOption, read_config, read_pairs
from metagym.cli.out_folder import check_out
from metagym.cli.progress import PERIOD_S
from metagym.errors import ConfigError

if TYPE_CHECKING:
    from metagym.training.trainer import TrainingProgress


def train_demo_command(
    runs: Annotated[int, Option(min=1, max=10, help="Training runs: the replicates of the t interval.")] = 5,
    steps: Annotated[
        int | None, Option("--steps", "-n", min=1, help="GRPO steps of a run; 80, or 40 of a real model.")
    ] = None,
    processes: Annotated[int, Option(min=1, help="Runs at the same time, each on one core.")] = 2,
    shuffled: Annotated[bool, Option(help="Also train each run on shuffled rewards.")] = True,
    model: Annotated[
        str, Option(help="A real model in place of the tiny one, such as smollm2-135m: hours, not minutes.")
    ] = "",
    seed: SeedOption = 0,
    out: Annotated[Path, Option("--out", "-o", help="Folder of the runs; finished ones are not run again.")] = (
        Path("runs/train-demo")
    ),
) -> None:
    """See GRPO teach a tiny reflector to read outcomes: several runs, held-out laws, controls. On the CPU."""
    from metagym.imports import require
    from metagym.training_demo.demonstration import DemoConfig, run_demo, with_real_model

    require("transformers", extra="train")

    def print_rewards(report: Any) -> None:
        console.print(f"run {report.seed}: reward {_curve(report.rewards)}", highlight=False)

    config = with_real_model(model) if model else DemoConfig()
    seeds, asked = range(seed, seed + runs), {"num_steps": steps or config.num_steps, "shuffled": shuffled}
    config = config.model_copy(update=asked)
    with resumable(out, AGAIN):
        at_once = min(processes, (1 + shuffled) * runs)
        reports = run_demo(out, seeds, config, num_processes=at_once, on_run=print_rewards, on_progress=_Lines())
    _print_reports(reports)
    console.print(f"\nThe runs are in {out}.", soft_wrap=True, highlight=False)


def train_collect_command(
    env: Annotated[str, Argument(help="A meta-environment; `metagym envs` lists them.")],
    out: Annotated[Path, Option("--out", "-o", help="The data set's folder; a stopped collection is resumed.")],
    actor: model_options.ActorOption = None,
    reflector: model_options.ReflectorOption = None,
    budget: model_options.BudgetOption = None,
    sampling: model_options.SamplingOption = None,
    reflector_sampling: model_options.ReflectorSamplingOption = None,
    loops: Annotated[int, Option(min=1, help="ICT loops.")] = 128,
    steps: Annotated[int, Option("--steps", "-n", min=1, help="Meta-steps of a loop.")] = 4,
    option: EnvOption = None,
    parquet: Annotated[bool, Option(help="Also write experience.parquet.")] = False,
    seed: SeedOption = 0,
) -> None:
    """Collect experience: ICT loops with a reflector on the meta-train families."""
    from metagym.reflectors import make_reflector
    from metagym.training.experience import collect, to_rows, write_rows

    check_out(out, "collection")
    player = model_options.read_actor(actor, sampling)
    spec = model_options.read_reflector(reflector, reflector_sampling, actor=player)
    with _make_env(env, option, player, budget, num_steps=steps) as made, resumable(out, AGAIN):
        writer = make_reflector(spec, demo=made.unwrapped.make_demo_reflector)
        experience = collect(made, writer, out, num_loops=loops, num_steps=steps, seed=seed)
    if parquet:
        write_rows(to_rows(experience), out / "experience.parquet")
    console.print(f"{len(experience)} tuples in {out}", soft_wrap=True, highlight=False)


def train_grpo_command(
    env: Annotated[str, Argument(help="The meta-environment to train on; with --data, the one that it comes from.")],
    reflector: Annotated[
        str,
        Option(metavar="MODEL", help="The reflector to train: a folder, a hub name, a GGUF file or a fetched model."),
    ],
    out: Annotated[Path, Option("--out", "-o", help="The folder of the training run; a stopped one is resumed.")],
    data: Annotated[
        Path | None, Option(help="Train single reflections on what `metagym train collect` wrote to this folder.")
    ] = None,
    actor: model_options.ActorOption = None,
    budget: model_options.BudgetOption = None,
    sampling: model_options.SamplingOption = None,
    option: EnvOption = None,
    steps: Annotated[int, Option("--steps", "-n", min=1, help="GRPO steps.")] = 25,
    meta_episode: Annotated[
        list[str] | None,
        Option(help="NAME=JSON, a field of MetaEpisodeConfig, such as num_turns=3. Only without --data."),
    ] = None,
    starts: Annotated[int, Option(min=1, help="Without --data: the number of different meta-episodes.")] = 128,
    grpo_option: Annotated[list[str] | None, Option("--grpo", help="NAME=JSON, a field of GRPOConfig.")] = None,
    reward_option: Annotated[
        list[str] | None, Option("--reward", help="NAME=JSON, a field of RewardConfig. Only with --data.")
    ] = None,
    lora_rank: Annotated[int | None, Option(min=1, help="Train a LoRA adapter of this rank.")] = None,
    dtype: Annotated[str, Option(help="float32 or bfloat16.")] = "float32",
    evaluate_every: Annotated[
        int, Option(min=0, help="Steps between evaluations on held-out families; 0: no evaluations.")
    ] = 0,
    evaluation: Annotated[
        list[str] | None,
        Option(help="NAME=JSON, a field of EvaluationConfig, such as families=[...] or num_seeds=5."),
    ] = None,
    render: Annotated[str, Option(help="package.module:function that shows a meta-step to the model.")] = (
        "metagym.training.experience:chat_messages"
    ),
    seed: SeedOption = 0,
) -> None:
    """Train a reflector with GRPO: on whole meta-episodes, or with --data on single reflections.

    With --data, environment, actor and options must be those of the collection.
    """
    from metagym.env import meta_env_of
    from metagym.evaluation import EvaluationConfig
    from metagym.evaluation import evaluate as evaluate_reflector
    from metagym.imports import import_object, require
    from metagym.training.experience import read_experience, read_lines
    from metagym.training.grpo import GRPOConfig
    from metagym.training.local_reflector import evaluate_by_ict
    from metagym.training.meta_episode_env import MetaEpisodeConfig
    from metagym.training.reward import MetaReward, RewardConfig
    from metagym.training.trainer import TrainingConfig, train, train_meta_episodes

    require("transformers", extra="train")
    if evaluation and not evaluate_every:
        raise ConfigError("--evaluation says how to evaluate, but not when: add --evaluate-every N.")
    if data is None and reward_option:
        raise ConfigError("--reward is for single reflections: add --data DIR, or write --meta-episode reward=...")
    if data is not None and meta_episode:
        raise ConfigError("--meta-episode is for whole meta-episodes: leave out --data.")
    player = model_options.read_actor(actor, sampling)
    experience = () if data is None else read_experience(data)
    settings: dict[str, Any] = {
        "grpo": read_config(GRPOConfig, grpo_option, name="--grpo"),
        "config": TrainingConfig(
            num_steps=steps, seed=seed, lora_rank=lora_rank, dtype=dtype, evaluate_every=evaluate_every
        ),
        "render": import_object(render),
    }
    with _make_env(env, option, player, budget) as made, resumable(out, AGAIN), _training_progress() as on_progress:
        meta_env: Any = made.unwrapped
        if evaluate_every:
            trained_on = {item.task.family for each in experience for item in each.meta_step.trajectories}
            settings["evaluate"] = evaluate_by_ict(
                evaluate_reflector,
                meta_env,
                read_config(EvaluationConfig, evaluation, name="--evaluation"),
                out / "evaluations",
                trained_on=trained_on or meta_env.families,
                grpo=settings["grpo"],
                render=settings["render"],
            )
        if data is not None:
            reward = MetaReward(meta_env, read_config(RewardConfig, reward_option, name="--reward"))
            last = train(reflector, experience, reward, out, **settings, on_progress=on_progress)
        else:

            def make_another() -> gymnasium.Env[Any, str]:
                other = _make_env(env, option, player, budget)
                meta_env_of(other).ledger = meta_env.ledger  # one budget for all of them and the evaluations
                return other

            whole = read_config(MetaEpisodeConfig, meta_episode, name="--meta-episode")
            last = train_meta_episodes(
                reflector,
                make_another,
                out,
                meta_episode=whole,
                num_starts=starts,
                **settings,
                on_progress=on_progress,
            )
    rewards = [line["reward"] for line in read_lines(out / "metrics.jsonl")]
    for line in read_lines(out / "evaluations.jsonl") if evaluate_every else ():
        interval = f" [{line['gain_low']:+.3f}, {line['gain_high']:+.3f}]" if "gain_low" in line else ""
        gain = f"{line['gain']:+.3f}{interval}" if "gain" in line else "not known"
        console.print(f"after {line['step']} steps: gain on held-out families {gain}")
    console.print(f"reward {_curve(rewards)}", highlight=False)
    console.print(f"The trained reflector: {last}", soft_wrap=True, highlight=False)


class ExportKind(StrEnum):
    """The kinds of file that `metagym train export` writes."""

    TURNS = "turns"
    BEST = "best"
    PREFERENCES = "preferences"
    DISTILLED = "distilled"
    BRANCHES = "branches"


def train_export_command(
    source: Annotated[Path, Argument(help="A training run; with --env, what `metagym train collect` wrote.")],
    out: Annotated[Path, Option("--out", "-o", help="The JSONL file.")],
    kind: Annotated[ExportKind, Option(help="The kind of file; see below.")] = ExportKind.TURNS,
    env: Annotated[
        str | None, Option(help="Export the actor's turns instead: the environment in which they were played.")
    ] = None,
    actor: model_options.ActorOption = None,
    sampling: model_options.SamplingOption = None,
    option: EnvOption = None,
) -> None:
    """Write reflector turns or actor turns as JSON lines, for other trainers.

    turns: as they are, with rewards. best: the best of each group, for fine-tuning. preferences: the best and the worst
    of each group, for DPO. distilled: the actor's turns in episodes with a positive score, with the environment's own
    prompt in place of the one that was learned, so that the weights learn it. branches: at every step of the actor,
    the environment's answers to the action that was taken, and to three others.
    """
    from metagym.training import export

    if env is not None:
        turns = _actor_turns(source, kind, env, option, model_options.read_actor(actor, sampling))
    elif kind in (ExportKind.DISTILLED, ExportKind.BRANCHES):
        raise ConfigError(f"--kind {kind} takes the actor's turns. Name its environment: --env.")
    else:
        turns = export.reflector_turns(source)
    made_of: dict[ExportKind, Callable[[Iterator[dict[str, Any]]], list[dict[str, Any]]]] = {
        ExportKind.TURNS: list,
        ExportKind.BRANCHES: list,
        ExportKind.BEST: export.best_turns,
        ExportKind.PREFERENCES: export.preferences,
        ExportKind.DISTILLED: export.good_turns,
    }
    console.print(f"{export.write_turns(made_of[kind](turns), out)} lines in {out}", soft_wrap=True, highlight=False)


def _actor_turns(
    source: Path, kind: ExportKind, env: str, option: list[str] | None, actor: Any
) -> Iterator[dict[str, Any]]:
    from metagym.actor import ChatActor, ToolActor
    from metagym.training import export
    from metagym.training.branching import branches
    from metagym.training.experience import read_experience
    from metagym.types import digest

    with _make_env(env, option, actor) as made:
        meta_env: Any = made.unwrapped
        player = meta_env.actor
        if not isinstance(player, ChatActor | ToolActor):
            raise ConfigError(f"Expected an actor with a model, got {type(player).__name__}: it receives no messages.")
        experience = read_experience(source, fingerprint=digest(meta_env.fingerprint))
        played = [item for each in experience for item in each.meta_step.trajectories]
        if kind is not ExportKind.BRANCHES:
            in_place = meta_env.default_prompt if kind is ExportKind.DISTILLED else None
            yield from export.actor_turns(played, player, prompt_in_place=in_place)
        elif isinstance(player, ChatActor):
            yield from branches(played, meta_env.make_inner_env, player)
        else:
            raise ConfigError("--kind branches needs an actor that writes actions as text, not as calls of tools.")


def _make_env(
    env: str, option: list[str] | None, actor: Any, budget: str | None = None, *, num_steps: int | None = None
) -> gymnasium.Env[Any, str]:
    from metagym.registration import check_options, make

    options = read_pairs(option)
    check_options(env, options)
    return make(env, num_steps=num_steps, **options, actor=actor, budget=model_options.read_budget(budget))


class _Lines:
    """Prints a line to the standard error every 30 seconds at most. A copy in another process counts for itself."""

    def __init__(self) -> None:
        self._printed_at = -math.inf

    def __call__(self, text: str) -> None:
        if time.monotonic() - self._printed_at >= PERIOD_S:
            self._printed_at = time.monotonic()
            print_text(text, to=errors)


@contextlib.contextmanager
def _training_progress() -> Iterator[Callable[[TrainingProgress], None]]:
    """Show the progress of a training run: a line that changes in a terminal, and a line every 30 seconds in a pipe."""
    print_line = _Lines()

    def show(progress: TrainingProgress) -> None:
        (status.update if errors.is_terminal else print_line)(progress.text())

    with errors.status("loading the model") as status:
        yield show


def _curve(rewards: Sequence[float | None]) -> str:
    means = thinned([value for value in rewards if value is not None], 10)
    return " ".join(f"{mean:.2f}" for mean in means)


def _print_reports(reports: Any) -> None:
    from metagym.statistics import mean_interval

    table = Table(
        *("run", "untrained", "trained", "gain", "gap closed", "permuted", "shuffled", "constant", "Bayes"),
        title="Success of the last prompt on held-out laws, after four meta-steps",
        caption="SCRIPTED actor: this tests the training loop, and says nothing about a real actor.",
        padding=0,  # with spaces the names are cut off in 80 columns
    )
    for item in reports:
        gains = (f"{item.gain:+.2f}", f"{item.gap_closed:.0%}")
        controls = (item.permuted, item.shuffled, item.constant, item.bayes)
        finals = ("-" if found is None else f"{found.final:.2f}" for found in (item.untrained, item.trained, *controls))
        table.add_row(str(item.seed), next(finals), next(finals), *gains, *finals)
    console.print(table)
    differences = {
        "trained - untrained": [item.gain for item in reports],
        "permuted outcomes - untrained": [item.permuted.final - item.untrained.final for item in reports],
    }
    if all(item.shuffled is not None for item in reports):
        differences["shuffled rewards - untrained"] = [item.shuffled.final - item.untrained.final for item in reports]
    for name, values in differences.items():
        found = mean_interval(values)
        if found is not None and found.low is not None and found.high is not None:
            interval = f"95 % t interval over {found.num} runs [{found.low:+.3f}, {found.high:+.3f}]"
            console.print(f"{name}: {found.mean:+.3f}, {interval}", highlight=False)
