"""Checks that a reflector keeps its contract, in runs on Gates with the scripted actor."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import BudgetExceededError, ContractError, LeakError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.extensions import describe
from metagym.models import ChatModel
from metagym.optimizers import OptimizationResult, optimize
from metagym.reflectors import Reflector, ReflectorSpec, as_reflector, reflect
from metagym.reflectors.scripted_model import Reply, ScriptedReflectorModel
from metagym.runs import Manifest, RunFolder
from metagym.testing.reflector_observers import CANARY, CanaryGates, ObservedModel, WatchedReflector
from metagym.types import MetaStep, Reflection

MakeReflector = Callable[[ChatModel], ReflectorSpec]


def check_reflector(
    reflector: MakeReflector | type[Any] | Reflector,
    *,
    model: ChatModel | None = None,
    num_steps: int = 5,
    seed: int = 0,
) -> None:
    """Check that a reflector keeps its contract, on which every comparison of reflectors relies.

    `reflector` is a class or a function that makes a reflector from a model; a class that takes no `model` is called
    without one. A ready reflector, such as `as_reflector(function)`, is checked as well, except with spoilt replies and
    for budgets, because its model cannot be replaced. `model` gives good replies; by default it is the scripted
    stand-in for Gates, which knows the reply forms of this library's methods.

    >>> from metagym.reflectors.ace_style import AceStyle
    >>> check_reflector(AceStyle)

    Raises:
        ContractError: it breaks the contract; the message names the rule and the remedy.
    """
    check = _ReflectorCheck(_maker(reflector), model or ScriptedReflectorModel(), num_steps, seed)
    observed = ObservedModel(check.model)
    with contextlib.closing(GatesMetaEnv("demo")) as env:
        result = optimize(env, check.make(observed), num_steps, seed=seed)
        num_booked, num_calls = env.ledger.spent().usage.num_calls, len(observed.calls)
    _expect(
        num_booked == num_calls,
        f"every model call must be booked, but of {num_calls} calls {num_booked} were: ask the model by "
        "`metagym.models.ask`, never by `model.complete`",
    )
    check.records(result)
    check.resume(result)
    check.equal_requests(result, observed.requests)
    check.spoilt_replies()
    check.budget(num_calls)
    check.canary()


def _maker(reflector: Any) -> MakeReflector:
    if isinstance(reflector, type):
        kind: Callable[..., ReflectorSpec] = reflector
        return kind if "model" in inspect.signature(kind).parameters else lambda model: kind()
    if hasattr(reflector, "reflect"):
        return lambda model: cast(Reflector, reflector)
    return cast(MakeReflector, reflector)


@dataclass(frozen=True)
class _ReflectorCheck:
    """The checks, one method each."""

    make: MakeReflector
    model: ChatModel
    num_steps: int
    seed: int

    def records(self, result: OptimizationResult) -> None:
        """Reflections and fingerprint are JSON."""
        for reflection in _reflections(result):
            again = Reflection.model_validate_json(reflection.model_dump_json())
            rule = "a reflection must not change in a round trip through JSON: keep plain JSON values in `memory`"
            _expect(again == reflection, rule)
        try:
            json.dumps(describe(as_reflector(self.make(self.model))))
        except TypeError as error:
            _expect(False, f"`fingerprint` must be a JSON mapping ({error}): put names and numbers into it, no objects")

    def equal_requests(self, result: OptimizationResult, requests: list[str]) -> None:
        """One object gives the same requests and reflections for the same histories, in another order."""
        observed = ObservedModel(self.model)
        reflector = as_reflector(self.make(observed))
        with contextlib.closing(GatesMetaEnv("demo")) as env:
            env.reset(seed=self.seed)
            for index, before in reversed([*enumerate(_reflections(result))]):
                _expect(
                    reflect(reflector, result.history[: index + 1], replay=env.replay_async) == before,
                    f"equal histories must give equal reflections, but a second reflection on meta-step {index} "
                    "differs: keep nothing in the reflector between calls, put it into `Reflection.memory`, and "
                    "derive seeds from the history's seeds",
                )
        rule = "equal input must give equal requests (messages, seed and repetition), but they differ"
        _expect(not requests or not observed.calls or observed.requests == requests, rule)

    def resume(self, result: OptimizationResult) -> None:
        """A run that is stopped after a meta-step and resumed with a new object equals the uninterrupted one."""
        about: dict[str, Any] = {"env_id": "MetaGym/Gates-v0", "env_options": {}, "reflector": "checked"}
        manifest = Manifest(**about, seed=self.seed, num_steps=self.num_steps)

        def run(path: Path, stop: int | None) -> OptimizationResult:
            def stop_there(meta_step: MetaStep) -> None:
                if meta_step.index == stop:
                    raise _StoppedError

            folder = RunFolder.open(path, writing=True) if path.exists() else RunFolder.create(path, manifest)
            options: dict[str, Any] = {"seed": self.seed, "log": folder, "on_meta_step": stop_there}
            with folder, contextlib.closing(GatesMetaEnv("demo")) as env:
                env.record_to(folder)
                return optimize(env, self.make(self.model), self.num_steps, **options)

        with tempfile.TemporaryDirectory() as place:
            for stop in range(1, self.num_steps - 1):
                path = Path(place) / str(stop)
                with contextlib.suppress(_StoppedError):
                    run(path, stop)
                both = zip(_reflections(result), _reflections(run(path, None)), strict=True)
                for index, (before, after) in enumerate(both):
                    _expect(
                        before == after,
                        f"a run stopped after meta-step {stop} and resumed must equal the uninterrupted one, but the "
                        f"reflection on meta-step {index} differs: keep everything to remember in `Reflection.memory`",
                    )

    def spoilt_replies(self) -> None:
        """A malformed or truncated reply changes neither prompt nor memory, and is reported."""
        kinds: tuple[Reply, ...] = ("malformed", "truncated")
        for kind, since in itertools.product(kinds, (0, 2)):
            observed = ObservedModel(self.model, kind, since=since)
            with contextlib.closing(GatesMetaEnv("demo")) as env:
                result = optimize(env, self.make(observed), self.num_steps, seed=self.seed)
            spoilt = {call.meta_step for _, call in observed.calls if call.meta_step >= since}
            for before, found in zip(result.history, _reflections(result), strict=True):
                memory = before.reflection and before.reflection.memory
                if before.index not in spoilt:
                    continue
                rule = f"after a {kind} reply "
                _expect(
                    bool(found.problem), f"{rule}`Reflection.problem` must say why it could not be used; it is empty"
                )
                _expect(found.prompt == before.prompt, f"{rule}the old prompt must be kept, got {found.prompt[:80]!r}")
                _expect(found.memory == memory, f"{rule}the old memory must be kept, got {found.memory!r:.80}")

    def budget(self, num_calls: int) -> None:
        """A budget ends the run, and is not exceeded."""
        for budget in sorted({0, num_calls // 2, num_calls - 1}) if num_calls else ():
            observed = ObservedModel(self.model)
            with (
                contextlib.closing(GatesMetaEnv("demo", budget={"calls": budget})) as env,
                contextlib.suppress(BudgetExceededError),
            ):
                optimize(env, self.make(observed), self.num_steps, seed=self.seed)
                rule = f"a budget of {budget} calls must end a run of {num_calls} with BudgetExceededError"
                _expect(False, f"{rule}: do not catch it")
            made = len(observed.calls)
            _expect(made <= budget, f"a budget of {budget} calls was exceeded: {made} were made")

    def canary(self) -> None:
        """No text of a validation or test task reaches the reflector or its model."""
        observed = ObservedModel(self.model)
        watched = WatchedReflector(as_reflector(self.make(observed)))
        sizes = {"num_steps": 3, "num_seeds": 1, "num_validation": 2, "num_test": 2}
        config = EvaluationConfig(families=("law-0007",), first_seed=self.seed, **sizes)
        with contextlib.closing(CanaryGates("demo")) as env:
            try:
                evaluate(env, watched, config=config)
            except LeakError as error:
                raise ContractError(f"The reflector plays validation or test tasks: {error}") from error
        for messages, call in observed.calls:
            rule = f"no validation or test task may reach the model, but one did in meta-step {call.meta_step}"
            _expect(CANARY not in json.dumps(messages), rule)


def _reflections(result: OptimizationResult) -> list[Reflection]:
    """Return the reflections of a run, one per meta-step."""
    found = [*(meta_step.reflection for meta_step in result.history[1:]), result.last_reflection]
    return [reflection for reflection in found if reflection is not None]


class _StoppedError(Exception):
    """The run was stopped on purpose."""


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise ContractError(f"The reflector breaks its contract: {rule}.")
