"""A meta-episode as an agent loop of verl: each reply of the model is a reflection. Written for verl 0.9.1.

`metagym.training.verl.write_verl_meta_episodes` writes the data; `agent_loop.yaml` beside the example's configuration
names this class.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput
from verl.utils.profiler import simple_timer

from metagym.registration import make
from metagym.training.meta_episode_env import MetaEpisodeConfig, MetaEpisodeEnv
from metagym.types import Completion, Message


class MetaEpisodeAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """Plays the batches of a meta-episode between the replies of the model.

    The reward of the rollout is the sum of the rewards of its turns, which are in `turn_scores`. If the conversation
    reaches verl's `max_response_length`, the turns that are left count as turns without a usable reply.
    """

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Play the meta-episode of a row of the data; see `AgentLoopBase.run`."""
        spec = json.loads(row["extra_info"]["meta_episode"])
        with make(spec["env_id"], **spec["env_options"]) as env:
            rollout = MetaEpisodeEnv(env, MetaEpisodeConfig(**spec["config"]))
            return await self._play(rollout, int(row["extra_info"]["seed"]), sampling_params)

    async def _play(self, rollout: MetaEpisodeEnv, seed: int, sampling_params: dict[str, Any]) -> AgentLoopOutput:
        limit, request_id = self.rollout_config.response_length, uuid4().hex
        metrics: dict[str, Any] = {}
        messages = await asyncio.to_thread(rollout.reset, seed=seed)
        ids, mask, logprobs = await self.ct_build_initial_tokens(messages), list[int](), None
        while True:
            with simple_timer("generate_sequences", metrics):
                output = await self.server_manager.generate(
                    request_id=request_id, prompt_ids=ids, sampling_params=sampling_params
                )
            known = list(output.log_probs or ()) or None
            merged, mask, logprobs = await self.ct_merge_assistant_token(
                ids, output.token_ids, mask, logprobs if mask else known and [], assistant_logprobs=known
            )
            ids = merged.token_ids
            is_whole = len(mask) < limit or output.token_ids[-1] == self.tokenizer.eos_token_id
            text = self.tokenizer.decode(output.token_ids, skip_special_tokens=True)
            with simple_timer("tool_calls", metrics):
                reply = Completion(text=text, finish_reason="stop" if is_whole else "length")
                answer = await asyncio.to_thread(rollout.step, reply)
            if answer.message is None:
                break
            said: Message = {"role": "assistant", "content": text}
            before, messages = [*messages, said], [*messages, said, answer.message]
            merged, mask, logprobs = await self.ct_merge_context_msg(before, messages, ids, mask, logprobs)
            ids = merged.token_ids
            if len(mask) >= limit:
                await asyncio.to_thread(rollout.finish)
                break
        metrics.setdefault("num_preempted", -1)
        num_prompt_tokens = len(ids) - len(mask)
        return AgentLoopOutput(
            prompt_ids=ids[:num_prompt_tokens],
            response_ids=ids[num_prompt_tokens:][:limit],
            response_mask=mask[:limit],
            response_logprobs=logprobs[:limit] if logprobs else None,
            reward_score=sum(rollout.rewards),
            num_turns=2 * rollout.config.num_turns,
            metrics=metrics,
            extra_fields={"turn_scores": list(rollout.rewards), "tool_rewards": []},
        )
