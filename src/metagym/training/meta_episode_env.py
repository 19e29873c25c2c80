"""MetaEpisodeEnv: a whole meta-episode as one conversation, the seam to every trainer. No torch, no trainer's types.

The model under training is the reflector. It is shown a batch and replies with a new prompt; the answer is the next
batch, played under that prompt; and so on. Its batches are those of `optimize` with the same seed and the same replies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
from pydantic import Field

from metagym.env import meta_env_of
from metagym.errors import ConfigError, EpisodesFailedError
from metagym.meta_episode import check_batch_of
from metagym.reflectors import read_reflection
from metagym.spaces import PromptSpace
from metagym.training.experience import Render, chat_messages
from metagym.types import Completion, Message, MetaStep, Record, Reflection, Text, derive_seed, digest

Conversation = Sequence[Message]
Rewards = Sequence[Sequence[float | None]]
Rollouts = Generator[Sequence[Conversation], Sequence[Completion], Rewards]
"""Plays a group of G rollouts: it yields the G conversations of a turn, is sent the G replies, and returns the rewards,
of shape `[num_turns, G]`; None is a missing one."""


class MetaEpisodeConfig(Record):
    """The length of a meta-episode, and its reward.

    With one turn, `reward="online"` and `credit="end"` it is the training of single reflections, on fresh tasks.
    """

    num_turns: int = Field(default=3, ge=1)
    """Reflections, each a turn of the model."""
    reward: Literal["online", "test", "gain"] = "online"
    """What the whole is worth. `online`: the mean score of the batches under the prompts that the model wrote, the last
    one included. `test`: the score of the last prompt on separate tasks. `gain`: that score minus the score of the
    first prompt on the same tasks."""
    credit: Literal["turn", "end"] = "turn"
    """`end`: the last turn gets all. `turn`: each turn gets its part, and the parts add up to the whole: the score of
    its batch divided by `num_turns`, or by how much its prompt is better on the test tasks than the prompt before."""
    num_test: int = Field(default=20, ge=1)
    """Tasks that `test` and `gain` score prompts on; drawn after the meta-episode's own, from its families."""
    test_split: Text = ""
    """The role of the test tasks; by default that of the batches, so that `test` is left for the evaluation."""
    format_penalty: float = Field(default=0.0, ge=0.0)
    """Subtracted from a turn whose reply holds no usable prompt; the old prompt is then played."""


class Answer(NamedTuple):
    """The answer to a reply of the model."""

    message: Message | None
    """The user message that asks for the next reflection; None after the last turn."""
    reward: float
    """What this turn is worth, as far as it is known: with `reward` other than `online`, 0 until the last turn; then
    `MetaEpisodeEnv.rewards` has the parts of all turns."""
    done: bool
    prompt: str
    """The prompt that the reply wrote, or the old one."""
    problem: str
    """Why the reply holds no usable prompt; empty if it holds one."""


