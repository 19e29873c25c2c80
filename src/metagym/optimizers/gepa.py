"""GEPA: reflective prompt evolution by the `gepa` package, with the meta-environment as its evaluator.

Source: Agrawal et al., "GEPA: Reflective Prompt Evolution Can Outperform Reinforcement Learning", arXiv
2507.19457 (2025); the algorithm is the authors' own package (extra `gepa`). Ours is the adapter: the meta-environment
plays the episodes, and the reflector's ChatModel is the reflection model, so that one ledger books both. The Pareto
set is drawn from the training tasks too, because GEPA learns from it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from metagym import background
from metagym.budget import Budget, BudgetUse, Ledger
from metagym.env import MetaEnv
from metagym.errors import BudgetExceededError, ConfigError, ConversationError, TasksExhaustedError
from metagym.imports import require
from metagym.models import Call, ChatModel, ask
from metagym.optimizers.meta_loop import OptimizationResult, method_ledger, result_of
from metagym.optional_attributes import extension_of
from metagym.reflectors import ReflectorSpec
from metagym.reflectors.protocol import check_replayed
from metagym.rendering import render_outcome, render_trajectory
from metagym.tools import read_call, read_parts, write_part
from metagym.tools.calls import Tool
from metagym.types import Message, MetaStep, Task, Trajectory, derive_seed

logger = logging.getLogger(__name__)
COMPONENT: Final = "prompt"
"""GEPA's name for the text that it evolves."""
TOOL: Final = "Tool: "
"""How the name of a component that is a tool's description begins; the tool's name follows."""
TOOL_TEMPLATE: Final = """\
An agent calls the tool {name}, and reads this description of it:
```
<curr_param>
```

These are episodes of the agent, with feedback:
```
<side_info>
```

Write a better description of the tool: what it does, when to call it, and each rule of it that the episodes show. The
agent cannot see these episodes. Provide the new description within ``` blocks."""
"""GEPA's request for a better description; it fills the two placeholders in."""


