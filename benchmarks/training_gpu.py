"""A GRPO step of a randomly initialised Qwen2-shaped model: seconds, memory, tokens/s; plain loop and TRL.

    python benchmarks/training_gpu.py OUT                # 0.5B parameters, bf16, LoRA and full: needs a GPU
    python benchmarks/training_gpu.py OUT --tiny         # a model of a few thousand, to see that it runs

The weights are random, so every reply reaches its length limit: the work of a step is fixed. The reward costs
nothing; the actor's episodes are not included. Needs the extra `train`, and TRL for its rows (or `--no-trl`).
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metagym.training.grpo import GRPO, GRPOConfig, single_turns
from metagym.training.policy import Policy
from metagym.training.trl import grpo_arguments
from metagym.training_demo.tiny_reflector import make_tokenizer
from metagym.types import Message

QWEN2_HALF_B = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151_936,
}
TINY = {**QWEN2_HALF_B, "hidden_size": 28, "intermediate_size": 56, "num_hidden_layers": 1, "vocab_size": 512}
WORDS = ["the", "gate", "is", "oak", "and", "stays", "shut", "so", "try", "to", "push", "it", "next", "time"]


def make_model(path: Path, shape: dict[str, int]) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.Qwen2Config(**shape, max_position_embeddings=32_768, tie_word_embeddings=True)
    tokenizer: Any = make_tokenizer([" ".join(WORDS)] * 9)
    Policy(transformers.AutoModelForCausalLM.from_config(config), tokenizer).save(path)


def time_plain(model: Path, prompts: list[str], config: GRPOConfig, rank: int | None, steps: int) -> list[float]:
    policy = Policy.load(model, lora_rank=rank, dtype="bfloat16")
    reference = None if rank else Policy.load(model, dtype="bfloat16", frozen=True)
    conversations: list[list[Message]] = [[{"role": "user", "content": prompt}] for prompt in prompts]
    reward = lambda row, replies: [float(reply.token_ids[0] % 7) for reply in replies]  # noqa: E731
    play = single_turns(conversations, reward)
    algorithm = GRPO(policy, play, len(conversations), config=config, seed=0, reference=reference)
    times = []
    for step in range(steps):
        began = time.perf_counter()
        algorithm.step(step)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return times


def time_trl(model: Path, prompts: list[str], config: GRPOConfig, rank: int | None, steps: int) -> list[float]:
    import datasets
    import peft
    import transformers
    import trl

    ends: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [float(ids[0] % 7) for ids in completion_ids]

    on_gpu = torch.cuda.is_available()
    arguments = {**grpo_arguments(config), "bf16": on_gpu, "use_cpu": not on_gpu, "max_steps": steps}
    arguments["gradient_checkpointing"] = False  # as in the plain loop
    rows = [{"prompt": [{"role": "user", "content": prompt}]} for prompt in prompts]
    trainer = trl.GRPOTrainer(
        model=str(model),
        args=trl.GRPOConfig(
            output_dir=str(model.parent / "trl"), save_strategy="no", report_to="none", disable_tqdm=True, **arguments
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        reward_funcs=[reward],
        callbacks=[Clock()],
        peft_config=None if rank is None else peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"),
    )
    began = time.perf_counter()
    trainer.train()
    return [end - start for start, end in zip([began, *ends], ends, strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--steps", type=int, default=4, help="the first is left out: it warms up")
    parser.add_argument("--prompt-words", type=int, default=1024)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--groups", type=int, default=4)
    asked = parser.parse_args()
    model = asked.out / "model"
    make_model(model, TINY if asked.tiny else QWEN2_HALF_B)
    config = GRPOConfig(groups_per_step=asked.groups, micro_batch=8, max_new_tokens=asked.new_tokens)
    words = range(asked.prompt_words)
    prompts = [" ".join(WORDS[(row + place) % len(WORDS)] for place in words) for row in range(asked.groups)]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()}), no GPU"
    num_replies = config.group_size * config.groups_per_step
    print(f"{device}; torch {torch.__version__}; {num_replies} replies of {asked.new_tokens} tokens a step, bf16")
    loops: dict[str, Callable[..., list[float]]] = {"plain": time_plain}
    if not asked.no_trl:
        loops["TRL"] = time_trl
    for rank in (16, None):
        for name, timed in loops.items():
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            step_s = statistics.median(timed(model, prompts, config, rank, asked.steps)[1:])
            memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else "no GPU"
            written = num_replies * asked.new_tokens / step_s
            kind = "full" if rank is None else f"LoRA {rank}"
            print(f"{name:>5}, {kind:>7}: {step_s:.2f} s a step, {written:.0f} written tokens/s, {memory}", flush=True)


if __name__ == "__main__":
    main()