class MetaEpisodeEnv:
    """A meta-episode as a conversation: `reset` returns its beginning, `step` takes a reply and returns the answer.

    `env` is a meta-environment, wrapped or not; its actor stays as it is. Equal seeds give equal tasks: the rollouts of
    a group share them. Failed episodes raise EpisodesFailedError: leave such a rollout out, do not count a 0.

    >>> import metagym
    >>> env = metagym.make("MetaGym/Gates-v0", actor="demo", episodes_per_step=2)
    >>> rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(num_turns=2))
    >>> [message["role"] for message in rollout.reset(seed=1)]
    ['system', 'user']
    >>> rollout.step("IMPROVED PROMPT: When the gate is oak, push.").message["role"]
    'user'
    >>> rollout.step("I have no idea.").problem
    "The reply holds no line 'IMPROVED PROMPT:'; the old prompt was kept."
    >>> env.close()
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, str],
        config: MetaEpisodeConfig | None = None,
        *,
        render: Render = chat_messages,
    ) -> None:
        self.env, self.config, self._render = env, config or MetaEpisodeConfig(), render
        self._meta_env = meta_env_of(env)
        self._meta_env.task_set.check_split(self.config.test_split or self._meta_env.config.split)
        if self._meta_env.config.success_threshold is not None:
            raise ConfigError(
                "Expected an environment without success_threshold: all rollouts of a group have equally many turns, "
                f"got {self._meta_env.config.success_threshold}."
            )
        self.history: list[MetaStep] = []
        """The meta-steps so far."""
        self.prompts: list[str] = []
        """The first prompt, and the one after each turn."""
        self.rewards: list[float] = []
        """The reward of each turn so far; after the last turn all are final."""
        self._failure: Exception | None = None

    def reset(self, *, seed: int) -> list[Message]:
        """Play the first batch, under the environment's own prompt, and return the conversation that shows it."""
        self._seed, self._problems, self._failure = seed, list[bool](), None
        self.history, self.prompts, self.rewards = [], [], []
        with self._keeping_failures():
            _, info = self._reset_env(seed)
            self.prompts = [info["default_prompt"]]
            self._play(None)
            if not self._meta_env.config.allow_bad_batches:
                check_batch_of(self.history[0])
        return self._render(self.history[-1])

    def _reset_env(self, seed: int) -> Any:
        """Begin a meta-episode in which a prompt that spoils all replies (it is too long, say) costs its score."""
        config = self._meta_env.config
        self._meta_env.config = config.model_copy(update={"allow_bad_batches": True})
        try:
            return self.env.reset(seed=seed)
        finally:
            self._meta_env.config = config

    def step(self, reply: str | Completion) -> Answer:
        """Take the model's reply, play the next batch under its prompt, and return the model's next message.

        After another error than EpisodesFailedError (a spent budget, say) the turn was not taken, and may be repeated.

        Raises:
            EpisodesFailedError: episodes failed for infrastructure reasons, now or in an earlier turn.
        """
        completion = Completion(text=reply) if isinstance(reply, str) else reply
        analysis, prompt, problem = read_reflection(completion)
        return self._take(prompt, analysis=analysis, problem=problem, completion=completion)

    def write_prompt(self, prompt: str) -> Answer:
        """Take the model's prompt itself, as the argument of a tool call; see `step`."""
        problem = PromptSpace().problem(prompt) if prompt.strip() else "it is empty"
        if problem:
            return self._take(None, problem=f"The improved prompt is invalid ({problem}); the old prompt was kept.")
        return self._take(prompt)

    def _take(
        self, found: str | None, *, analysis: str = "", problem: str = "", completion: Completion | None = None
    ) -> Answer:
        if isinstance(self._failure, EpisodesFailedError):
            raise self._failure
        number = len(self.prompts)
        if not self.prompts or number > self.config.num_turns:
            raise ConfigError(f"Expected reset() before the first of {self.config.num_turns} turns and after the last.")
        prompt = self.prompts[-1] if found is None else found
        done = number == self.config.num_turns
        self.prompts.append(prompt)
        self._problems.append(bool(problem))
        num_played, self._failure = len(self.history), None
        try:
            with self._keeping_failures():
                if not done or self.config.reward == "online":
                    self._play(Reflection(prompt=prompt, analysis=analysis, problem=problem, completion=completion))
                self.rewards = self._shared_out(done)
        except BaseException:
            del self.prompts[number:], self._problems[number - 1 :], self.history[num_played:]
            raise
        message = None if done else self._render(self.history[-1])[-1]
        return Answer(message, self.rewards[-1], done, prompt, problem)

    def finish(self) -> float:
        """Play the turns that were not taken as turns without a usable reply; return the value of the whole.

        Raises:
            EpisodesFailedError: episodes failed for infrastructure reasons, now or in an earlier turn.
            Exception: any other error of the last turn or of `reset`: the meta-episode is not whole.
        """
        if self._failure is not None:
            raise self._failure
        while len(self.prompts) <= self.config.num_turns:
            self.step("")
        return sum(self.rewards)

    @contextlib.contextmanager
    def _keeping_failures(self) -> Iterator[None]:
        """Keep the failure: a meta-episode with a turn that failed has no value."""
        try:
            yield
        except Exception as error:
            self._failure = error
            raise

    def _play(self, reflection: Reflection | None) -> None:
        trajectories, reward, *_ = self.env.step(self.prompts[-1])
        meta_step = MetaStep(
            index=len(self.history),
            prompt=self.prompts[-1],
            trajectories=trajectories,
            reward=float(reward),
            reflection=reflection,
        )
        _check_whole(
            meta_step, "episodes"
        )  # max_failure_rate may tolerate failures, a comparison within a group cannot
        self.history.append(meta_step)

    def _shared_out(self, done: bool) -> list[float]:
        """Return the reward of each turn so far."""
        num_turns = len(self.prompts) - 1
        if self.config.reward == "online":
            parts = [(meta_step.reward or 0.0) / self.config.num_turns for meta_step in self.history[1:]]
        elif done:
            scores = self._test_scores()
            before = [scores[0] if self.config.reward == "gain" else 0.0, *scores[1:-1]]
            parts = [new - old for new, old in zip(scores[1:], before, strict=True)]
        else:
            parts = [0.0] * num_turns
        if self.config.credit == "end":
            parts = [0.0] * (num_turns - 1) + [sum(parts) if done else 0.0]
        penalties = (self.config.format_penalty * problem for problem in self._problems)
        return [part - penalty for part, penalty in zip(parts, penalties, strict=True)]

    def _test_scores(self) -> list[float]:
        """Play the test tasks under the prompts whose scores are needed; return one score for each prompt."""
        env, wanted = self._meta_env, self.prompts
        if self.config.credit == "end":  # only the ends are needed
            wanted = [self.prompts[0], self.prompts[-1]] if self.config.reward == "gain" else [self.prompts[-1]]
        tasks = [trajectory.task for meta_step in self.history for trajectory in meta_step.trajectories]
        drawn = env.task_set.draw(
            self.config.num_test,
            rng=np.random.default_rng(derive_seed("test tasks of a meta-episode", self._seed)),
            families=sorted({task.family for task in tasks}),
            split=self.config.test_split or env.config.split,
            exclude={task.id for task in tasks},
        )
        distinct = list(dict.fromkeys(wanted))  # equal prompts are played once: equal scores, so no credit by chance
        played = env.replay(distinct, [task.id for task in drawn])
        scores = {prompt: _mean_score(meta_step) for prompt, meta_step in zip(distinct, played, strict=True)}
        return [scores.get(prompt, 0.0) for prompt in self.prompts]


