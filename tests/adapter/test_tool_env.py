"""A world of tools from typed methods: how it answers, ends and scores, alone and in the engine."""

from __future__ import annotations

import functools
from typing import Any

import cloudpickle
import numpy as np
import pydantic
import pytest

import metagym
from metagym import ToolEnv
from metagym.errors import ConfigError, EpisodesFailedError
from metagym.testing import ScriptedActor, check_meta_env, check_text_env
from metagym.tools import ToolCall
from tests.adapter.scales import Scales, ScalesMetaEnv


class Graded(Scales):
    weigh = None  # type: ignore[assignment] # no tool any more

    def score(self) -> float:
        return 0.25


def call(name: str, **arguments: Any) -> str:
    return ToolCall(name, arguments).text


def started(kind: type[ToolEnv] = Scales) -> ToolEnv:
    env = kind()
    env.reset(seed=0, options={"task_id": "x/0"})
    return env


def test_reset_offers_the_marked_methods_in_their_order() -> None:
    text, info = Scales().reset(seed=0, options={"task_id": "heavy/3"})
    assert text == "Two parcels of the kind heavy."
    assert [item["function"]["name"] for item in info["tools"]] == ["weigh", "drop"]
    assert info["goal"] == "Name the heavier parcel."
    assert [item["function"]["name"] for item in Graded().reset(seed=0)[1]["tools"]] == ["drop"]


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (call("weigh", parcel="a"), '{"name":"a","weight":18}'),
        (call("weigh", parcel="a", copy=2), '{"name":"a","weight":36}'),
        (call("weigh", parcel="z"), "Error: There is no parcel 'z'."),
        (call("drop"), "Done."),
        (call("helper"), "Error: There is no tool 'helper'. Tools: weigh, drop."),
        (call("weigh"), "Error: The arguments of 'weigh' are wrong: parcel: Field required."),
        ("a", "And now?"),
    ],
)
def test_a_call_is_answered_by_its_result_and_a_text_by_the_user(action: str, text: str) -> None:
    answer, reward, terminated, truncated, info = started().step(action)
    assert (answer, reward, terminated, truncated) == (text, 0.0, False, False)
    assert "tools" not in info  # only a change is reported


def test_the_last_text_ends_the_episode_with_the_score() -> None:
    env = started()
    env.step("a")
    assert env.step("b") == ("", 1.0, True, False, {"goal": env.goal, "success": True})
    env = started(Graded)
    env.step("b")
    assert env.step("a")[1:] == (0.25, True, False, {"goal": env.goal})


def test_a_tool_may_end_the_episode() -> None:
    info = {"goal": Scales.goal, "success": False, "outcome": "gave up"}
    assert started().step(call("drop", reason="finish")) == ("Done.", 0.0, True, False, info)


def test_a_world_of_tools_keeps_both_contracts() -> None:
    check_text_env(Scales())
    check_meta_env(ScalesMetaEnv)


def test_the_record_holds_the_tools_once_and_says_why_a_call_was_not_executed() -> None:
    actions = [call("weigh", parcel="a"), call("wiegh", parcel="a"), call("weigh"), ' {"arguments":{},"name":"drop"}']
    with ScalesMetaEnv(ScriptedActor([*actions, "a"]), episodes_per_step=1) as env:
        env.reset(seed=0)
        (trajectory,) = env.step("Be brave.")[0]
    steps = trajectory.steps
    assert [len(step.observation.tools or ()) for step in steps] == [2, 0, 0, 0, 0, 0]
    assert [step.command for step in steps] == [actions[0], None, None, call("drop"), "a", "a"]
    assert steps[2].observation.feedback == "There is no tool 'wiegh'. Did you mean 'weigh'?"
    assert steps[3].observation.feedback == (
        "The arguments of 'weigh' are wrong: 'parcel' is missing. 2 actions in a row were not executed. "
        "Choose another one."
    )
    assert trajectory.num_invalid == 2
    assert metagym.Trajectory.model_validate_json(trajectory.model_dump_json()) == trajectory


def test_an_invalid_call_is_executed_only_if_asked_for() -> None:
    with ScalesMetaEnv(ScriptedActor([call("weigh"), "a"]), episodes_per_step=1, invalid="execute") as env:
        env.reset(seed=0)
        (trajectory,) = env.step("Be brave.")[0]
    assert trajectory.steps[0].command == call("weigh")
    assert "Field required" in trajectory.steps[1].observation.text


def test_a_mistake_of_the_worlds_author_is_an_infrastructure_error() -> None:
    with ScalesMetaEnv(ScriptedActor([call("drop", reason="bug")]), episodes_per_step=1) as env:
        env.reset(seed=0)
        with pytest.raises(EpisodesFailedError, match="a mistake of the world's author"):
            env.step("Be brave.")


def test_start_and_score_must_be_written() -> None:
    with pytest.raises(NotImplementedError, match="Expected ToolEnv to override start"):
        ToolEnv().reset(seed=0)
    with pytest.raises(NotImplementedError, match="Expected ToolEnv to override score"):
        ToolEnv().score()


