"""One meta-step over a cluster, calculated: what each part needs, and what saturates first. Put your own numbers in.

    python benchmarks/cluster_calculation.py [--episodes 100000] [--gpus 64] [--client-processes 64] ...

The defaults were measured on a two-core machine (docs/results/cluster.md says how). Those of the model server are
assumptions.

>>> plan = Plan(episodes=1_000, gpus=1, client_processes=1)
>>> needs(plan)["model server"]
1000.0
>>> saturated(plan)
'model server'
>>> saturated(Plan(gpus=10_000, client_processes=1))
'client CPU'
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What is to be played, on what, at which cost. Seconds are of one core, but for the server's."""

    episodes: int = 100_000
    steps: int = 25
    """Turns an episode."""
    reply_tokens: int = 100
    """Tokens a reply."""
    gpus: int = 64
    gpu_tokens_per_s: int = 2_500
    """Reply tokens a second from one GPU with a full batch: assumed; measure your server's."""
    call_s: float = 2.0
    """How long one call takes on the loaded server: assumed."""
    client_processes: int = 64
    """Ray hosts, or worker processes of several drivers: each has an event loop of its own."""
    env_processes: int = 64
    call_cpu_s: float = 1.5e-3
    """The model client, a call."""
    step_cpu_s: float = 40e-6
    """The engine, a step."""
    env_cpu_s: float = 0.3e-3
    """The inner environment, a step: native ALFWorld. MiniHack takes 0.1, TextWorld 77."""
    home_cpu_s: float = 1e-3
    """The driver, an episode that comes home over Ray."""
    record_cpu_s: float = 0.3e-3
    """The driver, an episode that is written to the run folder."""
    step_bytes: int = 2_600
    """A step's line on the disk, with 2,000 characters of observation."""
    disk_bytes_per_s: float = 200e6
    flight_bytes: int = 130_000
    """An episode in flight: texts, messages, records."""
    kept_bytes: int = 80_000
    """A finished trajectory in memory."""


def needs(plan: Plan) -> dict[str, float]:
    """Return the seconds that each part needs for the meta-step, were it alone; the meta-step takes the most."""
    steps = plan.episodes * plan.steps
    return {
        "model server": steps * plan.reply_tokens / (plan.gpus * plan.gpu_tokens_per_s),
        "client CPU": steps * (plan.call_cpu_s + plan.step_cpu_s) / plan.client_processes,
        "environments": steps * plan.env_cpu_s / plan.env_processes,
        "driver": plan.episodes * (plan.home_cpu_s + plan.record_cpu_s),
        "disk": steps * plan.step_bytes / plan.disk_bytes_per_s,
    }


def saturated(plan: Plan) -> str:
    """Return the part that needs longest."""
    found = needs(plan)
    return max(found, key=lambda name: found[name])


def in_flight(plan: Plan) -> float:
    """Return the episodes in flight that keep the model server full (Little's law)."""
    return plan.gpus * plan.gpu_tokens_per_s / plan.reply_tokens * plan.call_s


def describe(plan: Plan) -> str:
    """Return the calculation as text."""
    found = needs(plan)
    longest = max(found.values())
    lines = [f"{plan.episodes:,} episodes of {plan.steps} steps, {plan.gpus} GPUs, {plan.client_processes} clients"]
    lines += [f"  {name:13}{seconds:9,.0f} s  {seconds / longest:5.0%}" for name, seconds in found.items()]
    flight = in_flight(plan)
    sizes = {
        "in flight": flight * plan.flight_bytes,
        "kept by the driver": plan.episodes * plan.kept_bytes,
        "on the disk": plan.episodes * plan.steps * plan.step_bytes,
    }
    lines.append(f"  {saturated(plan)} saturates first; {flight:,.0f} episodes in flight keep the server full")
    lines.append("  " + ", ".join(f"{size / 1e9:.1f} GB {what}" for what, size in sizes.items()))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field in dataclasses.fields(Plan):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    print(describe(Plan(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
