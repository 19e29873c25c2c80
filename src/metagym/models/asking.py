"""How actors and reflectors ask a model: through the open cassette, and on the open ledger's account."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

from metagym.budget import Charge, Ledger
from metagym.extensions import extension_of
from metagym.models.cassette import open_cassette
from metagym.models.chat import Call, ChatModel
from metagym.models.context import max_tokens
from metagym.seeding import derive_seed
from metagym.types import Completion, Message

_SAMPLE: ContextVar[int] = ContextVar("metagym_sample", default=0)


@contextlib.contextmanager
def sample(number: int) -> Iterator[None]:
    """Give the reflector's calls inside chance of their own: sample 0 is what is asked without this.

    So one reflector, asked several times about the same history, writes several candidates. The actor's chance
    is its episode's, and stays.
    """
    token = _SAMPLE.set(number)
    try:
        yield
    finally:
        _SAMPLE.reset(token)


async def ask(model: ChatModel, messages: Sequence[Message], call: Call) -> Completion:
    """Return the model's reply, or the recorded one; see `ChatModel.complete`.

    Raises:
        BudgetExceededError: the ledger's budget leaves no room for the call.
        CassetteMissError: a cassette is being replayed that does not hold the exchange.
    """
    number = _SAMPLE.get()
    if number and call.role != "actor":
        call = call._replace(seed=derive_seed(call.seed, number), repetition=number)
    cassette = open_cassette()
    if cassette is None:
        return await _ask(model, messages, call)
    recalled = cassette.recall(model, messages, call)
    if recalled is not None:
        _charge(model, call).replayed(recalled.usage)
        return recalled
    with cassette.keeping_overflow(model, messages, call):
        completion = await _ask(model, messages, call)
    cassette.keep(model, messages, call, completion)
    return completion


async def _ask(model: ChatModel, messages: Sequence[Message], call: Call) -> Completion:
    if extension_of(model).keeps_ledger:
        return await model.complete(messages, call)
    charge = _charge(model, call)
    await charge.reserve(max_tokens(messages), extension_of(model).max_reply_tokens)
    try:
        completion = await model.complete(messages, call)
    except BaseException as error:
        charge.unknown(f"{type(error).__name__}: {error}")
        raise
    charge.whole(completion.usage)
    return completion


def _charge(model: ChatModel, call: Call) -> Charge:
    about = extension_of(model)
    return Charge(
        call.role,
        arm=call.arm,
        meta_step=call.meta_step,
        model=about.model or type(model).__name__,
        prices=about.prices,
        fallback=Ledger(),
    )
