"""Cassettes: what was asked once is found again, by whom and with which chance, and nothing secret is kept."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from metagym.budget import Budget, Ledger, spending_on
from metagym.errors import CassetteMissError, ConfigError, ContextOverflowError, ModelUnavailableError
from metagym.models import Call, Cassette, OpenAIChatModel, ask, make_model
from metagym.testing import FakeChatModel, ServerReply
from metagym.types import Completion, Message, Usage
from tests.conftest import Serve

MESSAGES: list[Message] = [{"role": "system", "content": "Be brave."}, {"role": "user", "content": "A door."}]
CALL = Call("actor", arm="a", meta_step=1, seed=7, repetition=0)
REPLY = Completion(
    text="Action: open",
    reasoning="It is a door.",
    usage=Usage(prompt_tokens=4, completion_tokens=2, num_calls=1),
    token_ids=(1, 2),
    logprobs=(-0.1, -0.25),
)


def complete(cassette: Cassette, model: Any, messages: list[Message] = MESSAGES, call: Call = CALL) -> Completion:
    try:
        with cassette.open():
            return asyncio.run(ask(model, messages, call))
    finally:
        cassette.close()  # it opens again when it is next used


def echo(calls: list[Call] | None = None) -> FakeChatModel:
    """A model that answers with the seed, so that a reply says whom it was for."""

    def respond(messages: Any, call: Call) -> str:
        if calls is not None:
            calls.append(call)
        return f"seed {call.seed}"

    return FakeChatModel(respond)


def test_a_recorded_reply_is_returned_unchanged_without_asking_the_model(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    complete(Cassette(path, mode="record"), FakeChatModel([REPLY]))
    silent = FakeChatModel([AssertionError("asked")])
    assert complete(Cassette(path, mode="replay"), silent) == REPLY
    assert silent.calls == []


@pytest.mark.parametrize(
    "other", [{"arm": "b"}, {"seed": 8}, {"meta_step": 2}, {"repetition": 1}, {"role": "judge"}], ids=str
)
def test_no_reply_goes_to_another_arm_seed_step_repetition_or_role(tmp_path: Path, other: dict[str, Any]) -> None:
    cassette = Cassette(tmp_path / "c.sqlite")
    calls: list[Call] = []
    model = echo(calls)
    complete(cassette, model)
    complete(cassette, model, call=CALL._replace(**other))
    complete(cassette, model)
    assert len(calls) == 2


def test_replies_are_found_in_any_order(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "c.sqlite")
    calls = [CALL._replace(seed=seed) for seed in range(20)]
    for call in calls:
        complete(cassette, echo(), call=call)
    random.Random(0).shuffle(calls)
    replay = Cassette(tmp_path / "c.sqlite", mode="replay")
    assert all(complete(replay, echo(), call=call).text == f"seed {call.seed}" for call in calls)


def test_record_asks_each_time_and_keeps_the_last_reply(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    complete(Cassette(path, mode="record"), FakeChatModel(["old"]))
    complete(Cassette(path, mode="record"), FakeChatModel(["new"]))
    assert complete(Cassette(path, mode="replay"), FakeChatModel([])).text == "new"


def test_read_through_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "c.sqlite", mode="read-through")
    model = echo()
    for _ in range(3):
        complete(cassette, model)
    assert len(model.calls) == 1
    assert len(cassette) == 1
    cassette.close()


def test_a_shared_cassette_serves_other_seeds_but_never_a_measurement(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "c.sqlite", share=True)
    complete(cassette, echo())
    other = CALL._replace(seed=8)
    assert complete(cassette, echo(), call=other).text == "seed 7"
    with spending_on("measurement"):
        assert complete(cassette, echo(), call=other).text == "seed 8"


def test_an_overflow_is_replayed_as_an_overflow(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with pytest.raises(ContextOverflowError, match="too long"):
        complete(Cassette(path), FakeChatModel([ContextOverflowError("too long")]))
    with pytest.raises(ContextOverflowError, match="too long"):
        complete(Cassette(path, mode="replay"), FakeChatModel(["fine"]))


def test_replayed_replies_cost_nothing_and_touch_no_budget(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "c.sqlite")
    complete(cassette, echo())
    ledger = Ledger(Budget(calls=0))
    with ledger.open():
        complete(cassette, echo())
    assert (ledger.spent().num_replayed, ledger.spent().max_calls) == (1, 0)


@pytest.mark.parametrize(
    ("messages", "call", "message"),
    [
        (
            [MESSAGES[0], {"role": "user", "content": "A window."}],
            CALL,
            r"of the same call, differs: message 1 \(user\) at character 2: was 'A door.', is 'A window.'",
        ),
        (MESSAGES, CALL._replace(seed=9, arm="b"), "recorded for another call: arm was 'a', is 'b', seed was 7, is 9"),
        (
            [MESSAGES[0], {"role": "user", "content": "A hole."}],
            CALL._replace(seed=9),
            r"The nearest recorded request differs: message 1 \(user\)",
        ),
        (MESSAGES[:1], CALL, "it had 2 messages, this one has 1"),
        ([MESSAGES[1]], CALL, "message 0 was of system, is of user"),
        (MESSAGES, CALL._replace(role="judge", seed=1), "recorded for another call: role was 'actor', is 'judge'"),
        ([MESSAGES[1]], CALL._replace(role="judge"), "It holds 1 exchanges, and no exchange of that role"),
    ],
)
def test_a_miss_says_what_differs_from_the_nearest_request(
    tmp_path: Path, messages: list[Message], call: Call, message: str
) -> None:
    complete(Cassette(tmp_path / "c.sqlite"), echo())
    with pytest.raises(CassetteMissError, match=message) as raised:
        complete(Cassette(tmp_path / "c.sqlite", mode="replay"), echo(), messages, call)
    assert "Record it: mode='read-through'" in str(raised.value)


def test_a_miss_names_another_model_or_sampling(tmp_path: Path, serve: Serve) -> None:
    server = serve("ok")
    asked = OpenAIChatModel("m", base_url=server.base_url)
    changed = OpenAIChatModel("m", base_url=server.base_url, sampling={"top_p": 0.5})

    async def main() -> None:
        with contextlib.closing(Cassette(tmp_path / "c.sqlite")) as cassette, cassette.open():
            await ask(asked, MESSAGES, CALL)
        await asked.aclose()

    asyncio.run(main())
    with pytest.raises(CassetteMissError, match=r"model and sampling were .*, are .*top_p"):
        complete(Cassette(tmp_path / "c.sqlite", mode="replay"), changed)


def test_neither_keys_nor_headers_nor_addresses_are_written(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server = serve(ServerReply("ok", headers={"x-request-id": "req-123"}))
    model = OpenAIChatModel("m", base_url=server.base_url, api_key_env="MY_KEY")

    async def main() -> None:
        cassette = Cassette(tmp_path / "c.sqlite")
        with cassette.open():
            await ask(model, MESSAGES, CALL)
        await model.aclose()
        cassette.close()
        cassette.close()

    asyncio.run(main())
    [file] = tmp_path.iterdir()  # closed, it is one file
    written = file.read_bytes()
    assert b"A door." in written
    for secret in (b"sk-secret", b"Authorization", b"req-123", server.base_url.encode()):
        assert secret not in written


def test_the_same_model_behind_another_address_is_the_same(tmp_path: Path, serve: Serve) -> None:
    server = serve("ok")
    first = OpenAIChatModel("m", base_url=server.base_url)

    async def main() -> None:
        with contextlib.closing(Cassette(tmp_path / "c.sqlite")) as cassette, cassette.open():
            await ask(first, MESSAGES, CALL)
        await first.aclose()

    asyncio.run(main())
    moved = OpenAIChatModel("m", base_url="http://elsewhere:1/v1")
    assert complete(Cassette(tmp_path / "c.sqlite", mode="replay"), moved).text == "ok"


def test_a_message_is_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    cassette, history = Cassette(path), list(MESSAGES)
    for turn in range(5):
        complete(cassette, echo(), history, CALL._replace(seed=turn))
        history += [{"role": "assistant", "content": f"a{turn}"}, {"role": "user", "content": f"u{turn}"}]
    cassette.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM messages").fetchone() == (2 + 4 * 2,)
    db.close()


def test_a_run_without_calls_leaves_no_file(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "c.sqlite")
    with cassette.open():
        pass
    cassette.close()
    assert list(tmp_path.iterdir()) == []


def test_another_kind_of_file_is_no_cassette(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 20)
    with pytest.raises(ConfigError, match="Expected a cassette at"):
        Cassette(tmp_path / "text")
    with pytest.raises(ConfigError, match=r"got no file. Record one first: mode='record'"):
        Cassette(tmp_path / "missing", mode="replay")
    with pytest.raises(ConfigError, match="mode must be 'record', 'replay' or 'read-through', got 'rewind'"):
        Cassette(tmp_path / "c", mode="rewind")  # type: ignore[arg-type]


def test_a_replay_changes_no_byte_and_needs_no_right_to_write(tmp_path: Path) -> None:
    path = tmp_path / "shared" / "replies.sqlite"
    path.parent.mkdir()
    complete(Cassette(path), echo())
    before = path.read_bytes()
    path.parent.chmod(0o555)
    try:
        with contextlib.closing(Cassette(path, mode="replay")) as cassette:
            assert len(cassette) == 1
    finally:
        path.parent.chmod(0o755)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["replies.sqlite"]


def test_the_replies_of_a_recording_that_was_killed_are_replayed(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "replies.sqlite")
    with cassette.open():
        asyncio.run(ask(echo(), MESSAGES, CALL))
    for name in ("replies.sqlite", "replies.sqlite-wal"):  # as a kill leaves them: the last replies are in the log
        (tmp_path / f"killed-{name}").write_bytes((tmp_path / name).read_bytes())
    cassette.close()
    with contextlib.closing(Cassette(tmp_path / "killed-replies.sqlite", mode="replay")) as killed:
        assert len(killed) == 1


def test_a_cassette_of_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "c.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigError, match="its version is 99, this metagym reads 2"):
        Cassette(tmp_path / "c.sqlite")


def test_a_reply_until_other_stop_strings_is_another_exchange(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    stopping = CALL._replace(stop=("\nObservation:",))
    with Cassette(path, mode="record").open():
        asyncio.run(ask(FakeChatModel(["whole"]), MESSAGES, CALL))
        asyncio.run(ask(FakeChatModel(["stopped"]), MESSAGES, stopping))
    with Cassette(path, mode="replay").open():
        texts = [asyncio.run(ask(FakeChatModel([""]), MESSAGES, call)).text for call in (CALL, stopping)]
    assert texts == ["whole", "stopped"]


def test_a_cassette_knows_the_models_that_answered(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "replies.sqlite", mode="record")
    model = {"model": "m", "sampling": {"max_tokens": 9}}
    for fingerprint, seed in ((model, 1), ({**model, "form": "abc"}, 2), ({**model, "tools": "def", "held": True}, 3)):
        answering = FakeChatModel(["yes"])
        answering.fingerprint = fingerprint
        complete(cassette, answering, call=CALL._replace(seed=seed))
    assert cassette.models("actor") == [model]
    assert cassette.models("reflector") == []


def test_a_recorded_model_answers_from_its_cassette_and_by_no_other_way(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    fingerprint = {"model": "m", "context_tokens": 100, "sampling": {"max_tokens": 9}}
    answering = FakeChatModel(["yes"])
    answering.fingerprint = fingerprint
    complete(Cassette(path, mode="record"), answering)
    recorded = make_model({"model": "local", "recorded": fingerprint})
    assert (recorded.model, recorded.context_tokens, recorded.max_reply_tokens) == ("m", 100, 9)
    assert complete(Cassette(path, mode="replay"), recorded).text == "yes"
    with pytest.raises(ModelUnavailableError, match="Expected a recorded reply of the model 'm' to this actor call"):
        asyncio.run(ask(recorded, MESSAGES, CALL))
