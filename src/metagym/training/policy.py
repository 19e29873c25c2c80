"""Policy: a causal language model with its tokenizer, which writes reflections. It knows nothing of rewards."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metagym.errors import ConfigError
from metagym.imports import require
from metagym.training.gguf_weights import trainable_model
from metagym.training.packing import RoomyLayer, pack_replies
from metagym.types import Completion, Message, Usage

torch = require("torch", extra="train")
logger = logging.getLogger(__name__)
Tensor = Any
"""A torch tensor. Its type is not named, so that the module type-checks without torch, too."""


class Sample(NamedTuple):
    """One completion of one prompt."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """The sampled tokens, with the end token if there is one."""
    logprobs: tuple[float, ...]
    """Log-probability of each token, in the distribution from which it was drawn."""
    text: str
    """The text, without the end token and other special tokens."""
    is_finished: bool
    """Whether the end token was sampled before the length limit."""

    @property
    def completion(self) -> Completion:
        """The sample as a model's reply."""
        return Completion(
            text=self.text,
            finish_reason="stop" if self.is_finished else "length",
            usage=Usage(prompt_tokens=len(self.prompt_ids), completion_tokens=len(self.token_ids), num_calls=1),
            token_ids=self.token_ids,
            logprobs=self.logprobs,
        )


