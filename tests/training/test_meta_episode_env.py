"""MetaEpisodeEnv: a meta-episode as a conversation, with the numbers of the meta-loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any, ClassVar

import gymnasium
import pytest

import metagym
from metagym.budget import Budget
from metagym.envs.gates.env import GATES, law_of
from metagym.envs.gates.meta import GatesMetaEnv
from metagym.errors import (
    BadBatchError,
    BudgetExceededError,
    ConfigError,
    ContextOverflowError,
    EpisodesFailedError,
    TasksExhaustedError,
)
from metagym.tasks import ListedTaskSet
from metagym.testing import FakeChatModel
from metagym.training.experience import chat_messages
from metagym.training.meta_episode_env import (
    Answer,
    MetaEpisodeConfig,
    MetaEpisodeEnv,
    MetaEpisodeGroups,
    returns_to_go,
)
from metagym.types import Action, Completion, Episode, Task, derive_seed
from tests.conftest import FailingEnv, gates_of

LAW = "law-0007"
LESSONS = [f"When the gate is {gate}, {way}." for gate, way in zip(GATES, law_of(LAW).opens, strict=True)]
REPLIES = ["IMPROVED PROMPT: " + "\n".join(LESSONS[:2]), "I do not know.", "IMPROVED PROMPT: " + "\n".join(LESSONS)]


@pytest.fixture
def env() -> Iterator[Any]:
    with metagym.make("MetaGym/Gates-v0", actor="demo", families=[LAW], episodes_per_step=4, score="progress") as made:
        yield made


def play(env: Any, seed: int = 3, **config: Any) -> tuple[MetaEpisodeEnv, list[Answer]]:
    rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(**config))
    rollout.reset(seed=seed)
    return rollout, [rollout.step(reply) for reply in REPLIES]


def test_the_batches_are_those_of_the_meta_loop_with_the_same_replies(env: Any) -> None:
    rollout, turns = play(env, reward="gain")
    reflector = metagym.ChatReflector(FakeChatModel(lambda messages, call: REPLIES[call.meta_step]))
    result = metagym.optimize(env, reflector, 3, seed=3)
    assert [item.trajectories for item in rollout.history] == [item.trajectories for item in result.history]
    assert [item.reward for item in rollout.history] == list(result.rewards)
    assert tuple(rollout.prompts) == result.prompts
    assert [bool(turn.problem) for turn in turns] == [False, True, False]


def test_each_message_shows_what_a_reflector_is_shown(env: Any) -> None:
    rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(num_turns=2))
    assert rollout.reset(seed=3) == chat_messages(rollout.history[0])
    assert rollout.step(REPLIES[0]).message == chat_messages(rollout.history[1])[-1]
    last = rollout.step(REPLIES[1])
    assert last.message is None
    assert last.done


@pytest.mark.parametrize("reward", ["online", "test", "gain"])
def test_the_parts_of_the_turns_add_up_to_the_whole(env: Any, reward: str) -> None:
    by_turn, _ = play(env, reward=reward, credit="turn")
    at_end, _ = play(env, reward=reward, credit="end")
    assert at_end.rewards[:-1] == [0.0, 0.0]
    assert math.isclose(sum(by_turn.rewards), at_end.rewards[-1], abs_tol=1e-12)
    assert at_end.rewards[-1] > 0


def test_online_is_the_mean_over_the_batches_under_written_prompts(env: Any) -> None:
    rollout, turns = play(env, reward="online", credit="turn")
    scores = [item.reward or 0.0 for item in rollout.history]
    assert len(scores) == 4
    assert rollout.rewards == [score / 3 for score in scores[1:]]
    assert [turn.reward for turn in turns] == rollout.rewards


def test_the_gain_is_that_of_the_last_prompt_over_the_first_on_tasks_of_their_own(env: Any) -> None:
    rollout, turns = play(env, reward="gain", credit="turn", num_test=30)
    assert rollout.rewards[1] == 0.0, "an unusable reply changes nothing"
    assert [turn.reward for turn in turns[:2]] == [0.0, 0.0], "it is known only at the end"
    (first, last) = env.unwrapped.replay(
        [rollout.prompts[0], rollout.prompts[-1]], [f"{LAW}/{number}" for number in range(400)]
    )
    assert math.isclose(sum(rollout.rewards), last.reward - first.reward, abs_tol=0.15)


def test_test_tasks_are_none_of_the_batches_and_equal_within_a_group(env: Any) -> None:
    played: list[Any] = []
    env.unwrapped.on_episode = played.append
    play(env, reward="test", credit="end")
    own = {item.task.id for item in played if not item.episode.arm.endswith("replay-0")}
    tested = [item.task.id for item in played if item.task.id not in own]
    assert len(own) == 12
    assert len(tested) == 20
    played.clear()
    play(env, reward="test", credit="turn")
    assert {item.task.id for item in played} == own | set(tested)


def test_a_reply_without_a_prompt_costs_its_turn_the_penalty(env: Any) -> None:
    plain, _ = play(env)
    rollout, _ = play(env, format_penalty=0.5)
    assert [one - other for one, other in zip(plain.rewards, rollout.rewards, strict=True)] == [0.0, 0.5, 0.0]


def test_turns_that_are_not_taken_play_the_old_prompt(env: Any) -> None:
    rollout = MetaEpisodeEnv(env, MetaEpisodeConfig())
    rollout.reset(seed=3)
    rollout.step(REPLIES[2])
    worth = rollout.finish()
    assert rollout.prompts[1:] == ["\n".join(LESSONS)] * 3
    assert worth == sum(rollout.rewards) == rollout.finish()


def test_a_turn_too_many_is_refused(env: Any) -> None:
    rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(num_turns=1))
    with pytest.raises(ConfigError, match=r"Expected reset\(\) before the first of 1 turns"):
        rollout.step("IMPROVED PROMPT: p")
    rollout.reset(seed=1)
    rollout.step("IMPROVED PROMPT: p")
    with pytest.raises(ConfigError, match="and after the last"):
        rollout.step("IMPROVED PROMPT: p")


def test_test_episodes_that_failed_are_no_reward() -> None:
    closed: list[bool] = []  # no road is open once the batches are played
    env = gates_of(lambda inner: FailingEnv(inner, lambda task_id: bool(closed)))("demo", families=[LAW])
    rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(num_turns=1, reward="test"))
    rollout.reset(seed=0)
    closed.append(True)
    with pytest.raises(EpisodesFailedError, match=r"20 of 20 test episodes failed\. Leave this rollout out"):
        rollout.step(REPLIES[0])
    for take in (rollout.finish, lambda: rollout.step(REPLIES[0])):  # never a quiet 0 for what is missing
        with pytest.raises(EpisodesFailedError, match="20 of 20 test episodes failed"):
            take()
    closed.clear()
    rollout.reset(seed=0)
    assert isinstance(rollout.finish(), float)
    env.close()


def test_a_turn_that_a_budget_ended_is_taken_again_with_more_and_is_no_part_of_a_value() -> None:
    with GatesMetaEnv("demo", families=[LAW], episodes_per_step=4, score="progress", budget={"episodes": 10}) as env:
        rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(num_turns=2))
        rollout.reset(seed=3)
        rollout.step(REPLIES[0])
        for take in (lambda: rollout.step(REPLIES[2]), rollout.finish):
            with pytest.raises(BudgetExceededError):
                take()
        assert (len(rollout.prompts), len(rollout.history), len(rollout.rewards)) == (2, 2, 1)
        env.ledger.budget = Budget(episodes=100)
        rollout.step(REPLIES[2])
        value = rollout.finish()
    with GatesMetaEnv("demo", families=[LAW], episodes_per_step=4, score="progress") as env:
        whole = MetaEpisodeEnv(env, MetaEpisodeConfig(num_turns=2))
        whole.reset(seed=3)
        assert [whole.step(REPLIES[0]).done, whole.step(REPLIES[2]).done] == [False, True]
        assert whole.finish() == value


class FewRoads(GatesMetaEnv):
    def make_task_set(self) -> ListedTaskSet:
        return ListedTaskSet(Task(id=f"{LAW}/{seed}", family=LAW, split="train", seed=seed) for seed in range(9))


def test_too_few_test_tasks_are_no_quiet_zero() -> None:
    with FewRoads("demo", episodes_per_step=4) as env:
        rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(num_turns=1, reward="test"))
        rollout.reset(seed=3)
        for take in (lambda: rollout.step(REPLIES[2]), rollout.finish):
            with pytest.raises(TasksExhaustedError):
                take()


def test_a_reset_that_failed_leaves_nothing_of_the_meta_episode_before(env: Any) -> None:
    rollout, _ = play(env)
    with pytest.raises(gymnasium.error.Error, match="Seed must be"):
        rollout.reset(seed=-1)
    with pytest.raises(gymnasium.error.Error, match="Seed must be"):
        rollout.finish()
    assert (rollout.history, rollout.prompts, rollout.rewards) == ([], [], [])


def test_a_failed_episode_that_the_environment_tolerates_is_no_reward() -> None:
    closed: list[str] = []
    cls = gates_of(lambda inner: FailingEnv(inner, lambda task_id: bool(closed)))
    with cls("demo", families=[LAW], episodes_per_step=4, max_failure_rate=0.9, attempts=1, max_concurrency=1) as env:
        rollout = MetaEpisodeEnv(env, MetaEpisodeConfig())
        rollout.reset(seed=0)
        env.on_episode = lambda trajectory: closed.append(trajectory.task.id)  # all but the first of the next batch
        with pytest.raises(EpisodesFailedError, match=r"of 4 episodes failed\. Leave this rollout out"):
            rollout.step(REPLIES[0])


class SmallContext:
    """An actor whose context a long prompt overflows."""

    async def act(self, episode: Episode, steps: Any, observation: Any) -> Action:
        if len(episode.prompt) > 500:
            raise ContextOverflowError("too long")
        return Action(text="knock")


def test_a_prompt_that_overflows_the_actors_context_costs_its_score() -> None:
    with GatesMetaEnv(SmallContext(), families=[LAW], episodes_per_step=2, score="progress") as env:
        rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(num_turns=1))
        rollout.reset(seed=0)
        assert rollout.step("IMPROVED PROMPT: " + "be brave " * 100).reward == 0.0
        assert not env.config.allow_bad_batches
        env.default_prompt = "be brave " * 100
        with pytest.raises(BadBatchError):  # a first batch like that has no prompt to blame
            rollout.reset(seed=0)


def test_an_environment_that_ends_early_is_refused() -> None:
    with (
        GatesMetaEnv("demo", success_threshold=0.5) as env,
        pytest.raises(ConfigError, match="Expected an environment without success_threshold"),
    ):
        MetaEpisodeEnv(env)


def test_a_prompt_that_is_an_argument_is_played_as_it_is(env: Any) -> None:
    rollout = MetaEpisodeEnv(env, MetaEpisodeConfig())
    rollout.reset(seed=3)
    text = "Doors.\n## Improved prompt: for iron gates\nWhen the gate is iron, sing."
    assert rollout.write_prompt(text).prompt == text


def test_returns_to_go_are_the_sums_of_what_follows() -> None:
    assert returns_to_go([1.0, 0.0, 2.0]) == [3.0, 2.0, 2.0]
    assert returns_to_go([1.0, 0.0, 2.0], discount=0.5) == [1.5, 1.0, 2.0]
    assert returns_to_go([]) == []


def play_group(groups: MetaEpisodeGroups, *replies: list[str]) -> tuple[list[Any], Any]:
    """Play a group, one list of replies for each turn; return the conversations of each turn, and the rewards."""
    play = groups.play(3, len(replies[0]))
    asked = [next(play)]
    for turn in replies:
        try:
            asked.append(play.send([Completion(text=text) for text in turn]))
        except StopIteration as end:
            return asked, end.value
    raise AssertionError("the group should have ended")


def make_gates() -> Any:
    return metagym.make("MetaGym/Gates-v0", actor="demo", families=[LAW], episodes_per_step=4, score="progress")


def test_the_rollouts_of_a_group_are_meta_episodes_on_the_same_tasks(env: Any) -> None:
    with closing(MetaEpisodeGroups(make_gates, MetaEpisodeConfig(), seed=5)) as groups:
        asked, rewards = play_group(groups, *([REPLIES[turn], "Nothing."] for turn in range(3)))
    assert asked[0][0] == asked[0][1]
    assert [len(turn[0]) for turn in asked] == [2, 4, 6]
    alone, _ = play(env, seed=derive_seed("meta-episode", 5, 3))
    assert [turn[0] for turn in rewards] == alone.rewards
    assert sum(turn[1] for turn in rewards) < sum(alone.rewards)


def test_a_group_uses_its_environments_again() -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(make_gates())
        return made[-1]

    with closing(MetaEpisodeGroups(make, MetaEpisodeConfig(num_turns=1), seed=5)) as groups:
        assert play_group(groups, REPLIES[:2])[1] == play_group(groups, REPLIES[:2])[1]
    assert len(made) == 2


def test_a_rollout_whose_episodes_fail_has_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    step = MetaEpisodeEnv.step

    def failing(self: MetaEpisodeEnv, reply: Any) -> Answer:
        if reply.text == "fail":
            raise EpisodesFailedError("All episodes failed.", self.history[-1])
        return step(self, reply)

    monkeypatch.setattr(MetaEpisodeEnv, "step", failing)
    with closing(MetaEpisodeGroups(make_gates, MetaEpisodeConfig(num_turns=2), seed=5)) as groups:
        _, rewards = play_group(groups, [REPLIES[0], "fail"], [REPLIES[1], REPLIES[1]])
    assert [turn[1] for turn in rewards] == [None, None]
    assert all(turn[0] is not None for turn in rewards)


class Counted(GatesMetaEnv):
    is_away: ClassVar[bool] = False
    open_now: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__("demo", families=[LAW], episodes_per_step=2)
        Counted.open_now += 1

    def make_inner_env(self) -> Any:
        return FailingEnv(super().make_inner_env(), lambda task_id: Counted.is_away)

    def close(self) -> None:
        Counted.open_now -= 1
        super().close()


def test_a_group_whose_first_batch_fails_has_no_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "is_away", True)
    with closing(MetaEpisodeGroups(Counted, MetaEpisodeConfig(num_turns=1), seed=5)) as groups:
        assert play_group(groups, REPLIES[:2])[1] == [[None, None]]


def test_a_group_that_is_interrupted_leaves_no_environment_open() -> None:
    groups = MetaEpisodeGroups(Counted, MetaEpisodeConfig(num_turns=1), seed=5)
    played = groups.play(0, 3)
    next(played)
    played.close()
    assert Counted.open_now == 3
    groups.close()
    assert Counted.open_now == 0


def test_one_budget_holds_for_all_rollouts_of_a_group() -> None:
    def make() -> GatesMetaEnv:
        return GatesMetaEnv("demo", episodes_per_step=2, budget={"episodes": 3})

    with (
        closing(MetaEpisodeGroups(make, MetaEpisodeConfig(), seed=5)) as groups,
        pytest.raises(BudgetExceededError, match="The budget of 3 episodes leaves 1"),
    ):
        next(groups.play(0, 2))
