"""The command line of training: `metagym train demo`, `collect`, `grpo`. It only asks and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from metagym.cli.models import read_reflector
from metagym.errors import ConfigError

app = typer.Typer(
    help="Train reflectors: collect experience, run GRPO, see it learn.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console()

SeedOption = Annotated[int, typer.Option(help="Fixes all chance.")]
ActorOption = Annotated[str | None, typer.Option(help="`demo`, `random`, or package.module:MyActor.")]
ModelOption = Annotated[str | None, typer.Option(help="The actor's model.")]
UrlOption = Annotated[str | None, typer.Option(help="Its server, such as http://localhost:8000/v1.")]
KeyOption = Annotated[str | None, typer.Option(help="The environment variable that holds its key.")]
EnvOption = Annotated[list[str] | None, typer.Option("--option", help="NAME=JSON, an option of the environment.")]


@app.command()
def demo(
    runs: Annotated[int, typer.Option(min=2, max=10, help="Training runs: the replicates of the t interval.")] = 5,
    steps: Annotated[int, typer.Option("--steps", "-n", min=1, help="GRPO steps of a run.")] = 80,
    processes: Annotated[int, typer.Option(min=1, help="Runs at a time, one core each.")] = 2,
    shuffled: Annotated[bool, typer.Option(help="Also train each run on shuffled rewards.")] = True,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the runs; finished ones are not run again.")] = (
        Path("runs/train-demo")
    ),
) -> None:
    """See GRPO teach a tiny reflector to read outcomes: several runs, held-out laws, controls. On the CPU."""
    from metagym.training.extras import require

    require("torch"), require("transformers")
    from metagym.training.demo import DemoConfig, run_demo

    def told(report: Any) -> None:
        console.print(f"run {report.seed}: reward {_curve(report.rewards)}", highlight=False)

    seeds = range(seed, seed + runs)
    config = DemoConfig(num_steps=steps, shuffled=shuffled)
    reports = run_demo(out, seeds, config, num_processes=min(processes, runs), on_run=told)
    _print_reports(reports)
    console.print(f"\nThe runs lie in {out}.", soft_wrap=True, highlight=False)


@app.command()
def collect(
    env: Annotated[str, typer.Argument(help="A meta-environment; `metagym envs` lists them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The data set's folder; what is there is gone on with.")],
    actor: ActorOption = None,
    actor_model: ModelOption = None,
    actor_base_url: UrlOption = None,
    reflector: Annotated[
        str | None, typer.Option(help="A method's name, `demo`, a model's folder, or package.module:MyReflector.")
    ] = None,
    reflector_model: Annotated[str | None, typer.Option(help="The reflector's model, on a server.")] = None,
    reflector_base_url: UrlOption = None,
    api_key_env: KeyOption = None,
    loops: Annotated[int, typer.Option(min=1, help="ICT loops.")] = 128,
    steps: Annotated[int, typer.Option("--steps", "-n", min=1, help="Meta-steps of a loop.")] = 4,
    option: EnvOption = None,
    parquet: Annotated[bool, typer.Option(help="Also write experience.parquet.")] = False,
    seed: SeedOption = 0,
) -> None:
    """Collect experience: ICT loops with a reflector on the meta-train families."""
    from metagym.experiment import make_meta_env
    from metagym.specs import make_reflector
    from metagym.training.data import collect as collect_experience
    from metagym.training.data import write_parquet

    made = make_meta_env(env, _options(option, actor, actor_model, actor_base_url, api_key_env), num_steps=steps)
    try:
        model = None
        if reflector is None or reflector_model is not None:
            model = _model("reflector", reflector_model, reflector_base_url, api_key_env)
        spec = read_reflector(reflector, model)
        writer = make_reflector(spec, demo=made.unwrapped.make_demo_reflector)  # type: ignore[attr-defined]
        experience = collect_experience(made, writer, out, num_loops=loops, num_steps=steps, seed=seed)
    finally:
        made.close()
    if parquet:
        write_parquet(experience, out / "experience.parquet")
    console.print(f"{len(experience)} tuples in {out}", soft_wrap=True, highlight=False)


@app.command()
def grpo(
    env: Annotated[str, typer.Argument(help="The meta-environment that the experience comes from.")],
    model: Annotated[str, typer.Option(help="The reflector to train: a model's folder or a hub name.")],
    data: Annotated[Path, typer.Option(help="What `metagym train collect` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The training run's folder; a stopped one is gone on with.")],
    actor: ActorOption = None,
    actor_model: ModelOption = None,
    actor_base_url: UrlOption = None,
    api_key_env: KeyOption = None,
    option: EnvOption = None,
    steps: Annotated[int, typer.Option("--steps", "-n", min=1, help="GRPO steps.")] = 25,
    grpo_option: Annotated[list[str] | None, typer.Option("--grpo", help="NAME=JSON, a field of GRPOConfig.")] = None,
    reward_option: Annotated[
        list[str] | None, typer.Option("--reward", help="NAME=JSON, a field of RewardConfig.")
    ] = None,
    lora_rank: Annotated[int | None, typer.Option(min=1, help="Train a LoRA adapter of this rank.")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    render: Annotated[str, typer.Option(help="package.module:function that shows a meta-step to the model.")] = (
        "metagym.training.data:chat_messages"
    ),
    seed: SeedOption = 0,
) -> None:
    """Train a reflector with GRPO on collected experience; the actor must be the one that collected it."""
    from metagym.training.extras import require

    require("torch"), require("transformers")
    from metagym.experiment import make_meta_env
    from metagym.specs import import_object
    from metagym.training.data import read_experience
    from metagym.training.grpo import GRPOConfig
    from metagym.training.loop import LoopConfig, train
    from metagym.training.reward import MetaReward, RewardConfig

    made = make_meta_env(env, _options(option, actor, actor_model, actor_base_url, api_key_env))
    try:
        last = train(
            model,
            read_experience(data),
            MetaReward(made.unwrapped, _config(RewardConfig, reward_option)),  # type: ignore[arg-type]
            out,
            grpo=_config(GRPOConfig, grpo_option),
            loop=LoopConfig(num_steps=steps, seed=seed, lora_rank=lora_rank, dtype=dtype),
            render=import_object(render),
        )
    finally:
        made.close()
    rewards = [json.loads(line)["reward"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    console.print(f"reward {_curve(rewards)}", highlight=False)
    console.print(f"The trained reflector: {last}", soft_wrap=True, highlight=False)


def _options(
    option: list[str] | None, actor: str | None, model: str | None, base_url: str | None, key: str | None
) -> dict[str, Any]:
    return {**_pairs(option), "actor": actor or _model("actor", model, base_url, key)}


def _model(role: str, model: str | None, base_url: str | None, api_key_env: str | None) -> dict[str, Any]:
    if model is None:
        raise ConfigError(
            f"No {role} is named, and training plays no stand-in unasked. Say --{role}-model NAME (with "
            f"--{role}-base-url for a server of your own), or --{role} demo for the scripted one."
        )
    spec = {"model": model, "base_url": base_url, "api_key_env": api_key_env}
    return {name: value for name, value in spec.items() if value is not None}


def _config(kind: Any, options: list[str] | None) -> Any:
    from pydantic import ValidationError

    try:
        return kind(**_pairs(options))
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(kind.model_fields)
        name = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{kind.__name__} got {name}={first['input']!r}: {first['msg']}. Fields: {known}.") from None


def _pairs(options: list[str] | None) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"Expected NAME=VALUE, got {option!r}.")
        try:
            read[name] = json.loads(value)
        except ValueError:
            read[name] = value  # a plain word needs no quotes
    return read


def _curve(rewards: Any) -> str:
    """Return some ten points of the curve, each the mean of its stretch."""
    known = [value for value in rewards if value is not None]
    size = max(1, -(-len(known) // 10))
    parts = [known[start : start + size] for start in range(0, len(known), size)]
    return " ".join(f"{sum(part) / len(part):.2f}" for part in parts)


def _print_reports(reports: Any) -> None:
    from metagym.statistics import mean_interval

    caption = "SCRIPTED actor: this tests the training loop, and says nothing about language models."
    table = Table(
        *("run", "untrained", "trained", "gain", "gap closed", "permuted", "shuffled", "constant", "Bayes"),
        title="Success of the last prompt on held-out laws, after four meta-steps",
        caption=caption,
    )
    for item in reports:
        table.add_row(
            str(item.seed),
            f"{item.untrained.final:.2f}",
            f"{item.trained.final:.2f}",
            f"{item.gain:+.2f}",
            f"{item.gap_closed:.0%}",
            f"{item.permuted.final:.2f}",
            "-" if item.shuffled is None else f"{item.shuffled.final:.2f}",
            f"{item.constant.final:.2f}",
            f"{item.bayes.final:.2f}",
        )
    console.print(table)
    rows = [("trained - untrained", [item.gain for item in reports])]
    rows.append(("permuted outcomes - untrained", [item.permuted.final - item.untrained.final for item in reports]))
    if all(item.shuffled is not None for item in reports):
        rows.append(("shuffled rewards - untrained", [item.shuffled.final - item.untrained.final for item in reports]))
    for name, values in rows:
        found = mean_interval(values)
        if found is not None and found.low is not None and found.high is not None:
            interval = f"95 % t interval over {found.num} runs [{found.low:+.3f}, {found.high:+.3f}]"
            console.print(f"{name}: {found.mean:+.3f}, {interval}", highlight=False)
