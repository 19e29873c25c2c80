"""The plan that commands print before they start: episodes, calls, tokens and cost; and whether they may start."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from typer import Context, Exit, confirm

from metagym.cli.console import errors, print_json, print_text
from metagym.cli.model_options import longest_reply, names_model, prices_of
from metagym.cli.options import flag_is_set
from metagym.rendering import plural

if TYPE_CHECKING:
    from metagym.evaluation.config import EvaluationConfig
    from metagym.evaluation.planned_use import PlannedUse
    from metagym.evaluation.preset import PresetEnvironment

ASK_ABOVE_EPISODES: Final = 1_000
ASK_ABOVE_CALLS: Final = 5_000
ASK_ABOVE_COST: Final = 1.0
"""A larger plan in which a model plays is asked about, in a terminal."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def announce(
    context: Context,
    planned: Sequence[PlannedUse],
    configs: Sequence[tuple[PresetEnvironment, EvaluationConfig]],
    *,
    actor: Any,
    reflector: Any,
    budget: Mapping[str, Any],
    as_json: bool = False,
) -> None:
    """Print the plan, and its missing parts; leave after `--dry-run`, or if the user does not want to start.

    Tokens are those of random episodes. An environment that does not come with metagym is not played for that, except
    for `--dry-run`: its episodes may be slow, or cost something.
    """
    for spec in (actor, reflector):
        _check_import_path(spec)
    dry_run, is_played_by_model = flag_is_set(context, "--dry-run"), _asks_model(actor)
    is_ours = all(item.environment.startswith("MetaGym/") for item in planned)
    if is_played_by_model and (is_ours or dry_run):
        planned = estimated(planned, configs, actor=actor, reflector=reflector)
    if dry_run and as_json:
        print_json(planned)
        raise Exit
    for line in plan_lines(planned):
        print_text(line, to=errors)
    paid = sorted({str(spec["model"]) for spec in (actor, reflector) if _may_cost(spec)})
    if paid and not any(budget.get(name) is not None for name in ("tokens", "calls", "cost")):
        print_text(
            f"No budget is set, and {' and '.join(paid)} may cost money: --budget tokens=N or cost=X sets a limit.",
            to=errors,
        )
    if dry_run:
        raise Exit
    is_asked = is_played_by_model and _is_large(planned) and not flag_is_set(context, "--yes")
    if is_asked and sys.stdin.isatty() and errors.is_terminal and not confirm("Start?", default=True, err=True):
        print_text("Nothing was started.", to=errors)
        raise Exit(1)


def estimated(
    planned: Sequence[PlannedUse],
    configs: Sequence[tuple[PresetEnvironment, EvaluationConfig]],
    *,
    actor: Any,
    reflector: Any,
    reply_tokens: int = 80,
    prices: Any = None,
    like: Path | None = None,
) -> list[PlannedUse]:
    """Return the plans with the calls, tokens and cost of their models."""
    from metagym.evaluation.planned_use import with_loads

    return with_loads(
        planned,
        configs,
        reply_tokens=longest_reply(actor, reply_tokens),
        reflection_tokens=longest_reply(reflector, 800),
        prices=(prices_of(actor) or prices, prices_of(reflector) or prices),
        like=like,
    )


def plan_lines(planned: Sequence[PlannedUse]) -> list[str]:
    """Return the plan in lines that fit on a terminal of 80 columns."""
    lines = []
    for item in planned:
        families = "1 family" if item.num_families == 1 else f"{item.num_families:,} families"
        arms = f", {plural(item.num_arms, 'arm')}" if item.num_arms > 1 else ""
        size = f"{plural(item.episodes_per_step, 'episode')} a meta-step, " if item.num_reflections else ""  # a gate
        lines.append(f"plan: {item.environment}, {size}{families}, {plural(item.num_seeds, 'seed')}{arms}")
        lines += _amounts([item])
    if len(planned) > 1:
        lines += ["in all:", *_amounts(planned)]
    return lines


def _amounts(planned: Sequence[PlannedUse]) -> list[str]:
    loads = [item.load for item in planned if item.load is not None]
    episodes, reflections = (
        sum(getattr(item, name) for item in planned) for name in ("num_episodes", "num_reflections")
    )
    lines = [f"  at most {plural(episodes, 'episode')}, {plural(reflections, 'reflection')}"]
    if len(loads) == len(planned):
        calls, sent, written = (
            sum(getattr(load, name) for load in loads) for name in ("num_calls", "prompt_tokens", "completion_tokens")
        )
        lines.append(f"  about {_short(calls)} calls, {_short(sent)} prompt and {_short(written)} completion tokens")
        if all(item.cost is not None for item in planned):
            lines.append(f"  about {sum(item.cost or 0.0 for item in planned):,.2f} in the currency of the prices")
    return lines


def _short(number: float) -> str:
    return f"{number / 1e6:,.1f} million" if number >= 1e6 else f"{number:,.0f}"


def _is_large(planned: Sequence[PlannedUse]) -> bool:
    calls = sum(item.load.num_calls for item in planned if item.load is not None)
    cost = sum(item.cost or 0.0 for item in planned)
    episodes = sum(item.num_episodes for item in planned)
    return episodes > ASK_ABOVE_EPISODES or calls > ASK_ABOVE_CALLS or cost > ASK_ABOVE_COST


def _check_import_path(spec: Any) -> None:
    """Import the class or function that a spec names, so that the plan of a wrong name is refused."""
    from metagym.imports import import_object
    from metagym.reflectors.registry import find_method

    if isinstance(spec, Mapping):
        if "method" in spec:
            find_method(spec["method"])
    elif isinstance(spec, str) and ":" in spec and not Path(spec).is_dir():
        import_object(spec)


def _asks_model(spec: Any) -> bool:
    """Whether a spec names a model that will be called: its replies come from no cassette."""
    if not names_model(spec) or "recorded" in spec:
        return False
    client = spec.get("client")  # a value of another type is refused when the model is made
    return not (isinstance(client, Mapping) and client.get("offline"))


def _may_cost(spec: Any) -> bool:
    from metagym.models import is_local

    if not _asks_model(spec) or is_local(str(spec["model"])):
        return False
    return urlsplit(spec.get("base_url") or "https://api.openai.com").hostname not in _LOOPBACK
