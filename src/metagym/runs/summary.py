"""Who played a run, when, how long it took and what it used. It does not know the results.

Records hold no clock, so that a run that is played again gives equal records. The times are those of the files.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from metagym.budget import Spending
from metagym.files import written_at
from metagym.rendering import duration_text, plural
from metagym.runs.folder import CALLS, LOG, REPORT
from metagym.runs.manifest import MANIFEST, Manifest
from metagym.types import Record, Text


class RunSummary(Record):
    """The players, the dates and the use of one run folder."""

    actor: Text
    """The name of the actor's model, or the name of an actor without one."""
    reflector: Text
    """The method and the name of its model."""
    started: Text
    """The time at which the manifest was written: ISO 8601 in local time, to the minute."""
    duration_s: float
    """Seconds from the manifest to the last line, pauses included; a copied folder may show 0."""
    num_calls: int
    num_tokens: int
    cost: float
    """What the model calls cost; 0 if no prices are known."""

    @property
    def text(self) -> str:
        """The summary in two lines."""
        used = "no model calls"
        if self.num_calls:
            cost = f", cost {self.cost:.4f}" if self.cost else ""
            used = f"{plural(self.num_calls, 'call')}, {self.num_tokens:,} tokens{cost}"
        when = f"started {self.started[:16].replace('T', ' ')}, took {duration_text(self.duration_s)}; {used}"
        return f"actor {self.actor}, reflector {self.reflector}\n{when}"


def summary_of(path: Path, manifest: Manifest, spent: Spending) -> RunSummary:
    """Return the summary of the run folder at `path`, whose model calls used `spent`."""
    begun = written_at(path / MANIFEST)
    ended = max(written_at(path / name) for name in (MANIFEST, LOG, CALLS, REPORT))
    return RunSummary(
        actor=player_name(manifest.env_options.get("actor")),
        reflector=player_name(manifest.reflector),
        started=datetime.fromtimestamp(begun).astimezone().isoformat(timespec="minutes"),
        duration_s=ended - begun,
        num_calls=spent.usage.num_calls,
        num_tokens=spent.usage.prompt_tokens + spent.usage.completion_tokens,
        cost=spent.cost,
    )


def player_name(spec: Any) -> str:
    """Return the name of an actor or a reflector, with the method of a reflector.

    >>> player_name({"model": "Qwen/Qwen3-8B", "method": "ict"})
    'ict: Qwen/Qwen3-8B'
    """
    if not isinstance(spec, dict):
        return str(spec or "not recorded")
    model = spec.get("model") or spec.get("kind")
    named = (spec.get("method"), player_name(model) if isinstance(model, dict) else model)
    return ": ".join(str(name) for name in named if name) or "not recorded"
