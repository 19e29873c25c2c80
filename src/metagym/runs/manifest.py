"""The manifest of a run: the options it was started with, and both fingerprints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from metagym.errors import RunFolderError
from metagym.optional_attributes import without_addresses
from metagym.types import SCHEMA_VERSION, Json, Record, Text

MANIFEST = "manifest.json"


class Manifest(Record):
    """The options of a run: enough to run it again."""

    schema_version: Literal[1] = SCHEMA_VERSION
    env_id: Text
    env_options: dict[Text, Json] = {}
    """Keyword arguments of `gym.make`, including the actor's spec."""
    reflector: Json
    """The reflector's spec: a name, an import path, or a mapping."""
    seed: int
    num_steps: int
    first_prompt: Text | None = None
    measurement: dict[Text, Json] = {}
    """The fingerprint of the measurement: it must match before two runs are compared."""
    arm: Json = None
    """The fingerprint of the arm, that is of the reflector: comparisons compare it."""
    scripted: bool = False
    """Whether a script plays or reflects."""
    evaluation: dict[Text, Json] | None = None
    """The protocol if the run is an evaluation of many meta-episodes; None if it is one meta-episode."""

    @field_validator("measurement")
    @classmethod
    def _without_wording(cls, measurement: dict[str, Any]) -> dict[str, Any]:
        """Version 0.1 counted the wording of the primary endpoint as part of the measurement."""
        protocol = measurement.get("evaluation")
        if not isinstance(protocol, dict):
            return measurement
        kept = {name: value for name, value in protocol.items() if name != "primary_endpoint"}
        return {**measurement, "evaluation": kept}

    @property
    def kind(self) -> Literal["run", "evaluation", "stream"]:
        """What the folder holds: one meta-episode, an evaluation, or an evaluation over a stream of families."""
        if self.evaluation is None:
            return "run"
        return "stream" if self.evaluation.get("protocol") == "stream" else "evaluation"

    @property
    def is_tuning(self) -> bool:
        """Whether it is the evaluation that a constant prompt is tuned by."""
        return self.evaluation is not None and self.evaluation.get("kind") == "tuning"

    @property
    def size(self) -> tuple[int, int]:
        """How many meta-steps were asked for and, at most, how many episodes; 0 means not known."""
        if self.evaluation is None:
            batch = self.measurement.get("episodes_per_step")
            return self.num_steps, self.num_steps * batch if isinstance(batch, int) else 0
        try:
            has_kinds = self.evaluation.get("has_kinds", False)
            config = self.evaluation["config"]
            num_steps, num_episodes = evaluation_size(config, is_stream=self.kind == "stream", has_kinds=has_kinds)
            return num_steps, num_episodes + self.is_tuning * num_tuning_episodes(config)
        except (KeyError, TypeError):
            return 0, 0


def evaluation_size(config: Mapping[str, Any], *, is_stream: bool = False, has_kinds: bool = False) -> tuple[int, int]:
    """Return how many meta-steps and, at most, how many episodes an `EvaluationConfig`, given as a mapping, asks for.

    Equal prompts are scored on the validation tasks only once, so that fewer episodes may be played. With `has_kinds`
    each reflection is also scored on fresh tasks of the kinds of its batch, before and after it. Episodes that a
    reflector plays on its own come on top, unless a learning budget limits the episodes.
    """
    num_loops = len(config["families"]) * config["num_seeds"]
    num_steps, num_test = (
        config["num_steps"],
        config["num_test"] * (1 if is_stream else config.get("test_repetitions", 1)),
    )
    learning = num_learning_episodes({**config, "replay": config["replay"] and not is_stream}, has_kinds=has_kinds)
    if is_stream:  # sp_0 on the test tasks of all families, and again after each family's block
        scoring = (len(config["families"]) + 1) * num_test
    else:
        scoring = (num_steps + 1) * config["num_validation"] + (3 if config["num_validation"] else 2) * num_test
    return num_loops * num_steps, num_loops * (learning + scoring)


def num_learning_episodes(config: Mapping[str, Any], *, has_kinds: bool = False) -> int:
    """Return how many episodes one meta-episode learns from, at most, and is replayed on; see `evaluation_size`.

    >>> num_learning_episodes({"num_steps": 10, "episodes_per_step": 5, "replay": True})
    100
    >>> num_learning_episodes({"learning_budget": {"episodes": 12}})
    12
    """
    budget = config.get("learning_budget")
    limit: int | None = None if budget is None else dict(budget).get("episodes")
    if limit is not None:
        return limit
    plays = 1 + (1 + 2 * has_kinds if config["replay"] and budget is None else 0)
    return int(config["num_steps"] * config["episodes_per_step"] * plays)


def num_tuning_episodes(config: Mapping[str, Any]) -> int:
    """Return how many episodes score the candidates of a tuning: `sp_0` and one prompt a family, on every family."""
    num_families: int = len(config["families"])
    return (1 + num_families) * num_families * int(config["num_validation"])


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the run folder at `path`; RunFolderError names the fault."""
    expected = f"Expected a run folder (one with {MANIFEST} in it) at {path}"
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
        version = json.loads(text).get("schema_version")
        if version != SCHEMA_VERSION:
            raise RunFolderError(
                f"{path} has schema version {version!r}, this metagym reads {SCHEMA_VERSION}. Install the version of "
                "metagym that wrote it."
            )
        return Manifest.model_validate_json(text)
    except FileNotFoundError as error:
        raise RunFolderError(f"{expected}. `metagym runs FOLDER` lists the runs in a folder.") from error
    except OSError as error:
        raise RunFolderError(f"{expected}: {error}.") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise RunFolderError(f"{path / MANIFEST} is broken: {error}") from error


def differing_fields(then: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield each field whose values differ: its path, such as `evaluation.num_test`, and both values.

    >>> list(differing_fields({"actor": {"model": "a", "seed": 1}}, {"actor": {"model": "b", "seed": 1}}))
    [('actor.model', 'a', 'b')]
    """
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*then, *now]):
            yield from differing_fields(then.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif then != now:
        yield path, then, now


def differences_in_words(then: Any, now: Any, form: str) -> list[str]:
    """Return each field that differs, its path and both values in `form`; the digest of a role's tasks is not shown.

    The address of a server is no part of a measurement or an arm, so that it may differ.

    >>> then, now = {"num_test": 10, "task_lists": {"test": "3fa8"}}, {"num_test": 20, "task_lists": {"test": "9bc2"}}
    >>> differences_in_words(then, now, "{}: was {}, is {}")
    ['num_test: was 10, is 20', 'the tasks of the role test differ']
    """
    found = []
    for path, one, two in differing_fields(without_addresses(then), without_addresses(now)):
        fields = path.split(".")
        is_task_list = "task_lists" in fields[:-1] and one and two
        said = form.format(path, f"{one!r:.80}", f"{two!r:.80}")
        found.append(f"the tasks of the role {fields[-1]} differ" if is_task_list else said)
    return found
