"""ICT: quoted markers do not hijack the reply, a bad reply keeps the old prompt, nothing leaks."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metagym import ChatReflector
from metagym.errors import ConfigError
from metagym.reflectors import FixedReflector, read_reflection
from metagym.rendering import CHARACTERS_PER_TOKEN
from metagym.testing import FakeChatModel
from metagym.types import MetaStep, Reflection
from tests.conftest import make_episode, make_meta_step, make_step, make_task, make_trajectory, reply

GOOD = "ANALYSIS: It knocked too late.\nIMPROVED PROMPT: Knock first."


def history(**fields: Any) -> list[MetaStep]:
    return [make_meta_step([make_trajectory([make_step(reward=0.25)], stop_detail="got out")], **fields)]


def reflect(reflector: Any, steps: Any = None) -> Reflection:
    result: Reflection = asyncio.run(reflector.reflect(steps or history()))
    return result


# Reading a reply --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "ANALYSIS:\nIt knocked too late.\n\nIMPROVED PROMPT:\nKnock first.\n",
        "**ANALYSIS:** It knocked too late.\n\n**IMPROVED PROMPT:** Knock first.",
        "**ANALYSIS**: It knocked too late.\n**IMPROVED PROMPT**: Knock first.",
        "**ANALYSIS: It knocked too late.**\n**IMPROVED PROMPT: Knock first.**",
        "## ANALYSIS:\nIt knocked too late.\n## IMPROVED PROMPT:\nKnock first.",
        "### **Analysis:**\nIt knocked too late.\n### **Improved Prompt:**\nKnock first.",
        "  ANALYSIS : It knocked too late.\n  IMPROVED  PROMPT : Knock first.",
        "ANALYSIS: It knocked too late.\nIMPROVED PROMPT:\n```\nKnock first.\n```",
        "ANALYSIS: It knocked too late.\nIMPROVED PROMPT:\n```text\nKnock first.\n```\n",
        f"```\n{GOOD}\n```",
        f"Certainly!\n{GOOD}",
    ],
)
def test_markdown_around_the_markers_is_not_part_of_the_prompt(text: str) -> None:
    assert read_reflection(reply(text)) == ("It knocked too late.", "Knock first.", "")


@pytest.mark.parametrize(
    "analysis",
    [
        "I was told to write IMPROVED PROMPT: and so I will.",
        "The format is\n```\nIMPROVED PROMPT: <prompt>\n```\nas I was told.",
        "It says:\n> IMPROVED PROMPT: <prompt>\nwhich I do.",
        "The old one began\nIMPROVED PROMPT: wait at each gate.\nThat was wrong.",
        "`IMPROVED PROMPT:` comes below.",
    ],
)
def test_a_marker_quoted_in_the_analysis_does_not_hijack_the_reply(analysis: str) -> None:
    found, prompt, problem = read_reflection(reply(f"ANALYSIS: {analysis}\nIMPROVED PROMPT: Knock first."))
    assert (prompt, problem) == ("Knock first.", "")
    assert found == analysis


def test_a_code_block_inside_the_prompt_stays() -> None:
    prompt = "Do this:\n```\nknock\n```\nthen go."
    assert read_reflection(reply(f"ANALYSIS: a\nIMPROVED PROMPT: {prompt}"))[1] == prompt


def test_two_code_blocks_are_not_mistaken_for_one_fence() -> None:
    prompt = "```\nknock\n```\nor\n```\npush\n```"
    assert read_reflection(reply(f"ANALYSIS: a\nIMPROVED PROMPT:\n{prompt}"))[1] == prompt


def test_emphasis_inside_the_prompt_stays() -> None:
    for prompt in ("**Knock** first.", "Knock **first**", "**Knock first.**", "* knock\n* push"):
        assert read_reflection(reply(f"ANALYSIS: a\nIMPROVED PROMPT:\n{prompt}"))[1] == prompt


plain = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="`\u2028\u2029"), min_size=1)
plain_lines = st.lists(plain.map(lambda line: f"- {line}"), min_size=1, max_size=4).map("\n".join)


@given(plain_lines, plain_lines)
def test_any_analysis_and_prompt_are_read_back(analysis: str, prompt: str) -> None:
    text = f"ANALYSIS: {analysis}\n\nIMPROVED PROMPT:\n{prompt}"
    assert read_reflection(reply(text)) == (analysis.strip(), prompt.strip(), "")


@given(st.text(max_size=80))
def test_any_reply_is_either_a_prompt_or_a_problem(text: str) -> None:
    _, prompt, problem = read_reflection(reply(text))
    assert (prompt is None) == bool(problem)


@pytest.mark.parametrize(
    ("text", "finish_reason", "problem"),
    [
        (GOOD, "length", "cut off before its end"),
        ("", "stop", "holds no line 'IMPROVED PROMPT:'"),
        ("ANALYSIS: All is well.", "stop", "holds no line 'IMPROVED PROMPT:'"),
        ("ANALYSIS: The IMPROVED PROMPT: Knock.", "stop", "holds no line 'IMPROVED PROMPT:'"),
        ("ANALYSIS: a\nIMPROVED PROMPT:", "stop", "The improved prompt is empty"),
        ("ANALYSIS: a\nIMPROVED PROMPT:\n``` \n\n```", "stop", "The improved prompt is empty"),
        (
            "ANALYSIS: a\nIMPROVED PROMPT: " + "x" * 100_001,
            "stop",
            "The improved prompt is invalid .*100,000 characters",
        ),
    ],
)
def test_an_unusable_reply_keeps_the_old_prompt_and_names_the_problem(
    text: str, finish_reason: str, problem: str
) -> None:
    completion = reply(text, finish_reason=finish_reason)
    reflection = reflect(ChatReflector(FakeChatModel([completion])), history(prompt="The old one."))
    assert reflection.prompt == "The old one."
    assert reflection.completion == completion
    assert re.search(problem, reflection.problem)
    assert reflection.problem.endswith("the old prompt was kept.")


def test_a_good_reply_is_the_next_prompt() -> None:
    reflection = reflect(ChatReflector(FakeChatModel([GOOD])))
    assert (reflection.prompt, reflection.analysis, reflection.problem) == ("Knock first.", "It knocked too late.", "")


# The model's view ----------------------------------------------------------------------------------


def sent(meta_step: MetaStep, **options: Any) -> str:
    model = FakeChatModel([GOOD])
    reflect(ChatReflector(model, **options), [make_meta_step(prompt="An older one.", index=0), meta_step])
    return "\n".join(message["content"] for message in model.calls[0][0])


def test_the_model_sees_the_last_prompt_and_its_episodes() -> None:
    text = sent(history(prompt="The last one.")[0])
    assert "<current_prompt>\nThe last one.\n</current_prompt>" in text
    assert "[Step 1] Observation: You see a door.\nAction: open" in text
    assert "Success. Total reward 0.25" in text
    assert "An older one." not in text


def test_no_task_id_family_split_or_seed_is_in_the_text_that_is_sent() -> None:
    task = make_task(
        "canary-id", family="canary-family", split="canary-split", seed=987_654_321, digest="canary-digest"
    )
    episode = make_episode("Be brave.", task, seed=123_454_321, arm="canary-arm", repetition=3)
    trajectory = make_trajectory([make_step()], episode=episode, actor_revision="canary-revision")
    text = sent(make_meta_step([trajectory]), show_thoughts=True, show_actions=True)
    assert not [word for word in ("canary", "987654321", "123454321") if word in text]


def test_show_outcome_false_hides_the_outcome_from_the_model() -> None:
    text = sent(history()[0], show_outcome=False)
    assert not [word for word in ("Outcome", "Success", "Total reward", "got out") if word in text]


def test_thoughts_and_actions_are_shown_only_on_request() -> None:
    step = make_step(available_actions=("open", "wait"))
    step = step.model_copy(update={"action": step.action.model_copy(update={"thought": "It is shut."})})
    meta_step = make_meta_step([make_trajectory([step])])
    assert "It is shut." not in sent(meta_step)
    assert "Available actions" not in sent(meta_step)
    text = sent(meta_step, show_thoughts=True, show_actions=True)
    assert "Thought: It is shut." in text
    assert "Available actions: open, wait" in text


def test_the_episodes_keep_the_token_budget() -> None:
    steps = [make_step("x" * 500, "y" * 100) for _ in range(50)]
    reflector = ChatReflector(FakeChatModel([GOOD]), max_tokens=1_000)
    content = reflector.messages(make_meta_step([make_trajectory(steps)] * 5))[1]["content"]
    episodes = content.split("<episodes>\n")[1].split("\n</episodes>")[0]
    assert 3_000 < len(episodes) <= 1_000 * CHARACTERS_PER_TOKEN
    assert "steps left out" in episodes


def test_too_few_tokens_for_any_episode_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_tokens must be at least 100, got 99"):
        ChatReflector(FakeChatModel([GOOD]), max_tokens=99)


def test_a_meta_step_without_episodes_can_be_reflected_upon() -> None:
    assert reflect(ChatReflector(FakeChatModel([GOOD])), [make_meta_step()]).prompt == "Knock first."


# Chance and fingerprint -------------------------------------------------------------------------------


def test_the_calls_seed_differs_between_arms_and_meta_steps() -> None:
    model = FakeChatModel([GOOD])
    for seed, arm, index in ((1, "a", 0), (1, "a", 0), (2, "b", 0), (1, "a", 1)):
        trajectory = make_trajectory(episode=make_episode(seed=seed, arm=arm))
        reflect(ChatReflector(model), [make_meta_step([trajectory], index=index)])
    calls = [call for _, call in model.calls]
    assert calls[0] == calls[1]
    assert len({call.seed for call in calls}) == 3
    assert [(call.role, call.arm, call.meta_step) for call in calls[2:]] == [
        ("reflector", "b", 0),
        ("reflector", "a", 1),
    ]


def test_the_fingerprint_changes_with_each_thing_that_decides_the_reflection() -> None:
    model = FakeChatModel([GOOD])
    options: list[dict[str, Any]] = [
        {},
        {"max_tokens": 500},
        {"show_outcome": False},
        {"show_thoughts": True},
        {"show_actions": True},
        {"instructions": "Write."},
    ]
    assert len({str(ChatReflector(model, **given).fingerprint) for given in options}) == len(options)


def test_a_reflector_over_a_scripted_model_is_scripted() -> None:
    class Real(FakeChatModel):
        scripted = False

    assert reflect(ChatReflector(FakeChatModel([GOOD]))).scripted
    assert not reflect(ChatReflector(Real([GOOD]))).scripted


# The simple reflectors --------------------------------------------------------------------------------


def test_the_fixed_reflector_keeps_the_prompt() -> None:
    assert reflect(FixedReflector(), history(prompt="Stay.")).prompt == "Stay."
