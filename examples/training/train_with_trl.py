"""The toy problem of `metagym train demo` with TRL's GRPOTrainer instead of the plain loop: same reward, same data.

    python examples/training/train_with_trl.py OUT
    torchrun --nproc_per_node 2 examples/training/train_with_trl.py OUT      # two processes, on the CPU, too
    python examples/training/train_with_trl.py OUT --resume                  # from TRL's own last checkpoint

On GPUs, vLLM can write the replies; the reward function stays as it is:

    VLLM=colocate torchrun --nproc_per_node 8 examples/training/train_with_trl.py OUT
    trl vllm-serve --model OUT/start   # on other GPUs, beside VLLM=server torchrun ...
"""

import os
import sys
from pathlib import Path

import torch
import transformers
import trl

from metagym.training.experience import read_experience, to_experience, write_jsonl
from metagym.training.policy import Policy
from metagym.training.reward import MetaReward
from metagym.training.trl import grpo_arguments, make_dataset, make_reward_function
from metagym.training_demo.demonstration import DemoConfig
from metagym.training_demo.gates_problem import (
    TRAIN_LAWS,
    GradedGatesMetaEnv,
    compact_messages,
    play_loops,
    write_with,
)
from metagym.training_demo.tiny_reflector import EPISODES_PER_STEP, make_start
from metagym.types import digest


def main(out: Path, *, resume: bool) -> None:
    torch.set_num_threads(1)
    config, processes = DemoConfig(), int(os.environ.get("WORLD_SIZE", "1"))
    env = GradedGatesMetaEnv("demo", episodes_per_step=EPISODES_PER_STEP)
    if not (out / "experience.jsonl").exists():
        if processes > 1:
            sys.exit("Make the start model and the experience first, by a run with one process.")
        start = make_start(out / "start", seed=0)
        histories, _ = play_loops(env, write_with(start, seed=0), TRAIN_LAWS[:128], num_steps=4, seed=0)
        write_jsonl(to_experience(histories, fingerprint=digest(env.fingerprint)), out / "experience.jsonl")
    experience = read_experience(out / "experience.jsonl", fingerprint=digest(env.fingerprint))
    end_id = transformers.AutoTokenizer.from_pretrained(out / "start").eos_token_id
    trainer = trl.GRPOTrainer(
        model=str(out / "start"),
        args=trl.GRPOConfig(
            output_dir=str(out / "trl"),
            max_steps=int(os.environ.get("STEPS", config.num_steps)),
            save_steps=10,
            logging_steps=1,
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            use_vllm="VLLM" in os.environ,
            vllm_mode=os.environ.get("VLLM", "colocate"),
            **grpo_arguments(config.grpo, num_processes=processes),
        ),
        train_dataset=make_dataset(experience, render=compact_messages),
        reward_funcs=[make_reward_function(MetaReward(env, config.reward), experience, end_ids=[end_id])],
    )
    # `accelerate launch --cpu --num_processes 2` silently runs one process: ask, never assume.
    assert trainer.accelerator.num_processes == processes, trainer.accelerator.num_processes
    trainer.train(resume_from_checkpoint=resume)
    if trainer.accelerator.is_main_process:
        rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
        print(f"{processes} processes, {len(rewards)} steps, reward", " ".join(f"{value:.2f}" for value in rewards))
        trainer.save_model(str(out / "trained"))
        Policy.load(out / "trained")  # what TRL saved is served like any other checkpoint
    env.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), resume="--resume" in sys.argv)
