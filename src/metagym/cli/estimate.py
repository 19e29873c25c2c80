"""`metagym estimate`: the cost of a run, and how many seeds an effect needs, without a call of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.table import Table
from rich.text import Text
from typer import Argument, Context, Option

from metagym.cli import model_options
from metagym.cli.console import JsonOption, print_json, print_parts, print_text
from metagym.cli.options import (
    NUM_STEPS,
    EnvOption,
    StepsOption,
    read_assignments,
    read_pairs,
    refuse_without_effect,
)
from metagym.cli.plan import estimated, plan_lines
from metagym.cli.purchases import print_what_it_buys
from metagym.errors import ConfigError
from metagym.rendering import plural

if TYPE_CHECKING:
    from metagym.budget import Prices
    from metagym.runs.cost_estimate import CostEstimate, Load


def estimate_command(
    context: Context,
    env: Annotated[str | None, Argument(help="A meta-environment; `metagym envs` lists them.")] = None,
    preset: Annotated[str | None, Option(help="A preset of `metagym evaluate`, in place of an environment.")] = None,
    steps: StepsOption = NUM_STEPS,
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
    """Estimate the cost of a run before it starts, and how many seeds a wanted effect needs. Calls no model.

    --like RUN alone shows the sources of the noise of a finished evaluation, and the precision that its cost would
    buy if it were spent again on seeds, test tasks or repetitions. --preset NAME estimates a whole evaluation, as the
    preset is. For an environment it takes the options of `metagym run`: of actor and reflector it uses the prices and
    the max_tokens of their sampling, and it says which limits of the budget the run would exceed. An option without
    effect is refused.
    """
    from pydantic import ValidationError

    from metagym.budget import Prices
    from metagym.registration import check_options, make
    from metagym.runs.cost_estimate import estimate_meta_step
    from metagym.statistics import seeds_needed

    names, of_model = set(context.params), {"actor", "reflector", "sampling", "reflector_sampling", "prices"}
    if env is None and preset is None and like is not None:
        reason = "--like RUN alone shows the noise of a finished evaluation. Name an environment, or leave it out."
        refuse_without_effect(context, names - {"like", "as_json"}, reason)
        print_what_it_buys(like, as_json)
        return
    if (env is None) == (preset is None):
        raise ConfigError("Expected an environment or --preset NAME, and not both: metagym estimate --preset ict.")
    if preset is not None:
        reason = "a preset is estimated as it is. To plan a changed one: metagym evaluate PRESET ... --dry-run."
        refuse_without_effect(context, names - of_model - {"preset", "like", "reply_tokens", "as_json"}, reason)
    if like is not None:
        refuse_without_effect(context, {"reply_tokens"}, "the replies of an earlier run are counted with --like.")
    if effect is None:
        refuse_without_effect(context, {"sd", "tasks"}, "the number of seeds follows from --effect too. Add it.")
    elif sd is not None:
        refuse_without_effect(context, {"tasks"}, "the tasks replace --sd if it is not known. Leave one out.")
    options = read_pairs(option)
    player = None if actor is None else model_options.read_actor(actor, sampling)
    asks = actor is not None or reflector is not None
    writer = model_options.read_reflector(reflector, reflector_sampling, actor=player) if asks else None
    limits, given = model_options.read_budget(budget), None
    try:
        if prices is not None:
            given = Prices.model_validate(read_assignments("--prices", prices))
    except ValidationError:
        raise ConfigError(f"--prices expects prompt=X,completion=Y (and cached=Z), got {prices!r}.") from None
    if preset is not None:
        given_prices = {"reply_tokens": reply_tokens, "prices": given, "like": like}
        _estimate_preset(preset, player, writer, as_json, **given_prices)
        return
    assert env is not None
    check_options(env, options)
    reply, reflection = model_options.longest_reply(player, reply_tokens), model_options.longest_reply(writer, 800)
    with make(env, num_steps=steps, actor="random", **options) as made:
        pilot = estimate_meta_step(made.unwrapped, reply_tokens=reply, reflection_tokens=reflection)

    num_steps = steps * seeds
    rows = _rows_of(pilot, num_steps, [model_options.prices_of(spec) or given for spec in (player, writer)], like)
    used = [found for name, found in rows.items() if name != "actor, at most"]
    totals: dict[str, float] = {
        "tokens": sum(load.prompt_tokens + load.completion_tokens for load, _ in used),
        "calls": sum(load.num_calls for load, _ in used),
        "episodes": pilot.num_pilot_episodes * num_steps,
    }
    if all(cost is not None for _, cost in used):
        totals["cost"] = sum(cost or 0.0 for _, cost in used)
    exceeded = [name for name, limit in limits.items() if limit is not None and totals.get(name, 0) > limit * seeds]
    minutes = (pilot.longest_episode + 1) * num_steps * seconds_per_call / 60
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
    lines += [
        f"The budget of {limits[name]:,} {name} a run is exceeded: about {totals[name] / seeds:,.2f} a run."
        for name in exceeded
    ]
    if effect is not None:
        source = "" if sd is not None else f" (coin flips on {tasks} test tasks; seeds add to it)"
        lines.append(
            f"To find a difference of {effect:g} with sd {assumed:.3g}{source}: {needed} seeds "
            "(paired t test, two-sided 5 %, power 80 %)."
        )
    print_parts([table, *map(Text, lines)])


def _rows_of(
    pilot: CostEstimate, num_steps: int, prices: Sequence[Prices | None], like: Path | None
) -> dict[str, tuple[Load, float | None]]:
    """Return each row's load and cost: of the pilot by role, or of an earlier run's figures in one row."""
    from metagym.runs.cost_estimate import cost_of, loads_of_run

    if like is not None:
        an_episode, a_reflection = loads_of_run(like)
        earlier = an_episode.times(pilot.num_pilot_episodes * num_steps), a_reflection.times(num_steps)
        return {f"all, like {like}": (earlier[0] + earlier[1], cost_of(earlier, prices))}
    actor, reflector = prices
    parts = {
        "actor": (pilot.actor, actor),
        "actor, at most": (pilot.actor_at_most, actor),
        "reflector": (pilot.reflector, reflector),
    }
    return {
        name: (load.times(num_steps), cost_of([load.times(num_steps)], [price]))
        for name, (load, price) in parts.items()
    }


def _estimate_preset(preset: str, actor: Any, reflector: Any, as_json: bool, **given: Any) -> None:
    from metagym.evaluation.campaign import check_names
    from metagym.evaluation.planned_use import plan
    from metagym.evaluation.preset import load_preset, with_members

    found = with_members(load_preset(preset))
    check_names(found.configs(), found.controls)
    is_stream = found.protocol == "stream"
    planned = plan(found.configs(), controls=found.controls, is_stream=is_stream)
    planned = estimated(planned, found.configs(), actor=actor, reflector=reflector, **given)
    if as_json:
        print_json(planned)
    else:
        print_text("\n".join(plan_lines(planned)))
