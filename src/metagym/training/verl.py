"""The verl adapter, for clusters: the reward function that verl calls, and the Parquet file that it reads.

It does not import verl. Written for the interface of verl 0.9.1, which `reward.custom_reward_function` names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metagym.errors import ConfigError
from metagym.training.experience import Experience, Render, chat_messages, write_rows
from metagym.training.meta_episode_env import MetaEpisodeConfig
from metagym.training.reward import RewardConfig, reward_reply

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
        meta_step = item.meta_step.model_dump(mode="json")
        about = {"env_id": env_id, "env_options": env_options, "fingerprint": item.fingerprint}
        truth = json.dumps({**about, "meta_step": meta_step})
        rows.append(
            {
                "data_source": DATA_SOURCE,
                "prompt": render(item.meta_step),
                "ability": "reflection",
                "reward_model": {"style": "rule", "ground_truth": truth},
                "extra_info": {"index": row, "id": item.id, "split": "train"},
            }
        )
    write_rows(rows, path)


def write_verl_meta_episodes(
    num_episodes: int,
    path: str | Path,
    *,
    env_id: str,
    env_options: dict[str, Any],
    config: MetaEpisodeConfig | None = None,
    first_seed: int = 0,
) -> None:
    """Write rows of whole meta-episodes, which `metagym.bridges.verl` plays: `agent_name` is `metagym`.

    The conversation is ours: the prompt of a row is not used.
    """
    spec = {"env_id": env_id, "env_options": env_options, "config": (config or MetaEpisodeConfig()).model_dump()}
    rows = [
        {
            "data_source": DATA_SOURCE,
            "agent_name": "metagym",
            "prompt": [{"role": "user", "content": "A meta-episode."}],
            "ability": "reflection",
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"index": number, "seed": first_seed + number, "meta_episode": json.dumps(spec)},
        }
        for number in range(num_episodes)
    ]
    write_rows(rows, path)


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    **reward_kwargs: Any,
) -> dict[str, Any]:
    """Return `{"score", "format_failure"}` of one reflection; verl calls it for all of a batch at the same time.

    `reward_kwargs` are the fields of `RewardConfig`. If an episode fails, this raises `InfrastructureError`, and the
    step fails.
    """
    if data_source != DATA_SOURCE:
        raise ConfigError(f"Expected the data source {DATA_SOURCE!r}, got {data_source!r}. Use write_verl_parquet.")
    config = RewardConfig(**reward_kwargs)
    reward, problem = await reward_reply(**json.loads(ground_truth), reply=solution_str, config=config)
    return {"score": reward, "format_failure": float(bool(problem))}
