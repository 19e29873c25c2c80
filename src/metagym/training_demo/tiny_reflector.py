"""The start of a demonstration: a tiny reflector, made on the spot, or a real model; and its supervised phase.

The supervised phase teaches the format of a reply, and to copy a way that was *attempted*: for each gate, a way drawn
uniformly from the facts that name it, whatever their outcomes. In three of ten examples (`INFORMED_SHARE`) the way
that opened the gate is copied instead. So GRPO does *elicitation* here: the model then always copies that way;
before, it did so sometimes. With a share of 0, 160 steps taught it nothing about outcomes (GRPO only reinforces
sampled replies); without the supervised phase, it did not even learn the format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metagym.envs.gates.env import GATES, WAYS
from metagym.imports import require
from metagym.training.policy import Policy
from metagym.training_demo import gates_problem as toy
from metagym.types import Message, derive_seed

torch = require("torch", extra="train")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REPLY = "IMPROVED PROMPT:\n"
NUM_EXAMPLES = 2048
INFORMED_SHARE = 0.3
OnStep = Callable[[int], Any]
"""Called before each supervised step, with its number from 0."""
REAL_BATCH = 8
"""Examples in a supervised step of a real model."""
EPISODES_PER_STEP = 2
"""A batch of two roads reveals only a part of the law, so that the reflector must accumulate over meta-steps."""


def make_tokenizer(texts: Sequence[str]) -> object:
    """Train a byte-level BPE tokenizer with a ChatML template on `texts`."""
    tokenizers, transformers = require("tokenizers", extra="train"), require("transformers", extra="train")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *["user\nassistant\n"] * 9], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
    )


def make_tiny_model(vocab_size: int, *, seed: int, hidden_size: int = 64, num_layers: int = 2) -> object:
    """Make a model of Qwen2's shape with random weights."""
    transformers = require("transformers", extra="train")
    torch.manual_seed(seed)
    config = transformers.Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.08,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def make_examples(num_examples: int, *, seed: int) -> list[tuple[list[Message], str]]:
    """Return supervised pairs (messages, reply): batches that were played on train laws under random prompts."""
    rng = np.random.default_rng(derive_seed("supervised", seed))
    pairs: list[tuple[list[Message], str]] = []
    with toy.GradedGatesMetaEnv("demo", episodes_per_step=EPISODES_PER_STEP) as env:
        while len(pairs) < num_examples:
            law = toy.TRAIN_LAWS[int(rng.integers(len(toy.TRAIN_LAWS)))]
            tasks = env.task_set.draw(EPISODES_PER_STEP, rng=rng, families=[law])
            # Some prompts are empty; others instruct random ways, right or wrong, for some gates.
            gates = GATES if rng.random() < 0.7 else ()
            instructions = {gate: str(rng.choice(WAYS)) for gate in gates if rng.random() < 0.6}
            (meta_step,) = env.replay([toy.prompt_of(instructions) or env.default_prompt], [task.id for task in tasks])
            attempts = toy.revealed(meta_step.trajectories, limit=toy.SHOWN_ATTEMPTS)
            target = _copied_ways(instructions, attempts, rng, informed=rng.random() < INFORMED_SHARE)
            pairs.append((toy.compact_messages(meta_step), REPLY + toy.prompt_of(target)))
    return pairs


def _copied_ways(
    instructions: dict[str, str], attempts: Sequence[toy.GateAttempt], rng: np.random.Generator, *, informed: bool
) -> dict[str, str]:
    """Return for each gate a way of the facts that name it; with `informed`, one that opened it, if there is one."""
    ways = {}
    for gate in GATES:
        named = [attempt.way for attempt in attempts if attempt.gate == gate]
        named += [instructions[gate]] if gate in instructions else []
        opened = [attempt.way for attempt in attempts if (attempt.gate, attempt.outcome) == (gate, "opens")]
        named = opened if informed and opened else named
        if named:
            ways[gate] = str(rng.choice(named))
    return ways


def supervise(
    policy: Policy,
    pairs: Sequence[tuple[list[Message], str]],
    *,
    seed: int,
    num_steps: int,
    batch_size: int = 32,
    learning_rate: float = 4e-3,
    on_step: OnStep | None = None,
) -> None:
    """Train the policy on the pairs."""
    prompts = [policy.encode(messages) for messages, _ in pairs]
    replies = [policy.tokenizer(reply)["input_ids"] + [policy.end_id] for _, reply in pairs]
    rng = np.random.default_rng(derive_seed("batches", seed))
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=learning_rate, weight_decay=0.0)
    for step in range(num_steps):
        if on_step is not None:
            on_step(step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 50) * min(1.0, 2 * (1 - step / num_steps))
        rows = rng.integers(len(pairs), size=batch_size)
        logprobs, mask = policy.logprobs([prompts[row] for row in rows], [replies[row] for row in rows])
        loss = -logprobs.sum() / mask.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.trainable().values(), 1.0)
        optimizer.step()


def make_start(path: str | Path, *, seed: int, num_steps: int = 800, on_step: OnStep | None = None) -> Policy:
    """Make the tiny reflector before GRPO, save it to the folder `path`, and return it. It knows no reward."""
    pairs = make_examples(NUM_EXAMPLES, seed=seed)
    tokenizer = make_tokenizer([messages[0]["content"] + "\n" + reply for messages, reply in pairs])
    policy = Policy(make_tiny_model(len(tokenizer), seed=seed), tokenizer)  # type: ignore[arg-type]
    supervise(policy, pairs, seed=seed, num_steps=num_steps, on_step=on_step)
    policy.save(path)
    return policy


def make_real_start(
    model: str, path: str | Path, *, seed: int, num_steps: int, lora_rank: int, on_step: OnStep | None = None
) -> Policy:
    """Teach a language model the same format, save it to the folder `path`, and return it. It knows no reward."""
    policy = Policy.load(model, lora_rank=lora_rank)
    pairs = make_examples(num_steps * REAL_BATCH, seed=seed)
    sizes = {"num_steps": num_steps, "batch_size": REAL_BATCH}
    supervise(policy, pairs, seed=seed, **sizes, learning_rate=1e-3, on_step=on_step)
    taught, part = policy.merged(), Path(f"{path}.part")
    taught.save(part)
    part.replace(path)  # it gets its name only when it is complete
    return taught
