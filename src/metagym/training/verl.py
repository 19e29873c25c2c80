"""The verl adapter, for clusters: the reward as verl calls it, and the Parquet that it reads.

It imports nothing of verl. Written against the interface of verl 0.9.1: `compute_score(data_source,
solution_str, ground_truth, extra_info, **reward_kwargs)`, named by `reward.custom_reward_function`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metagym.env import MetaEnv
from metagym.errors import ConfigError, InfrastructureError
from metagym.imports import require
from metagym.registration import make
from metagym.training.experience import Experience, Render, chat_messages
from metagym.training.reward import MetaReward, RewardConfig

DATA_SOURCE = "metagym"


def write_verl_parquet(
    experience: Sequence[Experience],
    path: str | Path,
    *,
    env_id: str,
    env_options: dict[str, Any],
    render: Render = chat_messages,
) -> None:
    """Write the data set as verl reads it: `data_source`, `prompt`, `reward_model.ground_truth`, `extra_info`.

    `ground_truth` is a JSON string that says what to replay and where: environment, options, old prompt, tasks.
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
    pyarrow, parquet = require("pyarrow", extra="train"), require("pyarrow.parquet", extra="train")
    parquet.write_table(pyarrow.Table.from_pylist(rows), str(path))


class _Environments:
    """The environments of this reward worker, one for each (id, options): verl calls a function, not an object."""

    def __init__(self) -> None:
        self._made: dict[str, MetaEnv] = {}
        self._lock = threading.Lock()

    def get(self, env_id: str, options: dict[str, Any]) -> MetaEnv:
        key = json.dumps([env_id, options], sort_keys=True)
        with self._lock:
            if key not in self._made:
                env = make(env_id, **options).unwrapped
                if not isinstance(env, MetaEnv):
                    raise ConfigError(f"{env_id} is no meta-environment.")
                self._made[key] = env
            return self._made[key]


_ENVIRONMENTS = _Environments()


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    **reward_kwargs: Any,
) -> dict[str, Any]:
    """Return `{"score", "format_failure"}` of one reflection; verl runs those of a batch side by side.

    `reward_kwargs` are the fields of `RewardConfig`. verl knows no missing reward: where the apparatus
    failed this raises, and the step fails, rather than count a 0.

    Raises:
        ConfigError: the row is not of this data source.
        InfrastructureError: an episode of the replay failed.
    """
    if data_source != DATA_SOURCE:
        raise ConfigError(f"Expected the data source {DATA_SOURCE!r}, got {data_source!r}.")
    from metagym.types import MetaStep

    truth = json.loads(ground_truth)
    env = _ENVIRONMENTS.get(truth["env_id"], truth["env_options"])
    reward = MetaReward(env, RewardConfig(**reward_kwargs))
    meta_step = MetaStep.model_validate(truth["meta_step"])
    (result,) = await asyncio.to_thread(reward.rewarded, meta_step, [solution_str])
    if result.reward is None:
        failed = next(item.error for item in result.meta_step.trajectories if item.score is None)
        raise InfrastructureError(f"The replay failed, so this reflection has no reward: {failed}")
    return {"score": result.reward, "format_failure": float(bool(result.problem))}
