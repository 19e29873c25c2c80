"""The players, start, duration and usage of a run. It does not know the results.

Records hold no clock, so that a run that is played again gives equal records. The times are those that the run folder
keeps beside them; for older folders, those of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from metagym.budget import Spending
from metagym.files import written_at
from metagym.rendering import duration_text, plural
from metagym.runs.folder import CALLS, LOG, REPORT
from metagym.runs.manifest import MANIFEST, Manifest
from metagym.runs.times import is_open, read_times
from metagym.types import Record, Text


class RunSummary(Record):
    """The players, the dates and the use of one run folder."""

    actor: Text
    """The name of the actor's model, or the name of an actor without one."""
    reflector: Text
    """The method and the name of its model."""
    started: Text
    """When the first process began to write: ISO 8601 in local time, to the minute."""
    ended: Text
    """When the last process ended, or wrote its last line if it still runs or crashed."""
    has_ended: bool = True
    """Whether the last process ended by itself; otherwise it still runs, or crashed."""
    duration_s: float
    """Seconds in which a process wrote to the run. Pauses are included only for older folders."""
    num_calls: int
    num_tokens: int
    cost: float
    """What the model calls cost; 0 if no prices are known."""

    @property
    def text(self) -> str:
        """The summary in two lines."""
        return f"actor {self.actor}, reflector {self.reflector}\n{self.when}; {self.used}"

    @property
    def used(self) -> str:
        """The use in words."""
        cost = f", cost {self.cost:.4f}" if self.cost else ""
        return (
            f"{plural(self.num_calls, 'call')}, {self.num_tokens:,} tokens{cost}"
            if self.num_calls
            else "no model calls"
        )

    @property
    def when(self) -> str:
        """The times in words; the date of the end is left out on the same day."""
        end = "ended" if self.has_ended else "last line"
        started, ended = (text[:16].replace("T", " ") for text in (self.started, self.ended))
        ended = ended[11:] if ended[:10] == started[:10] else ended
        return f"started {started}, {end} {ended}, took {duration_text(self.duration_s)}"


def summary_of(path: Path, manifest: Manifest, spent: Spending) -> RunSummary:
    """Return the summary of the run folder at `path`, whose model calls used `spent`."""
    last_change = max(written_at(path / name) for name in (MANIFEST, LOG, CALLS, REPORT))
    sessions = read_times(path, last_change=last_change).sessions
    periods = [(item.started.timestamp(), item.ended.timestamp()) for item in sessions if item.ended is not None]
    periods = periods or [(written_at(path / MANIFEST), last_change)]
    return RunSummary(
        actor=_with_file(player_name(manifest.env_options.get("actor")), manifest.measurement.get("actor")),
        reflector=_with_file(player_name(manifest.reflector), manifest.arm),
        started=_local_time(periods[0][0]),
        ended=_local_time(periods[-1][1]),
        has_ended=not is_open(path),
        duration_s=sum(ended - started for started, ended in periods),
        num_calls=spent.usage.num_calls,
        num_tokens=spent.usage.prompt_tokens + spent.usage.completion_tokens,
        cost=spent.cost,
    )


def summary_of_all(summaries: Sequence[RunSummary]) -> RunSummary:
    """Return one summary of at least one run: all names, the first start, the last end, and the sums of the rest."""
    return RunSummary(
        actor=", ".join(dict.fromkeys(item.actor for item in summaries)),
        reflector=", ".join(dict.fromkeys(item.reflector for item in summaries)),
        started=min((item.started for item in summaries), key=datetime.fromisoformat),
        ended=max((item.ended for item in summaries), key=datetime.fromisoformat),
        has_ended=all(item.has_ended for item in summaries),
        duration_s=sum(item.duration_s for item in summaries),
        num_calls=sum(item.num_calls for item in summaries),
        num_tokens=sum(item.num_tokens for item in summaries),
        cost=sum(item.cost for item in summaries),
    )


def _with_file(name: str, fingerprint: Any) -> str:
    """Return the name with the file in place of `local`."""
    model = fingerprint.get("model") if isinstance(fingerprint, dict) else None
    is_local = name == "local" or name.endswith(": local")
    return f"{name} ({model['model']})" if is_local and isinstance(model, dict) and model.get("model") else name


def _local_time(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp).astimezone().isoformat(timespec="minutes")


def player_name(spec: Any) -> str:
    """Return the name of an actor or a reflector, with the method of a reflector.

    >>> player_name({"model": "Qwen/Qwen3-8B", "method": "ict"})
    'ict: Qwen/Qwen3-8B'
    >>> player_name({"kind": "ChatReflector", "model": {"kind": "OpenAIChatModel", "model": "Qwen/Qwen3-8B"}})
    'ChatReflector: Qwen/Qwen3-8B'
    >>> player_name({"kind": "function", "name": "lessons:reflect"})
    'lessons:reflect'
    """
    if not isinstance(spec, dict):
        return str(spec or "not recorded")
    inner = spec.get("model") or spec.get("reflector")
    named: tuple[Any, Any] = (spec.get("method"), inner or spec.get("name") or spec.get("kind"))
    if isinstance(inner, dict):  # a fingerprint, such as that of an object
        named = (spec.get("method") or spec.get("kind"), player_name(inner))
    return ": ".join(str(name) for name in named if name) or "not recorded"