def _mean_score(meta_step: MetaStep) -> float:
    _check_whole(meta_step, "test episodes")
    assert meta_step.reward is not None
    return meta_step.reward


def _check_whole(meta_step: MetaStep, noun: str) -> None:
    if meta_step.num_failed or meta_step.reward is None:
        raise EpisodesFailedError(
            f"{meta_step.num_failed} of {len(meta_step.trajectories)} {noun} failed. Leave this rollout out.", meta_step
        )


def returns_to_go(rewards: Sequence[float], *, discount: float = 1.0) -> list[float]:
    """Return for each turn the sum of its reward and all later ones, each later turn discounted once more."""
    returns, total = [], 0.0
    for reward in reversed(rewards):
        total = reward + discount * total
        returns.append(total)
    return returns[::-1]


class MetaEpisodeGroups:
    """Groups of meta-episodes for GRPO: the rollouts of a group have equal tasks, and each has an environment.

    `make_env` makes one more environment whenever all are in use. The budget of the first holds for all together.
    The rollouts of a turn are played one after the other, the episodes of each batch at the same time.
    """

    def __init__(
        self,
        make_env: Callable[[], gymnasium.Env[Any, str]],
        config: MetaEpisodeConfig,
        *,
        seed: int,
        render: Render = chat_messages,
    ) -> None:
        self.config, self.seed, self._make_env, self._render = config, seed, make_env, render
        first = MetaEpisodeEnv(make_env(), config, render=render)
        self._all, self._free = [first], [first]
        self.meta_env = meta_env_of(first.env)
        """The first environment; all others book in its ledger and record as it does."""
        self.fingerprint = {"env": digest(self.meta_env.fingerprint), **config.model_dump()}
        """The environment and the settings that decide the rewards."""

    def play(self, start: int, size: int) -> Rollouts:
        """Play a group of `size` rollouts; `start` decides their tasks.

        If episodes of a rollout fail for infrastructure reasons, all its rewards are missing.
        """
        rollouts = [self._free.pop() if self._free else self._make() for _ in range(size)]
        try:
            return (yield from self._play(rollouts, derive_seed("meta-episode", self.seed, start)))
        finally:
            self._free += rollouts

    def _play(self, rollouts: Sequence[MetaEpisodeEnv], seed: int) -> Rollouts:
        conversations, failed = list[list[Message]](), set[int]()
        for number, rollout in enumerate(rollouts):
            try:
                conversations.append(rollout.reset(seed=seed))
            except EpisodesFailedError:
                failed.add(number)
                conversations.append([{"role": "user", "content": "(The first batch failed.)"}])
        for _ in range(self.config.num_turns):
            replies = yield list(conversations)
            for number, reply in enumerate(replies):
                try:
                    answer = None if number in failed else rollouts[number].step(reply)
                except EpisodesFailedError:
                    failed.add(number)
                    continue
                if answer is not None and answer.message is not None:
                    said: Message = {"role": "assistant", "content": reply.text}
                    conversations[number] = [*conversations[number], said, answer.message]
        return [
            [None if number in failed else rollout.rewards[turn] for number, rollout in enumerate(rollouts)]
            for turn in range(self.config.num_turns)
        ]

    def _make(self) -> MetaEpisodeEnv:
        made = MetaEpisodeEnv(self._make_env(), self.config, render=self._render)
        self._all.append(made)
        other = meta_env_of(made.env)
        other.ledger = self.meta_env.ledger
        other.record_to(self.meta_env.player.recorder)
        return made

    def close(self) -> None:
        """Close all environments that were made."""
        for rollout in self._all:
            rollout.env.close()
