"""The TRL adapter: the same reward as an async reward function for `GRPOTrainer`, and its data set; or meta-episodes.

Written for TRL 1.16. TRL's defaults are not the GRPO of the paper: `grpo_arguments` sets those that differ.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

import gymnasium

from metagym.errors import ConfigError, InfrastructureError
from metagym.imports import require
from metagym.training.experience import Experience, Render, chat_messages, check_experience
from metagym.training.grpo import GRPOConfig
from metagym.training.meta_episode_env import MetaEpisodeConfig, MetaEpisodeEnv
from metagym.training.reward import MetaReward
from metagym.types import Completion


def make_dataset(experience: Sequence[Experience], *, render: Render = chat_messages) -> Any:
    """Return a `datasets.Dataset` with the columns `prompt` (messages) and `row` (index into `experience`)."""
    rows = [{"prompt": render(item.meta_step), "row": row} for row, item in enumerate(experience)]
    return require("datasets").Dataset.from_list(rows)


def make_reward_function(
    reward: MetaReward, experience: Sequence[Experience], *, end_ids: Collection[int] = ()
) -> Callable[..., Any]:
    """Return an async reward function for `GRPOTrainer(reward_funcs=[...])`, over `make_dataset(experience)`.

    TRL passes all completions of a batch; those of one row are rewarded in one engine run. The reward is None if an
    episode failed for infrastructure reasons; TRL leaves such a completion out. `end_ids` are the model's end tokens,
    `[tokenizer.eos_token_id]`: with them, a completion that was cut off keeps the old prompt, as in `train`.

    Raises:
        ConfigError: the experience was collected with another environment, actor or options.
    """
    check_experience(experience, reward.env)

    async def meta_reward(
        completions: Sequence[Any], row: Sequence[int], completion_ids: Sequence[Sequence[int]] = (), **_: Any
    ) -> list[float | None]:
        texts = [item if isinstance(item, str) else item[-1]["content"] for item in completions]
        is_cut = [bool(end_ids) and ids[-1] not in end_ids for ids in completion_ids] or [False] * len(texts)
        replies = [
            Completion(text=text, finish_reason="length" if cut else "stop")
            for text, cut in zip(texts, is_cut, strict=True)
        ]
        rewards: list[float | None] = [None] * len(texts)
        for index in dict.fromkeys(row):
            places = [place for place, other in enumerate(row) if other == index]
            # `replay` blocks until its own event loop has finished: it must not block this one.
            group = await asyncio.to_thread(reward, experience[index].meta_step, [replies[place] for place in places])
            for place, value in zip(places, group, strict=True):
                rewards[place] = value
        return rewards

    return meta_reward


TOOL_PROMPT = """\
You improve the system prompt of an agent that acts in an environment. You see the agent's current system prompt and \
what it did under it. Call write_prompt with a better one: complete, and for new tasks of the same kind. The answer \
shows what the agent did under it. Do so until the answer says that this was the last time."""


class MetaEpisodeTool:
    """One meta-episode as TRL's environment: `write_prompt` is a turn. `environment_factory` makes them."""

    def __init__(self, env: gymnasium.Env[Any, str], config: MetaEpisodeConfig) -> None:
        self._rollout = MetaEpisodeEnv(env, config)
        self._turn = threading.Lock()
        """TRL makes the calls of one message at the same time; a turn is played after another."""

    def reset(self, *, seed: int, **row: Any) -> str:
        """Play the first batch of the row's meta-episode, and return its text."""
        try:
            return self._rollout.reset(seed=seed)[-1]["content"]
        except InfrastructureError:  # TRL would end the training; `get_reward` has no value
            return "The first batch failed."

    async def write_prompt(self, prompt: str) -> str:
        """Write the agent's next system prompt, and see the agent's episodes under it.

        Args:
            prompt: The complete new system prompt.

        Returns:
            The agent's next episodes, under the new prompt.
        """

        def take_turn() -> str:
            with self._turn:
                if len(self._rollout.prompts) > self._rollout.config.num_turns:
                    return "That was the last time. The prompt is not used."
                answer = self._rollout.write_prompt(prompt)
            shown = "That was the last time." if answer.message is None else answer.message["content"]
            return f"{answer.problem}\n\n{shown}".strip()

        return await asyncio.to_thread(take_turn)

    async def get_reward(self) -> float | None:
        """Return the value of the meta-episode; None if its episodes failed for infrastructure reasons."""
        try:
            return await asyncio.to_thread(self._rollout.finish)
        except InfrastructureError:
            return None


def make_environment_factory(
    make_env: Callable[[], gymnasium.Env[Any, str]], config: MetaEpisodeConfig | None = None
) -> Callable[[], MetaEpisodeTool]:
    """Return the `environment_factory` of `GRPOTrainer` for meta-episodes, over `meta_episode_rows`."""
    return lambda: MetaEpisodeTool(make_env(), config or MetaEpisodeConfig())


def meta_episode_rows(num_episodes: int, *, first_seed: int = 0) -> Any:
    """Return a `datasets.Dataset` of meta-episodes: the columns are `prompt` (messages) and `seed`."""
    prompt = [{"role": "system", "content": TOOL_PROMPT}, {"role": "user", "content": ""}]
    rows = [{"prompt": prompt, "seed": first_seed + number} for number in range(num_episodes)]
    return require("datasets").Dataset.from_list(rows)


def grpo_arguments(config: GRPOConfig, *, num_processes: int = 1) -> dict[str, Any]:
    """Return keyword arguments for `trl.GRPOConfig` that have the meaning of `config`.

    A step then has `groups_per_step` groups over all processes together, and at most `micro_batch` completions in
    one pass.
    """
    total = config.group_size * config.groups_per_step
    share, rest = divmod(total, num_processes)
    if rest:
        raise ConfigError(
            f"Expected a number of completions per step that {num_processes} processes can share evenly, got {total}. "
            "Change group_size, groups_per_step or the number of processes."
        )
    per_device = max(size for size in range(1, min(share, config.micro_batch) + 1) if share % size == 0)
    return {
        "num_generations": config.group_size,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": share // per_device,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant",
        "epsilon": config.clip,
        "beta": config.kl,
        "num_iterations": config.num_updates,
        "max_completion_length": config.max_new_tokens,
        "temperature": config.temperature,
        "max_grad_norm": config.max_grad_norm,
        "loss_type": "grpo",  # TRL: dapo
        "scale_rewards": "group",
        "bf16": False,  # TRL: True, which CPUs do slowly or not at all
        "mask_truncated_completions": False,
    }