@pytest.mark.parametrize(("method", "value"), [("start", None), ("start", {"text": "Two."}), ("respond", 3)])
def test_start_and_respond_return_texts(monkeypatch: pytest.MonkeyPatch, method: str, value: Any) -> None:
    monkeypatch.setattr(Scales, method, lambda *arguments: value)
    with pytest.raises(ConfigError, match=rf"Expected Scales.{method}\(.*\) to return .* text, .*got "):
        started().step("a")


class Bag(ToolEnv):
    goal = "Look."

    def start(self, family: str) -> str:
        return "A bag."

    @metagym.tool
    def look(self) -> dict[str, Any]:
        """Look into the bag."""
        self.finish()
        return {"seen": {"lamp", "door", "key"}, "pairs": [frozenset({2, 1})]}

    def score(self) -> Any:
        return np.bool_(True)


def test_sets_in_a_result_are_sorted_and_a_numpy_truth_is_a_success() -> None:
    text, reward, _, _, info = started(Bag).step(call("look"))
    assert text == '{"seen":["door","key","lamp"],"pairs":[[1,2]]}'
    assert (reward, info["success"]) == (1.0, True)


class Returns(ToolEnv):
    """A tool that returns `result`, and a score that is `result`."""

    result: Any = None

    def start(self, family: str) -> str:
        return "A box."

    @metagym.tool
    def open(self) -> Any:
        """Open the box."""
        return self.result

    def score(self) -> Any:
        return self.result


def returns(value: Any) -> ToolEnv:
    env = started(Returns)
    env.result = value  # type: ignore[attr-defined]
    return env


class Weight(pydantic.BaseModel):
    grams: float


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (np.int64(3), "3"),
        (np.float32(1.5), "1.5"),
        (np.bool_(True), "true"),
        (np.array([[1, 2], [3, 4]]), "[[1,2],[3,4]]"),
        ({"a": [np.int64(3)], np.int64(1): {np.int64(2), np.int64(1)}}, '{"a":[3],"1":[1,2]}'),
    ],
)
def test_values_of_numpy_are_plain_values(result: Any, text: str) -> None:
    assert returns(result).step(call("open"))[0] == text


@pytest.mark.parametrize("infinite", [float("inf"), np.float32("inf"), np.array(np.inf)])
def test_numbers_that_are_not_finite_are_words(infinite: Any) -> None:
    assert returns(infinite).step(call("open"))[0] == '"Infinity"'
    assert returns([Weight(grams=float("nan"))]).step(call("open"))[0] == '[{"grams":"NaN"}]'


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (range(3), "range: a value of the type range"),
        ({"a": [object()]}, "dict: a value of the type object"),
        (b"\xff", "bytes: .*invalid utf-8"),
    ],
)
def test_a_result_that_json_cannot_hold_is_named_with_its_tool(result: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"Expected the tool 'open' to return a text .*, got {reason}.* Return te"):
        returns(result).step(call("open"))


@pytest.mark.parametrize("score", [None, "yes", [1.0]])
def test_a_score_is_a_bool_or_a_number(score: Any) -> None:
    with pytest.raises(ConfigError, match=r"Expected Returns.score\(\) to return a bool .* or a number .*, got"):
        returns(score).step("done")


def test_a_tool_stays_one_if_its_function_is_copied_or_wrapped() -> None:
    @metagym.tool
    def look(self) -> str:  # type: ignore[no-untyped-def]
        """Look around."""
        return "A bag."

    @functools.wraps(look)
    def wrapped(self) -> str:  # type: ignore[no-untyped-def]
        return look(self)

    for made in (cloudpickle.loads(cloudpickle.dumps(look)), wrapped):
        kind = type("Room", (Bag,), {"look": made})
        assert started(kind).step(call("look"))[0] == "A bag."


def test_a_tool_is_offered_by_the_name_of_its_attribute() -> None:
    def _find(self, word: str) -> str:  # type: ignore[no-untyped-def]
        """Find a word."""
        return f"found {word}"

    env = type("Room", (Bag,), {"find": metagym.tool(_find)})()
    _, info = env.reset(seed=0)
    assert [item["function"]["name"] for item in info["tools"]] == ["look", "find"]
    assert env.step(call("find", word="x"))[0] == "found x"
    assert env.step(call("_find", word="x"))[0] == "Error: There is no tool '_find'. Did you mean 'find'?"


@pytest.mark.parametrize("name", ["respond", "step", "close", "start", "score", "finish", "reset", "goal", "render"])
def test_a_tool_does_not_replace_what_the_environment_needs(name: str) -> None:
    room = type("Room", (Bag,), {name: metagym.tool(lambda self: "A bag.")})
    with pytest.raises(
        ConfigError, match=f"Expected a name of a tool that ToolEnv does not use itself, got '{name}'. Give"
    ):
        room()


def look_alone() -> str:
    """Look around."""
    return "A bag."


async def look_later(self: Any) -> str:
    """Look around."""
    return "A bag."


@pytest.mark.parametrize("kind", [staticmethod, classmethod, property, functools.cache, lambda _: look_later])
def test_a_tool_that_is_no_plain_method_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match=r"Expected the tool .* as a plain method, got .*Write def"):
        metagym.tool(kind(look_alone))


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_tool_within_another_kind_of_method_is_refused(kind: Any) -> None:
    room = type("Room", (Bag,), {"look": kind(metagym.tool(lambda: "A bag."))})
    with pytest.raises(ConfigError, match=r"Expected the tool 'look' as a plain method"):
        room()
