"""Checks that a reflector keeps its contract, in runs on Gates with the scripted actor."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium

from metagym.envs.gates.env import GatesEnv, GatesTaskSet
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import BudgetExceededError, ConfigError, ContractError, LeakError, with_place
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.models import Call, ChatModel
from metagym.optimizers import OptimizationResult, optimize
from metagym.optional_attributes import describe, extension_of
from metagym.reflectors import Reflector, ReflectorSpec, Replay, as_reflector, bind, reflect
from metagym.reflectors.protocol import checked
from metagym.reflectors.scripted_model import Reply, ScriptedReflectorModel, spoil
from metagym.runs import Manifest, RunFolder
from metagym.types import Completion, Message, MetaStep, Reflection

MakeReflector = Callable[[ChatModel], ReflectorSpec]
CANARY = "yellow canary"
"""A text in every observation of validation and test tasks, and nowhere else."""


def check_reflector(
    reflector: MakeReflector | type[Any] | Reflector,
    *,
    model: ChatModel | None = None,
    num_steps: int = 5,
    seed: int = 0,
) -> None:
    """Raise ContractError unless a reflector keeps its contract, on which every comparison of reflectors relies.

    The message names the rule and the remedy. `reflector` is a class or a function that makes a reflector from a model;
    a class that takes no `model` is called without one. A ready reflector, such as `as_reflector(function)`, is checked
    as well, except with spoilt replies and for budgets, because its model cannot be replaced. `model` gives good
    replies; by default it is the script for Gates, which knows the reply forms of this library's methods.

    >>> from metagym.reflectors.ace_style import AceStyle
    >>> check_reflector(AceStyle)
    """
    check = _ReflectorCheck(_maker(reflector), model or ScriptedReflectorModel(), num_steps, seed)
    observed = _ObservedModel(check.model)
    with GatesMetaEnv("demo") as env:
        result = check.run(env, observed)
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
        return _reported(kind if "model" in inspect.signature(kind).parameters else lambda model: kind())
    if hasattr(reflector, "reflect"):
        return lambda model: cast(Reflector, reflector)
    return _reported(cast(MakeReflector, reflector))


def _reported(make: MakeReflector) -> MakeReflector:
    def made(model: ChatModel) -> ReflectorSpec:
        try:
            return make(model)
        except Exception as error:
            raise ContractError(
                f"Expected a class or a function that makes a reflector from a model; it raised {with_place(error)}. "
                "Give a function of the history as as_reflector(function), and a class with more arguments as "
                "lambda model: YourClass(model, ...)."
            ) from error

    return made


@dataclass(frozen=True)
class _ReflectorCheck:
    make: MakeReflector
    model: ChatModel
    num_steps: int
    seed: int

    def run(self, env: GatesMetaEnv, model: ChatModel, **options: Any) -> OptimizationResult:
        return optimize(env, self.make(model), self.num_steps, seed=self.seed, **options)

    def records(self, result: OptimizationResult) -> None:
        for reflection in _reflections(result):
            again = Reflection.model_validate_json(reflection.model_dump_json())
            rule = "a reflection must not change in a round trip through JSON: keep plain JSON values in `memory`"
            _expect(again == reflection, rule)
        try:
            describe(as_reflector(self.make(self.model)))
        except ConfigError as error:
            _expect(False, f"`fingerprint` must be a JSON mapping ({error}): put names and numbers into it, no objects")

    def equal_requests(self, result: OptimizationResult, requests: list[str]) -> None:
        observed = _ObservedModel(self.model)
        reflector = as_reflector(self.make(observed))
        with GatesMetaEnv("demo") as env:
            env.reset(seed=self.seed)
            for index, before in reversed([*enumerate(_reflections(result))]):
                again = reflect(reflector, result.history[: index + 1], replay=env.replay_async)
                # Only the loop reports which fields of the tasks were read.
                _expect(
                    again.model_copy(update={"task_reads": before.task_reads}) == before,
                    f"equal histories must give equal reflections, but a second reflection on meta-step {index} "
                    "differs: keep nothing in the reflector between calls, put it into `Reflection.memory`, and "
                    "derive seeds from the history's seeds",
                )
        rule = "equal input must give equal requests (messages, seed and repetition), but they differ"
        _expect(not requests or not observed.calls or observed.requests == requests, rule)

    def resume(self, result: OptimizationResult) -> None:
        about: dict[str, Any] = {"env_id": "MetaGym/Gates-v0", "env_options": {}, "reflector": "checked"}
        manifest = Manifest(**about, seed=self.seed, num_steps=self.num_steps)
        with tempfile.TemporaryDirectory() as place:
            for stop in range(1, self.num_steps - 1):
                path = Path(place) / str(stop)

                def stop_there(meta_step: MetaStep, stop: int = stop) -> None:
                    if meta_step.index == stop:
                        raise _StoppedError

                with RunFolder.create(path, manifest) as folder, contextlib.suppress(_StoppedError):
                    self._run_into(folder, on_meta_step=stop_there)
                with RunFolder.open(path, writing=True) as folder:
                    resumed = self._run_into(folder)
                both = zip(_reflections(result), _reflections(resumed), strict=True)
                for index, (before, after) in enumerate(both):
                    _expect(
                        before == after,
                        f"a run stopped after meta-step {stop} and resumed must equal the uninterrupted one, but the "
                        f"reflection on meta-step {index} differs: keep everything to remember in `Reflection.memory`",
                    )

    def _run_into(self, folder: RunFolder, **options: Any) -> OptimizationResult:
        with GatesMetaEnv("demo") as env:
            env.record_to(folder)
            return self.run(env, self.model, log=folder, **options)

    def spoilt_replies(self) -> None:
        kinds: tuple[Reply, ...] = ("malformed", "truncated")
        for kind, since in itertools.product(kinds, (0, 2)):
            observed = _ObservedModel(self.model, kind, since=since)
            with GatesMetaEnv("demo") as env:
                result = self.run(env, observed)
            spoilt = {call.meta_step for _, call in observed.calls if call.meta_step >= since}
            for before, found in zip(result.history, _reflections(result), strict=True):
                if before.index not in spoilt:
                    continue
                memory, rule = before.reflection and before.reflection.memory, f"after a {kind} reply"
                is_reported = bool(found.problem)
                _expect(is_reported, f"{rule} `Reflection.problem` must say why it could not be used; it is empty")
                _expect(found.prompt == before.prompt, f"{rule} the old prompt must be kept, got {found.prompt[:80]!r}")
                _expect(found.memory == memory, f"{rule} the old memory must be kept, got {found.memory!r:.80}")

    def budget(self, num_calls: int) -> None:
        for budget in sorted({0, num_calls // 2, num_calls - 1}) if num_calls else ():
            observed = _ObservedModel(self.model)
            with GatesMetaEnv("demo", budget={"calls": budget}) as env, contextlib.suppress(BudgetExceededError):
                self.run(env, observed)
                rule = f"a budget of {budget} calls must end a run of {num_calls} with BudgetExceededError"
                _expect(False, f"{rule}: do not catch it")
            made = len(observed.calls)
            _expect(made <= budget, f"a budget of {budget} calls was exceeded: {made} were made")

    def canary(self) -> None:
        observed = _ObservedModel(self.model)
        watched = _WatchedReflector(as_reflector(self.make(observed)))
        sizes = {"num_steps": 3, "num_seeds": 1, "num_validation": 2, "num_test": 2}
        config = EvaluationConfig(families=("law-0007",), first_seed=self.seed, **sizes)
        with CanaryGates("demo") as env:
            try:
                evaluate(env, watched, config=config)
            except LeakError as error:
                raise ContractError(f"The reflector plays validation or test tasks: {error}") from error
        for messages, call in observed.calls:
            rule = f"no validation or test task may reach the model, but one did in meta-step {call.meta_step}"
            _expect(CANARY not in json.dumps(messages), rule)


def _reflections(result: OptimizationResult) -> list[Reflection]:
    found = [*(meta_step.reflection for meta_step in result.history[1:]), result.last_reflection]
    return [reflection for reflection in found if reflection is not None]


class _StoppedError(Exception):
    """The run was stopped on purpose."""


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise ContractError(f"The reflector breaks its contract: {rule}.")


class _ObservedModel:
    """A chat model that keeps its calls, and spoils its replies from the meta-step `since` on."""

    def __init__(self, model: ChatModel, reply: Reply = "good", *, since: int = 0) -> None:
        self._observed, self._reply, self._since = model, reply, since
        self.scripted: bool = extension_of(model).scripted
        self.fingerprint = describe(model)
        self.calls: list[tuple[list[Message], Call]] = []

    async def complete(self, messages: Sequence[Message], call: Call) -> Completion:
        self.calls.append((list(messages), call))
        completion = await self._observed.complete(messages, call)
        return spoil(completion, self._reply) if call.meta_step >= self._since else completion

    @property
    def requests(self) -> list[str]:
        return sorted(json.dumps([call._asdict(), messages]) for messages, call in self.calls)


class _WatchedReflector:
    """A reflector that raises if a text of a validation or test task is in its history or in its reflection."""

    def __init__(self, reflector: Reflector) -> None:
        self.reflector = reflector
        self.fingerprint = describe(reflector)

    def bound_to(self, replay: Replay) -> _WatchedReflector:
        return _WatchedReflector(bind(self.reflector, replay))

    async def reflect(self, history: Sequence[MetaStep]) -> Reflection:
        reflection = checked(await self.reflector.reflect(history))
        if any(CANARY in record.model_dump_json() for record in (*history, reflection)):
            raise ContractError(
                "The reflector breaks its contract: it may neither see nor write a text of a validation or test task. "
                "Do not let it play such tasks."
            )
        return reflection


class _CanaryEnv(gymnasium.ObservationWrapper[str, str, str]):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self._is_marked = GatesTaskSet().find((options or {})["task_id"]).split != "train"
        return super().reset(seed=seed, options=options)

    def observation(self, observation: str) -> str:
        return f"{observation} A {CANARY} sings." if self._is_marked else observation


class CanaryGates(GatesMetaEnv):
    """The meta-environment over Gates with the canary."""

    @staticmethod
    def make_inner_env() -> Any:
        """Make a Gates environment with the canary."""
        return _CanaryEnv(GatesEnv())
