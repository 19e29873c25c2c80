"""The verl adapter, for clusters: the reward function that verl calls, and the Parquet file that it reads.

It does not import verl. Written for the interface of verl 0.9.1: `compute_score(data_source,
solution_str, ground_truth, extra_info, **reward_kwargs)`, named by `reward.custom_reward_function`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError, InfrastructureError
from metagym.training.experience import Experience, Render, chat_messages, write_rows
from metagym.training.reward import MetaReward, RewardConfig, shared_meta_env
from metagym.types import MetaStep

DATA_SOURCE = "metagym"


def write_verl_parquet(
    experience: Sequence[Experience],
    path: str | Path,
    *,
    env_id: str,
    env_options: dict[str, Any],
    render: Render = chat_messages,
) -> None:
    """Write the columns that verl reads: `data_source`, `prompt`, `reward_model.ground_truth`, `extra_info`.

    `ground_truth` is a JSON string with all that a replay needs: environment, options, old prompt and tasks.
    """
    rows = []
    for row, item in enumerate(experience):
        truth = {
            "env_id": env_id,
            "env_options": env_options,
            "meta_step": item.meta_step.model_dump(mode="json"),
        }
        rows.append(
            {
                "data_source": DATA_SOURCE,
                "prompt": render(item.meta_step),
                "ability": "reflection",
                "reward_model": {"style": "rule", "ground_truth": json.dumps(truth)},
                "extra_info": {"index": row, "id": item.id, "split": "train"},
            }
        )
    write_rows(rows, path)


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    **reward_kwargs: Any,
) -> dict[str, Any]:
    """Return `{"score", "format_failure"}` of one reflection; verl calls it for all of a batch at the same time.

    `reward_kwargs` are the fields of `RewardConfig`. verl has no missing rewards: if an episode fails, this raises,
    and the step fails. It never returns 0 instead.

    Raises:
        ConfigError: the row has another data source.
        InfrastructureError: an episode of the replay failed.
    """
    if data_source != DATA_SOURCE:
        raise ConfigError(f"Expected the data source {DATA_SOURCE!r}, got {data_source!r}. Use write_verl_parquet.")
    truth = json.loads(ground_truth)
    reward = MetaReward(shared_meta_env(truth["env_id"], truth["env_options"]), RewardConfig(**reward_kwargs))
    meta_step = MetaStep.model_validate(truth["meta_step"])
    (result,) = await asyncio.to_thread(reward.rewarded, meta_step, [solution_str])
    if result.reward is None:
        failed = next(item.error for item in result.meta_step.trajectories if item.score is None)
        raise InfrastructureError(f"The replay failed, so this reflection has no reward: {failed}")
    return {"score": result.reward, "format_failure": float(bool(result.problem))}
