"""Commands about models: `metagym estimate`, `metagym serve`; and what a run has spent."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from metagym.cli.console import JsonOption, console, print_json
from metagym.cli.options import read_pairs
from metagym.errors import ConfigError
from metagym.rendering import plural


def spending(run: Path) -> list[dict[str, Any]]:
    """Return what the model calls of a run folder took, a row for each role and purpose, as JSON."""
    from metagym.runs.model_calls import load_ledger

    ledger = load_ledger(run)
    rows = []
    for role, purpose in sorted({key[:2] for key in ledger.rows()}):
        spent = ledger.spent(role=role, purpose=purpose)
        rows.append(
            {
                "role": role,
                "for": purpose,
                **spent.usage.model_dump(),
                "num_retries": spent.num_retries,
                "num_unknown": spent.num_unknown,
                "unknown_tokens": spent.unknown_tokens,
                "cost": spent.cost,
            }
        )
    return rows


def print_spending(run: Path, *, to: Console = console) -> None:
    """Print what the model calls of a run folder took, by role and purpose; nothing where there were none."""
    from metagym.runs.model_calls import load_ledger

    ledger = load_ledger(run)
    if not ledger.rows():
        return
    table = Table(
        "role", "for", *("calls", "retries", "prompt", "cached", "completion", "unknown", "cost", "waiting", "working")
    )
    for role, purpose in sorted({key[:2] for key in ledger.rows()}):
        spent = ledger.spent(role=role, purpose=purpose)
        unknown = f"{spent.num_unknown} (< {spent.unknown_tokens:,} tokens)" if spent.num_unknown else "0"
        table.add_row(
            role,
            purpose,
            f"{spent.usage.num_calls:,}",
            f"{spent.num_retries:,}",
            f"{spent.usage.prompt_tokens:,}",
            f"{spent.usage.cached_tokens:,}",
            f"{spent.usage.completion_tokens:,}",
            unknown,
            f"{spent.cost:.4f}" if spent.max_cost else "-",
            f"{spent.waiting_s:.0f} s",
            f"{spent.working_s:.0f} s",
        )
    to.print(table)


def estimate(
    env: Annotated[str, typer.Argument(help="A meta-environment; `metagym envs` lists them.")],
    steps: Annotated[int, typer.Option("--steps", "-n", min=1, help="Meta-steps of a run.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Runs, one a seed.")] = 1,
    option: Annotated[list[str] | None, typer.Option(help="NAME=JSON, an option of the environment.")] = None,
    reply_tokens: Annotated[int, typer.Option(min=1, help="Tokens of one reply of the actor.")] = 80,
    price_prompt: Annotated[float | None, typer.Option(min=0, help="Money per million prompt tokens.")] = None,
    price_completion: Annotated[float | None, typer.Option(min=0, help="Money per million completion tokens.")] = None,
    seconds_per_call: Annotated[float, typer.Option(min=0, help="How long a reply takes.")] = 1.0,
    like: Annotated[Path | None, typer.Option(help="A run folder: take its figures instead of a pilot's.")] = None,
    effect: Annotated[float | None, typer.Option(help="The difference in score you want to find.")] = None,
    sd: Annotated[float | None, typer.Option(help="How much that difference varies from seed to seed.")] = None,
    tasks: Annotated[int, typer.Option(min=1, help="Test tasks a seed, where sd is not known.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Say what a run will take before it starts, and how many seeds a wanted effect needs. Calls no model."""
    from metagym.budget import Prices
    from metagym.registration import make
    from metagym.runs.cost_estimate import estimate_meta_step, read_load
    from metagym.statistics import seeds_needed

    if (price_prompt is None) != (price_completion is None):
        raise ConfigError("Expected both --price-prompt and --price-completion, or neither.")
    prices = None if price_prompt is None else Prices(prompt=price_prompt, completion=price_completion or 0.0)
    made = make(env, num_steps=steps, **{**read_pairs(option), "actor": "random"})
    try:
        pilot = estimate_meta_step(made.unwrapped, reply_tokens=reply_tokens)  # type: ignore[arg-type]
    finally:
        made.close()
    num_steps = steps * seeds
    # The last meta-step of a run is not reflected upon.
    reflector = pilot.reflector.times((steps - 1) * seeds)
    rows = {
        "actor": pilot.actor.times(num_steps),
        "actor, at most": pilot.actor_at_most.times(num_steps),
        "reflector": reflector,
    }
    if like is not None:
        from metagym.runs import RunFolder
        from metagym.runs.model_calls import load_ledger

        played = max(1, len(RunFolder.open(like).history))
        rows = {f"all, like {like}": read_load(load_ledger(like).rows(), played).times(num_steps)}
    minutes = (pilot.longest_episode * num_steps + (steps - 1) * seeds) * seconds_per_call / 60
    assumed = sd if sd is not None else math.sqrt(0.5 / tasks)
    needed = None if effect is None else seeds_needed(effect, assumed)
    if as_json:
        loads = {
            name: {**load.model_dump(), "cost": None if prices is None else load.cost(prices)}
            for name, load in rows.items()
        }
        print_json({"loads": loads, "min_minutes": minutes, "num_seeds_needed": needed, "sd": assumed})
        return
    table = Table("", "calls", "prompt tokens", "completion tokens", "cost")
    for name, load in rows.items():
        cost = "-" if prices is None else f"{load.cost(prices):,.2f}"
        table.add_row(
            name, f"{load.num_calls:,.0f}", f"{load.prompt_tokens:,.0f}", f"{load.completion_tokens:,.0f}", cost
        )
    console.print(table)
    console.print(
        f"{plural(steps, 'meta-step')}, {plural(seeds, 'seed')}, {pilot.num_pilot_episodes} episodes a meta-step; "
        f"a pilot of {pilot.num_pilot_episodes} random episodes, {reply_tokens} tokens a reply, four bytes a token.\n"
        f"At least {minutes:.1f} min with every episode of a batch at once and "
        f"{seconds_per_call:g} s a reply.",
        highlight=False,
    )
    if effect is not None:
        known = (
            f"{assumed:.3g}" if sd is not None else f"{assumed:.3g} (coin flips on {tasks} test tasks; seeds add to it)"
        )
        console.print(
            f"To find a difference of {effect:g} with sd {known}: {needed} seeds "
            "(paired t test, two-sided 5 %, power 80 %).",
            highlight=False,
        )


def serve(
    model: Annotated[str, typer.Argument(help="The model's name or folder.")],
    engine: Annotated[str | None, typer.Option(help="`vllm` or `transformers`; by default what is installed.")] = None,
    port: Annotated[int | None, typer.Option(help="By default a free one.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until it answers.")] = 600.0,
    engine_option: Annotated[
        list[str] | None, typer.Option("--engine-option", help="A further argument of the engine's command line.")
    ] = None,
) -> None:
    """Serve a model on loopback until Ctrl-C. Nothing of it is left behind, however this ends."""
    from metagym.models import ModelServer

    if engine not in (None, "vllm", "transformers"):
        raise ConfigError(f"--engine must be 'vllm' or 'transformers', got {engine!r}.")
    server = ModelServer(model, engine=engine, port=port, options=engine_option or (), timeout_s=timeout)  # type: ignore[arg-type]
    with server:
        console.print(
            f"{model} answers at {server.base_url}; its log is {server.log}\n"
            f"metagym run MetaGym/Gates-v0 --model {model} --base-url {server.base_url}\nCtrl-C ends it.",
            highlight=False,
            soft_wrap=True,
        )
        try:
            code = server.wait()
        except KeyboardInterrupt:
            return
    raise typer.Exit(code)
