"""Whatever a model, a server or a user writes: a parser returns or refuses, and takes a time linear in the length."""

from __future__ import annotations

import functools
import gc
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from metagym.actor import MEMORY_HEADING, read_reply, retrieve_items
from metagym.cli.model_options import read_actor, read_budget, read_reflector
from metagym.cli.options import read_assignments, read_pairs
from metagym.envs.gates.env import GatesEnv
from metagym.envs.instructions import read_instructions
from metagym.envs.minihack.demo.scene import read_scene
from metagym.errors import MetaGymError
from metagym.models.server_replies import ReplyError, read_completion, read_error, split_reasoning
from metagym.models.server_words import has_meaning
from metagym.reflectors import read_reflection
from metagym.reflectors.ace_style import Delta
from metagym.reflectors.expel_style import apply_changes
from metagym.reflectors.prompt_document import as_item, distinct, parts_between, read_json_reply, read_marked_reply
from metagym.rendering import visible
from metagym.rollout import match_command
from metagym.types import Completion, Observation, clean_text
from tests.fuzzing.inputs import REPEATED, odd_texts

SAMPLES = 150
Parser = Callable[[str], Any]


class AnyFields(BaseModel, extra="allow"):
    """A mapping."""


@functools.cache
def _played(env_class: Callable[[], Any]) -> Any:
    env = env_class()
    env.reset(seed=1)
    return env


def _step(env_class: Callable[[], Any], text: str) -> None:
    env = _played(env_class)
    _, _, terminated, truncated, _ = env.step(text)
    if terminated or truncated:
        env.reset(seed=1)


def _alfworld() -> Any:
    from metagym.envs.alfworld.env import ALFWorldTextEnv

    return ALFWorldTextEnv(data="generated", accept_both_spellings=True)


def _body(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_keep_items = retrieve_items(3)
_keep_memory = retrieve_items(3, below=MEMORY_HEADING)
RULES = [{"text": "Wait.", "count": 1}, {"text": "Knock.", "count": 2}]
PARSERS: dict[str, Parser] = {
    "actor's reply": lambda text: read_reply(Completion(text=text)),
    "reflection": lambda text: read_reflection(Completion(text=text)),
    "marked reply": lambda text: read_marked_reply(Completion(text=text), "lesson"),
    "json reply": lambda text: read_json_reply(Completion(text=text), AnyFields),
    "json delta": lambda text: read_json_reply(Completion(text=text), Delta),
    "proposed prompts": lambda text: parts_between(text, "<prompt>", "</prompt>"),
    "changes of rules": lambda text: apply_changes(RULES, text, max_rules=5),
    "items to keep": lambda text: _keep_items(text, text, (), Observation(text=text)),
    "memory to keep": lambda text: _keep_memory(f"{MEMORY_HEADING}\n{text}", text, (), Observation(text=text)),
    "items of a document": lambda text: (as_item(text), distinct(text.splitlines())),
    "instructions of a demo": read_instructions.__wrapped__,
    "scene of a demo": read_scene.__wrapped__,
    "reasoning": split_reasoning,
    "server's reply": lambda text: read_completion(_body(text), "m"),
    "server's reply with the text": lambda text: read_completion(
        _body('{"choices": [{"message": {"content": "' + text.replace('"', "'").replace("\n", " ") + '"}}]}'), "m"
    ),
    "server's error": lambda text: read_error(_body(text)),
    "server's words": lambda text: has_meaning("overflow", text),
    "command": lambda text: match_command(text, ("knock", "go  north")),
    "action in Gates": functools.partial(_step, GatesEnv),
    "action in ALFWorld": functools.partial(_step, _alfworld),
    "text for a terminal": lambda text: visible(text) + visible(text, one_line=True),
    "clean text": clean_text,
    "pairs of options": lambda text: read_pairs([text, f"a={text}"]),
    "assignments": lambda text: read_assignments("--sampling", text),
    "budget": read_budget,
    "actor option": read_actor,
    "reflector option": lambda text: read_reflector(text, actor="demo"),
}
REFUSALS = (MetaGymError, ReplyError)
DEEP_OR_EMPTY = ("[" * 4_000, "{" * 4_001, '{"a":' * 4_000, "9" * 5_000, "\ud800", "", "\x00\n")


def _try(parser: Parser, text: str) -> None:
    try:
        parser(text)
    except REFUSALS:
        pass
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} on {len(text)} characters: {text[:300]!r}") from error


@pytest.mark.parametrize("name", PARSERS)
def test_no_parser_raises_a_raw_exception(name: str) -> None:
    for text in odd_texts(seed=1, count=SAMPLES):
        _try(PARSERS[name], text)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PARSERS)
def test_no_parser_raises_a_raw_exception_on_20_000_texts(name: str) -> None:
    for text in odd_texts(seed=2, count=20_000):
        _try(PARSERS[name], text)


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("text", DEEP_OR_EMPTY, ids=len)
def test_deep_long_and_empty_texts_are_read_or_refused(name: str, text: str) -> None:
    _try(PARSERS[name], text)


FACTOR, LIMIT, QUICK_S = 8, 22.0, 0.004
"""Eight times the text takes 8 times as long if linear and 64 times if quadratic; 22 is as far from both.

What takes four milliseconds shows nothing yet.
"""


def seconds(parser: Parser, text: str, *, tries: int = 1) -> float:
    """Return the best time of some tries, without the pauses of the garbage collector."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(tries):
            began_at = time.process_time()
            _try(parser, text)
            best = min(best, time.process_time() - began_at)
    finally:
        gc.enable()
    return best


def growth(parser: Parser, make_text: Callable[[int], str], size: int = 10_000) -> float:
    """Return how many times as long eight times the text takes; 1 if it is too quick to say.

    Above the limit it measures again, up to three times: a busy machine lengthens one measurement, not all.
    """
    if seconds(parser, make_text(size * FACTOR)) < QUICK_S:
        return 1.0
    for _ in range(3):
        short, long = (seconds(parser, make_text(length), tries=5) for length in (size, size * FACTOR))
        times = long / max(short, QUICK_S / FACTOR)
        if times <= LIMIT:
            break
    return times


@pytest.mark.slow
def test_the_measure_finds_a_quadratic_parser() -> None:
    def quadratic(text: str) -> None:
        for _ in range(0, len(text), 100):
            text.replace("a", "b")

    assert growth(quadratic, lambda size: "a" * size) > LIMIT


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PARSERS)
def test_the_time_of_a_parser_is_linear_in_the_length(name: str) -> None:
    slow = {}
    for piece, end in itertools.product(REPEATED, ("", "x", "\n```", "</prompt>")):
        times = growth(PARSERS[name], lambda size, piece=piece, end=end: piece * (size // len(piece)) + end)
        if times > LIMIT:
            slow[piece, end] = f"{times:.0f} times as long"
    assert not slow


def test_the_time_of_thousands_of_reasoning_blocks_is_linear() -> None:
    assert growth(split_reasoning, lambda size: "<think></think>" * (size // 15), size=75_000) <= LIMIT
