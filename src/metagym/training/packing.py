"""Each prompt is computed once: the replies follow one copy of it, and a cache has room for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from metagym.imports import require

torch = require("torch", extra="train")
cache_utils = require("transformers.cache_utils", extra="train")
Tensor = Any


class Packed(NamedTuple):
    """Sequences of one prompt and the replies to it; a reply sees the prompt and itself.

    Prompts are padded on the left and replies on the right, so that all prompts end at the same place.
    """

    ids: Tensor
    """int64 of shape `[num_rows, length]`, as are `positions` and `segments`."""
    positions: Tensor
    """The positions of a reply continue those of its prompt."""
    segments: Tensor
    """0 in the prompt, k in the k-th reply, -1 in the padding."""
    rows: Tensor
    """The row of each reply's tokens: int64 of shape `[num_replies, longest reply]`, as are the next three."""
    places: Tensor
    """The place before each token: its logits are those of the token."""
    tokens: Tensor
    real: Tensor
    """1 at tokens, 0 at the padding."""
    first_place: int
    """The last place of the prompts."""

    def to(self, device: Any) -> Packed:
        """Return the same on a device."""
        tensors = {name: value.to(device) for name, value in self._asdict().items() if name != "first_place"}
        return self._replace(**tensors)

    def attention_mask(self, dtype: Any) -> Tensor:
        """Return the mask that the model takes: of real tokens, or of who sees whom if replies share a prompt."""
        if int(self.segments.max()) <= 1:
            return (self.segments >= 0).long()
        seen, seeing = self.segments[:, None, None, :], self.segments[:, None, :, None]
        length = self.segments.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=self.segments.device).tril()
        allowed = earlier & ((seen == 0) | (seen == seeing))  # padding sees itself: a row without any would give NaN
        return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(
            ~allowed, torch.finfo(dtype).min
        )


def pack_replies(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], *, pad_id: int, share: bool
) -> Packed:
    """Return the completions behind their prompts; with `share`, those of equal neighbouring prompts in one row."""
    numbers = range(len(prompts))
    groups = (
        [list(group) for _, group in groupby(numbers, key=lambda number: tuple(prompts[number]))]
        if share
        else [[number] for number in numbers]
    )
    end = max(len(prompt) for prompt in prompts)
    longest = max(len(completion) for completion in completions)
    length = end + max(sum(len(completions[number]) for number in group) for group in groups)
    ids, positions, segments = [], [], []
    place_of: dict[int, tuple[int, list[int]]] = {}
    for row, group in enumerate(groups):
        prompt = list(prompts[group[0]])
        before = end - len(prompt)
        tokens, at, segment = [pad_id] * before + prompt, [0] * before + [*range(len(prompt))], [-1] * before
        segment += [0] * len(prompt)
        for reply, number in enumerate(group, start=1):
            completion, start = completions[number], len(tokens)
            place_of[number] = row, [end - 1, *range(start, start + len(completion) - 1)]
            tokens += completion
            at += range(len(prompt), len(prompt) + len(completion))
            segment += [reply] * len(completion)
        after = length - len(tokens)
        ids.append(tokens + [pad_id] * after)
        positions.append(at + [0] * after)
        segments.append(segment + [-1] * after)
    missing = [longest - len(completion) for completion in completions]
    return Packed(
        ids=torch.tensor(ids),
        positions=torch.tensor(positions),
        segments=torch.tensor(segments),
        rows=torch.tensor([[place_of[number][0]] * longest for number in numbers]),
        places=torch.tensor([place_of[number][1] + [end - 1] * missing[number] for number in numbers]),
        tokens=torch.tensor([[*completions[number], *[pad_id] * missing[number]] for number in numbers]),
        real=torch.tensor([[1] * len(completions[number]) + [0] * missing[number] for number in numbers]),
        first_place=end - 1,
    )


class RoomyLayer(cache_utils.DynamicLayer):  # type: ignore[misc, name-defined, unused-ignore]
    """A layer of a cache, with its rows repeated as `rows` says, and room for `num_tokens` more tokens.

    transformers' own layer copies all that it holds for each new token.
    """

    def __init__(self, layer: Any, rows: Tensor, num_tokens: int) -> None:
        super().__init__()
        # Not by `lazy_initialization`: its arguments differ from version to version.
        self.dtype, self.device, self.is_initialized = layer.keys.dtype, layer.keys.device, True
        self._length, self._room = layer.keys.shape[-2], list[Tensor]()
        for held in (layer.keys, layer.values):
            size = (len(rows), held.shape[1], self._length + num_tokens, held.shape[3])
            self._room.append(held.new_empty(size))
            self._room[-1][:, :, : self._length] = held[rows]
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """Take the keys and values of new tokens; return all."""
        start, self._length = self._length, self._length + key_states.shape[-2]
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, start : self._length] = new
        self._show()
        return self.keys, self.values

    def _show(self) -> None:
        self.keys, self.values = (room[:, :, : self._length] for room in self._room)
