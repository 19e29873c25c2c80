"""Checks that a reflector keeps its contract, in runs on Gates with the scripted actor."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import BudgetExceededError, ContractError, LeakError
from metagym.evaluation import EvaluationConfig, evaluate
from metagym.models import ChatModel
from metagym.optimizers import optimize
from metagym.reflectors import Reflector, ReflectorSpec, as_reflector, reflect
from metagym.reflectors.scripted_model import Reply, ScriptedReflectorModel
from metagym.runs import Manifest, RunFolder
from metagym.seeding import describe
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
    make = _maker(reflector)
    good = model or ScriptedReflectorModel()
    history, calls = _run(make, good, num_steps, seed)
    _check_records(make(good), history)
    _check_resume(make, good, history, num_steps, seed)
    _check_equal_requests(make, good, history, calls, seed)
    _check_spoilt_replies(make, good, num_steps, seed)
    _check_budget(make, good, len(calls), num_steps, seed)
    _check_canary(make, good, seed)


def _maker(reflector: Any) -> MakeReflector:
    if isinstance(reflector, type):
        kind: Callable[..., ReflectorSpec] = reflector
        return kind if "model" in inspect.signature(kind).parameters else lambda model: kind()
    if hasattr(reflector, "reflect"):
        return lambda model: cast(Reflector, reflector)
    return cast(MakeReflector, reflector)


def _run(
    make: MakeReflector, model: ChatModel, num_steps: int, seed: int, **options: Any
) -> tuple[tuple[MetaStep, ...], list[str]]:
    observed = ObservedModel(model)
    with contextlib.closing(GatesMetaEnv("demo", **options)) as env:
        history = optimize(env, make(observed), num_steps, seed=seed).history
        num_booked = env.ledger.spent().usage.num_calls
    if num_booked != len(observed.calls):
        _fail(
            f"every model call must be booked, but of {len(observed.calls)} calls {num_booked} were: ask the model by "
            "`metagym.models.ask`, never by `model.complete`"
        )
    return history, observed.requests


def _check_records(reflector: ReflectorSpec, history: Sequence[MetaStep]) -> None:
    for meta_step in history[1:]:
        assert meta_step.reflection is not None
        if Reflection.model_validate_json(meta_step.reflection.model_dump_json()) != meta_step.reflection:
            _fail("a reflection must not change in a round trip through JSON: keep plain JSON values in `memory`")
    try:
        json.dumps(describe(as_reflector(reflector)))
    except TypeError as error:
        _fail(f"`fingerprint` must be a JSON mapping ({error}): put names and numbers into it, no objects")


def _check_equal_requests(
    make: MakeReflector, model: ChatModel, history: Sequence[MetaStep], calls: list[str], seed: int
) -> None:
    """Check that one object gives the same requests and reflections for the same histories, in another order."""
    observed = ObservedModel(model)
    reflector = as_reflector(make(observed))
    with contextlib.closing(GatesMetaEnv("demo")) as env:
        env.reset(seed=seed)
        for length in range(len(history) - 1, 0, -1):
            again = reflect(reflector, history[:length], replay=env.replay_async)
            if again != history[length].reflection:
                _fail(
                    f"equal histories must give equal reflections, but a second reflection on meta-step {length - 1} "
                    "differs: keep nothing in the reflector between calls, put it into `Reflection.memory`, and "
                    "derive seeds from the history's seeds"
                )
    if calls and observed.calls and observed.requests != calls:
        _fail("equal input must give equal requests (messages, seed and repetition), but they differ")


def _check_resume(
    make: MakeReflector, model: ChatModel, history: Sequence[MetaStep], num_steps: int, seed: int
) -> None:
    """Check that a run that is stopped after a meta-step and resumed with a new object equals the uninterrupted one."""

    def run(path: Path, stop: int | None) -> Sequence[MetaStep]:
        def stop_there(meta_step: MetaStep) -> None:
            if meta_step.index == stop:
                raise _StoppedError

        manifest = Manifest(
            env_id="MetaGym/Gates-v0", env_options={}, reflector="checked", seed=seed, num_steps=num_steps
        )
        folder = RunFolder.open(path, writing=True) if path.exists() else RunFolder.create(path, manifest)
        with folder, contextlib.closing(GatesMetaEnv("demo")) as env:
            env.record_to(folder)
            return optimize(env, make(model), num_steps, seed=seed, log=folder, on_meta_step=stop_there).history

    with tempfile.TemporaryDirectory() as place:
        for stop in range(1, num_steps - 1):
            with contextlib.suppress(_StoppedError):
                run(Path(place) / str(stop), stop)
            resumed = run(Path(place) / str(stop), None)
            for before, after in zip(history, resumed, strict=True):
                if before != after:
                    _fail(
                        f"a run stopped after meta-step {stop} and resumed must equal the uninterrupted one, but "
                        f"meta-step {after.index} differs: keep everything to remember in `Reflection.memory`"
                    )


def _check_spoilt_replies(make: MakeReflector, model: ChatModel, num_steps: int, seed: int) -> None:
    kinds: tuple[Reply, ...] = ("malformed", "truncated")
    for kind, since in ((kind, since) for kind in kinds for since in (0, 2)):
        observed = ObservedModel(model, kind, since=since)
        with contextlib.closing(GatesMetaEnv("demo")) as env:
            history = optimize(env, make(observed), num_steps, seed=seed).history
        spoilt = {call.meta_step for _, call in observed.calls if call.meta_step >= since}
        for before, after in itertools.pairwise(history):
            reflection, memory = after.reflection, before.reflection and before.reflection.memory
            if before.index not in spoilt or reflection is None:
                continue
            if not reflection.problem:
                _fail(f"after a {kind} reply `Reflection.problem` must say why it could not be used; it is empty")
            if reflection.prompt != before.prompt:
                _fail(f"after a {kind} reply the old prompt must be kept, got {reflection.prompt[:80]!r}")
            if reflection.memory != memory:
                _fail(f"after a {kind} reply the old memory must be kept, got {reflection.memory!r:.80}")


def _check_budget(make: MakeReflector, model: ChatModel, num_calls: int, num_steps: int, seed: int) -> None:
    for budget in sorted({0, num_calls // 2, num_calls - 1}) if num_calls else ():
        observed = ObservedModel(model)
        with (
            contextlib.closing(GatesMetaEnv("demo", budget={"calls": budget})) as env,
            contextlib.suppress(BudgetExceededError),
        ):
            optimize(env, make(observed), num_steps, seed=seed)
            _fail(f"a budget of {budget} calls must end a run of {num_calls} with BudgetExceededError: do not catch it")
        if len(observed.calls) > budget:
            _fail(f"a budget of {budget} calls was exceeded: {len(observed.calls)} were made")


def _check_canary(make: MakeReflector, model: ChatModel, seed: int) -> None:
    observed = ObservedModel(model)
    watched = WatchedReflector(as_reflector(make(observed)))
    config = EvaluationConfig(
        families=("law-0007",), num_steps=3, num_seeds=1, first_seed=seed, num_validation=2, num_test=2
    )
    with contextlib.closing(CanaryGates("demo")) as env:
        try:
            evaluate(env, watched, config=config)
        except LeakError as error:
            raise ContractError(f"The reflector plays validation or test tasks: {error}") from error
    for messages, call in observed.calls:
        if CANARY in json.dumps(messages):
            _fail(f"no validation or test task may reach the model, but one did in meta-step {call.meta_step}")


class _StoppedError(Exception):
    """The run was stopped on purpose."""


def _fail(rule: str) -> NoReturn:
    raise ContractError(f"The reflector breaks its contract: {rule}.")