@dataclass(frozen=True)
class Gepa:
    """The `gepa` package as an optimizer. It needs a reflector over a chat model, and a budget in episodes.

    An iteration starts only if the episodes left cover it: the parent and the child on a minibatch, and the child
    on the Pareto set. Each minibatch has new training tasks, for as long as there are any. The prompt with the best
    score on the Pareto set is handed over, the earliest of equals.
    """

    minibatch_size: int = 3
    num_validation: int | None = None
    """Training tasks of the Pareto set; by default a fifth of the budget's episodes, 2 to 50."""
    show_tools: bool = False
    """Whether the description of each tool that the environment offers is evolved too, as its own component.
    The tools are those of one training task of each family."""
    max_tokens: int = 24_000
    """Tokens that the episodes of a minibatch may take in the reflection, shared evenly."""

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide the course, beside the reflector's model."""
        return {"kind": "Gepa", **{name: getattr(self, name) for name in self.__dataclass_fields__}}

    def __call__(self, env: MetaEnv, reflector: ReflectorSpec, *, budget: Budget) -> OptimizationResult:
        """Run GEPA; see `Optimizer`."""
        gepa = require("gepa", extra="gepa")
        model: ChatModel | None = extension_of(reflector).model
        if model is None or budget.episodes is None:
            raise ConfigError(
                "GEPA needs a reflector over a chat model (its model reflects) and a budget in episodes, got "
                f"{type(reflector).__name__} and {budget.model_dump(exclude_none=True)}."
            )
        num_validation = self.num_validation or int(np.clip(budget.episodes // 5, 2, 50))
        num_episodes = 2 * self.minibatch_size + num_validation
        with method_ledger(env, budget) as ledger:
            _, info = env.reset()
            # The training tasks of the minibatches and those of the Pareto set are different ones.
            tasks = env.task_set.draw(num_episodes, rng=env.np_random, families=env.families, split=env.config.split)
            ids = [task.id for task in tasks]
            candidate = PromptParts(info["default_prompt"], tools_of(env, tasks) if self.show_tools else ())
            run = _GepaRun(env, model, ledger, candidate, self.max_tokens, extension_of(reflector).seen)
            try:
                gepa.optimize(
                    seed_candidate=candidate.components,
                    reflection_prompt_template=candidate.templates,
                    trainset=ids[num_validation:],
                    valset=ids[:num_validation],
                    adapter=run,
                    reflection_lm=run.reflect,
                    batch_sampler=_NewTasks(env, tasks, self.minibatch_size),
                    stop_callbacks=lambda state: run.is_stopped(num_episodes),
                    callbacks=[run],
                    logger=run,
                    seed=run.seed,
                )
            except _StoppedError as stop:
                cause = stop.error
                if not isinstance(cause, BudgetExceededError) or cause.ledger is not ledger:
                    raise cause from None
                run.stopped = str(cause).partition(". ")[0]
            return run.result()


class PromptParts:
    """The components that GEPA evolves, and the prompt that they make: the text, and descriptions of tools.

    >>> parts = PromptParts("Be brave.", [{"function": {"name": "pay", "description": "Pay."}}])
    >>> parts.components
    {'prompt': 'Be brave.', 'Tool: pay': 'Pay.'}
    >>> print(parts.prompt_of({"prompt": "Be brave.", "Tool: pay": "Pay once."}))
    Be brave.
    <BLANKLINE>
    ## Tool: pay
    Pay once.
    """

    def __init__(self, prompt: str, tools: Sequence[Tool]) -> None:
        self.prompt = prompt
        self._own = {TOOL + tool["function"]["name"]: tool["function"].get("description", "") for tool in tools}
        text, described = read_parts(prompt, tools)
        texts = {TOOL + tool["function"]["name"]: tool["function"].get("description", "") for tool in described}
        self.components: dict[str, str] = {COMPONENT: text, **texts}

    @property
    def templates(self) -> dict[str, str] | None:
        """GEPA's requests for the descriptions of tools; None for its own wording of everything."""
        return {name: TOOL_TEMPLATE.replace("{name}", name.removeprefix(TOOL)) for name in self._own} or None

    def prompt_of(self, candidate: Mapping[str, str]) -> str:
        """Return the prompt; a description that is empty, or the environment's own, makes no section."""
        prompt = candidate[COMPONENT]
        for name, own in self._own.items():
            if (text := candidate[name].strip()) and text != own:
                prompt = write_part(prompt, name.removeprefix(TOOL), text)
        return prompt


def tools_of(env: MetaEnv, tasks: Sequence[Task]) -> tuple[Tool, ...]:
    """Return the tools that the environment offers at the start of one task of each family; no episode is played."""
    found: dict[str, Tool] = {}
    with contextlib.closing(env.make_inner_env()) as inner:
        for task in {task.family: task for task in tasks}.values():
            _, info = inner.reset(seed=task.seed, options={"task_id": task.id})
            for tool in info.get("tools") or ():
                found.setdefault(tool["function"]["name"], tool)
    return tuple(found.values())


class _NewTasks:
    """GEPA's sampler of minibatches: training tasks that were not drawn before, and at last the old ones in turn.

    A train set of a fixed size is either too small for the budget, or drawn in vain.
    """

    def __init__(self, env: MetaEnv, drawn: Sequence[Task], size: int) -> None:
        self._env, self._size = env, size
        self._drawn = [task.id for task in drawn]
        self._next = 0
        self._are_left = True

    def next_minibatch_ids(self, loader: Any, state: object) -> list[int]:
        """Return the places of the next tasks in the train set, which grows by them."""
        start, self._next = self._next, self._next + self._size
        num_missing = self._next - len(loader)
        if num_missing > 0 and self._are_left:
            with _stopping():
                new = self._draw(num_missing)
            loader.add_items(new)
            self._drawn += new
            self._are_left = len(new) == num_missing
        return [place % len(loader) for place in range(start, self._next)]

    def _draw(self, num_tasks: int) -> list[str]:
        about: dict[str, Any] = {"families": self._env.families, "split": self._env.config.split}
        try:
            tasks = self._env.task_set.draw(num_tasks, rng=self._env.np_random, exclude=self._drawn, **about)
        except TasksExhaustedError as error:
            return self._draw(error.num_left or 0)
        return [task.id for task in tasks]


class _GepaRun:
    """One run of GEPA: its adapter, its reflection model, its observer and its log, so that all know of each other."""

    propose_new_texts = None  # GEPA's own wording of the reflection

    def __init__(
        self,
        env: MetaEnv,
        model: ChatModel,
        ledger: Ledger,
        parts: PromptParts,
        max_tokens: int,
        seen: Callable[[MetaStep], MetaStep] | None = None,
    ) -> None:
        self.env, self.model, self.ledger, self._max_tokens = env, model, ledger, max_tokens
        self.seed = int(env.np_random.integers(2**31))
        self.stopped = ""
        self.history: list[MetaStep] = []
        self.outlays: list[BudgetUse] = [ledger.used]
        self._parts, self._seen = parts, seen
        self._played: MetaStep | None = None
        self._num_calls = 0

    def evaluate(self, batch: list[str], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        """Play the tasks under the candidate: one episode each, booked once, as learning."""
        evaluation = require("gepa").EvaluationBatch
        prompt = self._parts.prompt_of(candidate)
        is_playable = bool(candidate[COMPONENT].strip()) and self.env.action_space.contains(prompt)
        if not is_playable and prompt != self._parts.prompt:  # the first prompt is always played: it is the measure
            self._played = None
            worst = float("-inf")  # below every return
            return evaluation([None] * len(batch), [worst] * len(batch), [None] * len(batch), num_metric_calls=0)
        with _stopping():
            (self._played,) = self.env.replay([prompt], batch)
            check_replayed([self._played])
        played = read = list(self._played.trajectories)
        if capture_traces and self._seen is not None:  # a control: only the reflection gets other episodes
            read = list(self._seen(self._played).trajectories)
        return evaluation(played, [item.score or 0.0 for item in played], read)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Return each episode as text, with its outcome as the feedback."""
        share = self._max_tokens // max(1, len(eval_batch.trajectories))
        played = [item for item in eval_batch.trajectories if item is not None]
        return {
            name: [_example(item, share) for item in _calling(played, name.removeprefix(TOOL)) or played]
            for name in components_to_update
        }

    def reflect(self, prompt: str | list[dict[str, Any]]) -> str:
        """Ask the model, as GEPA words it."""
        messages: list[Message] = (
            [{"role": "user", "content": prompt}]
            if isinstance(prompt, str)
            else [{"role": item["role"], "content": str(item["content"])} for item in prompt]
        )
        seed = derive_seed("gepa", self.seed, self._num_calls)
        call = Call("reflector", self.env.config.arm, self._num_calls, seed)
        self._num_calls += 1
        with _stopping():
            try:
                completion = background.run(ask(self.model, messages, call))
            except ConversationError:
                return ""  # GEPA then proposes nothing
        return completion.text if completion.is_whole else ""

    def on_valset_evaluated(self, event: Mapping[str, Any]) -> None:
        """Keep each candidate that is the best so far on the Pareto set."""
        reward = float(event["average_score"])
        best = self.history[-1].reward if self.history else None
        if self._played is not None and (best is None or reward > best):
            if self.history:  # the first prompt was known from the start
                self.outlays.append(self.ledger.used)
            self.history.append(self._played.model_copy(update={"index": len(self.history), "reward": reward}))

    def is_stopped(self, num_episodes: int) -> bool:
        """Whether the episodes left do not cover another iteration."""
        left = (self.ledger.budget.episodes or 0) - self.ledger.used.episodes
        if left < num_episodes:
            self.stopped = f"The budget leaves {left:,} episodes, and the next iteration may take {num_episodes:,}"
        return left < num_episodes

    def log(self, message: str) -> None:
        """Take a line of the package's log."""
        logger.debug("gepa: %s", message)

    def result(self) -> OptimizationResult:
        """Return the prompts found so far."""
        prompt, outlays = self._parts.prompt, self.outlays
        if self.history:
            prompt, outlays = self.history[-1].prompt, [*self.outlays, self.ledger.used]
        return result_of(self.history, prompt, outlays=tuple(outlays), stopped=self.stopped)


def _calling(trajectories: Sequence[Trajectory], tool: str) -> list[Trajectory]:
    """Return the episodes in which a tool was called."""
    calls = ((item, read_call(step.action.text or "")) for item in trajectories for step in item.steps)
    return list({id(item): item for item, call in calls if call is not None and call.name == tool}.values())


def _example(trajectory: Trajectory, max_tokens: int) -> dict[str, str]:
    return {
        "Episode": render_trajectory(trajectory, show_outcome=False, show_thoughts=True, max_tokens=max_tokens),
        "Feedback": render_outcome(trajectory) + ("" if trajectory.score is None else f" Score: {trajectory.score:g}"),
    }


class _StoppedError(BaseException):
    """Carries an error through the package, which would otherwise swallow those of a reflection and continue."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _StoppedError(error) from error