class Policy:
    """A causal language model and its tokenizer: samples completions, and computes their log-probabilities.

    Padding on both sides is masked, so that the numbers of a sequence do not depend on the others in its batch,
    except for rounding. Position ids count real tokens only.
    """

    def __init__(self, model: Any, tokenizer: Any, *, dtype: str = "float32") -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(
                "Expected a model whose tokenizer has a chat template, got one without. Use an instruction-tuned "
                "model, or set tokenizer.chat_template."
            )
        if tokenizer.eos_token_id is None:
            raise ConfigError("Expected a tokenizer with an end token, got one without. Set tokenizer.eos_token.")
        self.model, self.tokenizer, self.dtype = model, tokenizer, _dtype(dtype)
        self._has_warned = False
        self.end_id: int = tokenizer.eos_token_id
        # A chat model may end its turn with another token than its tokenizer names.
        further = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        self.end_ids = frozenset({self.end_id, *([further] if isinstance(further, int) else further or ())})
        self.pad_id: int = self.end_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        lora_rank: int | None = None,
        dtype: str = "float32",
        frozen: bool = False,
        device: str | None = None,
    ) -> Policy:
        """Load a model from a folder, a GGUF file or the hub; with `lora_rank`, only a new LoRA adapter is trainable.

        `dtype` (float32 or bfloat16) is the type of the arithmetic, and of weights that are not trained (`frozen`,
        or under an adapter). Trained weights are float32: at the learning rates of GRPO, bfloat16 would round an
        update to nothing. The default `device` is the GPU if there is one. If the folder holds a LoRA adapter, its
        base model is loaded and the adapter is merged into it; beside bfloat16 weights it stays apart, because merged
        it would be rounded away.
        """
        transformers = require("transformers", extra="train")
        weights = _dtype(dtype) if frozen or lora_rank is not None else torch.float32
        try:
            with _without_progress_bars():
                source = trainable_model(str(path))
                if is_adapter(source):
                    adapted = require("peft", extra="train").AutoPeftModelForCausalLM
                    model = adapted.from_pretrained(source, dtype=weights)
                    model = model.merge_and_unload() if weights is torch.float32 else model
                else:
                    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=weights)
                tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"Expected a causal language model (a folder with config.json, weights and tokenizer, or a hub name), "
                f"got {str(path)!r}: {str(error).splitlines()[0]}"
            ) from error
        if lora_rank is not None:
            check_start_of_adapter(source, dtype)
            peft = require("peft", extra="train")
            adapter = peft.LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules="all-linear")
            with torch.random.fork_rng():  # the global generator is left as it was
                torch.manual_seed(0)  # a resumed run must start with the same adapter
                model = peft.get_peft_model(model, adapter)
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model.eval()  # without dropout the ratio of the first update is exactly one
        return cls(model, tokenizer, dtype=dtype)

    def save(self, path: str | Path) -> None:
        """Save model (or adapter) and tokenizer for `load`."""
        with _without_progress_bars():
            self.model.save_pretrained(str(path))
            self.tokenizer.save_pretrained(str(path))

    def merged(self) -> Policy:
        """Return the policy with its adapter merged into the weights; this one must not be used any more."""
        return Policy(self.model.merge_and_unload(), self.tokenizer, dtype=str(self.dtype).removeprefix("torch."))

    def trainable(self) -> dict[str, Tensor]:
        """Return the trained parameters by name."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def generator(self, seed: int) -> Any:
        """Return a generator on the policy's device. CPU and GPU draw different samples from the same seed."""
        return torch.Generator(self.model.device).manual_seed(seed)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return the conversation as token ids, up to the start of the reply."""
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @functools.cached_property
    def shares_prompts(self) -> bool:
        """Whether replies to the same prompt are computed behind one copy of it: in models with full attention alone.

        It is found by trying: two replies behind one prompt, and each behind its own.
        """
        config = self.model.config
        kinds = set(getattr(config, "layer_types", None) or ())
        if kinds - {"full_attention"} or (not kinds and getattr(config, "sliding_window", None)):
            return False
        first, last = (id % config.vocab_size for id in (3, 11))
        prompts, replies = [[first, last, first]] * 2, [[last, first], [first, last, last]]
        with torch.no_grad():
            alone = self._logprobs(prompts, replies, share=False)[0]
            try:
                together = self._logprobs(prompts, replies, share=True)[0]
            except (RuntimeError, TypeError, ValueError):  # a kind of attention that takes no mask from us
                return False
        return bool(torch.allclose(alone, together, atol=1e-3 if self.dtype is torch.float32 else 0.05))

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        generator: Any,
        temperature: float = 1.0,
        on_token: Callable[[int], Any] | None = None,
    ) -> list[Sample]:
        """Sample one completion per prompt with `generator`; temperature 0 takes the most likely tokens.

        `on_token` is called with the number of tokens so far.
        """
        longest, limit = max(map(len, prompts)), getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and longest >= limit and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "A prompt has %d tokens, and the model was made for %d at most: its replies mean little. Lower "
                "episodes_per_step or the number of turns, or train a model with a longer context.",
                longest,
                limit,
            )
        distinct = list(dict.fromkeys(map(tuple, prompts))) if self.shares_prompts else list(prompts)
        row_of = {prompt: row for row, prompt in enumerate(distinct)} if self.shares_prompts else {}
        ids, mask = self._pad(distinct)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        out = self._forward(ids, mask, positions, use_cache=True, logits_to_keep=1)
        # transformers 5.24 renamed the cache. The name in the model's output is the name that it takes.
        name = "cache" if "cache" in out else "past_key_values"
        cache, logits = out[name], out.logits
        if self.shares_prompts:
            rows = torch.tensor([row_of[tuple(prompt)] for prompt in prompts], device=ids.device)
            cache.layers = [RoomyLayer(layer, rows, max_new_tokens) for layer in cache.layers]
            logits, mask = logits[rows], mask[rows]
        alive = torch.ones(len(prompts), dtype=torch.bool, device=ids.device)
        ends = torch.tensor(sorted(self.end_ids), device=ids.device)
        tokens, logprobs = [], []
        while True:
            log_p = torch.log_softmax(logits[:, -1].float() / (temperature or 1.0), -1)
            if temperature:
                drawn = torch.multinomial(log_p.exp(), 1, generator=generator)
            else:
                drawn = log_p.argmax(-1, keepdim=True)
            tokens.append(torch.where(alive, drawn[:, 0], self.pad_id))
            logprobs.append(log_p.gather(-1, drawn)[:, 0])
            mask = torch.cat([mask, alive[:, None].long()], 1)
            alive = alive & ~torch.isin(drawn[:, 0], ends)
            if on_token is not None:
                on_token(len(tokens))
            if len(tokens) == max_new_tokens or not alive.any():
                break
            positions = (mask.cumsum(-1) - 1)[:, -1:]
            logits = self._forward(tokens[-1][:, None], mask, positions, use_cache=True, **{name: cache}).logits
        lengths = (mask[:, -len(tokens) :]).sum(-1).tolist()
        written, scores = torch.stack(tokens, 1).tolist(), torch.stack(logprobs, 1).tolist()
        return [
            Sample(
                tuple(prompt),
                tuple(written[row][:length]),
                tuple(scores[row][:length]),
                self.tokenizer.decode(written[row][:length], skip_special_tokens=True),
                written[row][length - 1] in self.end_ids,
            )
            for row, (prompt, length) in enumerate(zip(prompts, lengths, strict=True))
        ]

    def logprobs(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], *, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return the log-probability of each completion's tokens, and the mask of real ones.

        Both are float32 of shape `[num_completions, longest completion]`, padded on the right. The mask is 1 up to
        and including the end token, and 0 after it. Completions of equal prompts that follow each other share one
        sequence, if the model allows it (`shares_prompts`).
        """
        return self._logprobs(prompts, completions, share=self.shares_prompts, temperature=temperature)

    def _logprobs(
        self,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        *,
        share: bool,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        packed = pack_replies(prompts, completions, pad_id=self.pad_id, share=share).to(self.model.device)
        # Logits of the completions only: they have the size of the vocabulary, and cost the most memory.
        kept = packed.ids.shape[1] - packed.first_place
        mask = packed.attention_mask(self.dtype)
        logits = self._forward(packed.ids, mask, packed.positions, use_cache=False, logits_to_keep=kept).logits
        log_p = torch.log_softmax(logits[:, -kept:].float() / (temperature or 1.0), -1)
        return log_p[packed.rows, packed.places - packed.first_place, packed.tokens] * packed.real, packed.real.float()

    def micro_batches(self, samples: Sequence[Sample], max_samples: int, max_tokens: int) -> list[slice]:
        """Return which samples each forward pass takes, so that no pass exceeds a limit; at least one.

        The tokens of a pass are its rows times the longest one, padding included. A prompt counts once for the samples
        behind it that share its row.
        """
        starts = [0]
        rows: list[tuple[int, int]] = []  # the tokens of each row's prompt, and of its replies
        for number, sample in enumerate(samples):
            num_prompt, num_reply = len(sample.prompt_ids), len(sample.token_ids)
            if rows and self.shares_prompts and samples[number - 1].prompt_ids == sample.prompt_ids:
                wider = [*rows[:-1], (num_prompt, rows[-1][1] + num_reply)]
            else:
                wider = [*rows, (num_prompt, num_reply)]
            num_tokens = len(wider) * sum(map(max, zip(*wider, strict=True)))
            if number > starts[-1] and (number - starts[-1] == max_samples or num_tokens > max_tokens):
                starts.append(number)
                wider = [(num_prompt, num_reply)]
            rows = wider
        return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(samples)], strict=True)]

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, **options: Any) -> Any:
        with torch.autocast(self.model.device.type, dtype=self.dtype, enabled=self.dtype is not torch.float32):
            return self.model(input_ids=ids, attention_mask=mask, position_ids=positions, **options)

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return the rows padded on the left, and the mask that is 1 at real tokens: int64 of equal shape."""
        tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
        pad = functools.partial(torch.nn.utils.rnn.pad_sequence, batch_first=True, padding_side="left")
        ids, mask = pad(tensors, padding_value=self.pad_id), pad([torch.ones_like(row) for row in tensors])
        return ids.to(self.model.device), mask.to(self.model.device)


def is_adapter(path: str | Path) -> bool:
    """Return whether the folder holds a LoRA adapter."""
    return (Path(path) / "adapter_config.json").is_file()


def check_start_of_adapter(path: str | Path, dtype: str) -> None:
    """Raise ConfigError if a new adapter would be trained on an adapter that `dtype` rounds away."""
    if is_adapter(path) and dtype != "float32":
        raise ConfigError(
            f"Expected dtype='float32' for an adapter on the adapter in {str(path)!r}, got {dtype!r}: bfloat16 would "
            "round away what the first one learned."
        )


def _dtype(name: str) -> Any:
    if name not in ("float32", "bfloat16"):
        raise ConfigError(f"dtype must be 'float32' or 'bfloat16', got {name!r}.")
    return getattr(torch, name)


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars over the caller's output."""
    logs = require("transformers", extra="train").utils.logging
    enabled = logs.is_progress_bar_enabled()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logs.enable_progress_bar()
