"""`metagym estimate`: what a run will use, before it starts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from typer import Argument, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, console, print_json
from metagym.cli.options import EnvOption, read_assignments, read_pairs
from metagym.cli.run import StepsOption
from metagym.errors import ConfigError
from metagym.rendering import plural

if TYPE_CHECKING:
    from metagym.budget import Prices


def estimate_command(
    env: Annotated[str, Argument(help="A meta-environment; `metagym envs` lists them.")],
    steps: StepsOption = 10,
    seeds: Annotated[int, Option(min=1, help="Runs, one for each seed.")] = 1,
    actor: model_options.ActorOption = None,
    reflector: model_options.ReflectorOption = None,
    budget: model_options.BudgetOption = None,
    sampling: model_options.SamplingOption = None,
    reflector_sampling: model_options.ReflectorSamplingOption = None,
    option: EnvOption = None,
    reply_tokens: Annotated[int, Option(min=1, help="Tokens of one reply of the actor.")] = 80,
    prices: Annotated[
        str | None,
        Option(
            metavar="NAME=X,...",
            help="Money per million tokens, prompt=X,completion=Y, for models whose FILE.json names no prices.",
        ),
    ] = None,
    seconds_per_call: Annotated[float, Option(min=0, help="Seconds that a reply takes.")] = 1.0,
    like: Annotated[Path | None, Option(help="A run folder: use its figures instead of a pilot's.")] = None,
    effect: Annotated[float | None, Option(help="The difference in score that you want to find.")] = None,
    sd: Annotated[float | None, Option(help="How much that difference varies from seed to seed.")] = None,
    tasks: Annotated[int, Option(min=1, help="Test tasks for each seed, if sd is not known.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Estimate what a run will use before it starts, and how many seeds a wanted effect needs. Calls no model.

    It takes the options of `metagym run`: of actor and reflector it uses the prices and the max_tokens of their
    sampling, and it says which limits of the budget the run would exceed.
    """
    from metagym.registration import check_options, make
    from metagym.runs import RunFolder
    from metagym.runs.cost_estimate import Load, estimate_meta_step, read_load
    from metagym.runs.folder import load_ledger
    from metagym.statistics import seeds_needed

    options = read_pairs(option)
    check_options(env, options)
    player = writer = None
    if actor is not None:
        player = model_options.read_actor(actor, sampling)
    if actor is not None or reflector is not None:
        writer = model_options.read_reflector(reflector, reflector_sampling, actor=player)
    limits, given = model_options.read_budget(budget), None if prices is None else _read_prices(prices)
    reply, reflection = _longest_reply(player, reply_tokens), _longest_reply(writer, 800)
    with make(env, num_steps=steps, actor="random", **options) as made:
        pilot = estimate_meta_step(made.unwrapped, reply_tokens=reply, reflection_tokens=reflection)

    def row(load: Load, price: Prices | None) -> tuple[Load, float | None]:
        times = load.times(steps * seeds)
        return times, None if price is None else times.cost(price)

    actor_prices, reflector_prices = _prices_of(player) or given, _prices_of(writer) or given
    rows = {
        "actor": row(pilot.actor, actor_prices),
        "actor, at most": row(pilot.actor_at_most, actor_prices),
        "reflector": row(pilot.reflector, reflector_prices),
    }
    if like is not None:
        played = max(1, len(RunFolder.open(like).history))
        rows = {f"all, like {like}": row(read_load(load_ledger(like).rows(), played), actor_prices)}
    used = [found for name, found in rows.items() if name != "actor, at most"]
    totals: dict[str, float] = {
        "tokens": sum(load.prompt_tokens + load.completion_tokens for load, _ in used),
        "calls": sum(load.num_calls for load, _ in used),
        "episodes": pilot.num_pilot_episodes * steps * seeds,
    }
    if all(cost is not None for _, cost in used):
        totals["cost"] = sum(cost or 0.0 for _, cost in used)
    exceeded = [name for name, limit in limits.items() if limit is not None and totals.get(name, 0) > limit * seeds]
    minutes = (pilot.longest_episode + 1) * steps * seeds * seconds_per_call / 60
    assumed = sd if sd is not None else math.sqrt(0.5 / tasks)
    needed = None if effect is None else seeds_needed(effect, assumed)
    if as_json:
        loads = {name: {**dict(load), "cost": cost} for name, (load, cost) in rows.items()}
        found = {"loads": loads, "min_minutes": minutes, "num_seeds_needed": needed, "sd": assumed}
        print_json({**found, "exceeded": exceeded})
        return
    table = Table("", "calls", "prompt tokens", "completion tokens", "cost")
    for name, (load, cost) in rows.items():
        counts = (f"{count:,.0f}" for count in (load.num_calls, load.prompt_tokens, load.completion_tokens))
        table.add_row(name, *counts, "-" if cost is None else f"{cost:,.2f}")
    lines = [
        f"{plural(steps, 'meta-step')}, {plural(seeds, 'seed')}, {pilot.num_pilot_episodes} episodes a meta-step; "
        f"a pilot of {pilot.num_pilot_episodes} random episodes, {reply} tokens a reply, four bytes a token.",
        f"At least {minutes:.1f} min with every episode of a batch at once and {seconds_per_call:g} s a reply.",
    ]
    for name in exceeded:
        each = totals[name] / seeds
        lines.append(f"The budget of {limits[name]:,} {name} a run is exceeded: about {each:,.2f} a run.")
    if effect is not None:
        source = "" if sd is not None else f" (coin flips on {tasks} test tasks; seeds add to it)"
        lines.append(
            f"To find a difference of {effect:g} with sd {assumed:.3g}{source}: {needed} seeds "
            "(paired t test, two-sided 5 %, power 80 %)."
        )
    console.print(table, *lines, sep="\n", highlight=False)


def _read_prices(text: str) -> Prices:
    from pydantic import ValidationError

    from metagym.budget import Prices

    try:
        return Prices.model_validate(read_assignments("--prices", text))
    except ValidationError:
        raise ConfigError(f"--prices expects prompt=X,completion=Y (and cached=Z), got {text!r}.") from None


def _prices_of(spec: Any) -> Prices | None:
    from metagym.budget import Prices

    prices = spec.get("client", {}).get("prices") if isinstance(spec, dict) else None
    return None if prices is None else Prices.model_validate(prices)


def _longest_reply(spec: Any, tokens: int) -> int:
    """Return `tokens`, or the limit that the model's sampling sets, if that is smaller."""
    sampling = spec.get("sampling") or {} if isinstance(spec, dict) else {}
    return min(tokens, int(sampling.get("max_tokens", sampling.get("max_completion_tokens", tokens))))
