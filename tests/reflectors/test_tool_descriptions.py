"""Reflectors that improve descriptions of tools: what they are shown, what they write, and a planted effect."""

from __future__ import annotations

import json
import runpy

import pytest

from metagym import ChatReflector
from metagym.reflectors import reflect
from metagym.reflectors.ace_style import AceStyle
from metagym.testing import FakeChatModel
from metagym.tools import read_parts
from tests.adapter.playing import play_scales
from tests.adapter.scales import Scales
from tests.conftest import ROOT, make_meta_step
from tests.reflectors.batches import asked, lost, reflect_on

TOOLS = Scales().reset(seed=0)[1]["tools"]


def test_ict_is_shown_the_tools_only_if_asked_for_and_if_there_are_some() -> None:
    trajectory, *_ = play_scales()
    reply = "ANALYSIS: late.\nIMPROVED PROMPT: Weigh.\n\n## Tool: weigh\nWeigh both."
    for show_tools, batch, is_shown in ((False, trajectory, False), (True, trajectory, True), (True, lost(), False)):
        model = FakeChatModel([reply])
        (reflection,) = reflect_on(ChatReflector(model, show_tools=show_tools), [batch])
        assert ("<tools>\n## Tool: weigh\nWeigh a parcel." in asked(model)) == is_shown
        assert ("## Tool: NAME" in model.calls[0][0][0]["content"]) == is_shown
        assert read_parts(reflection.prompt, TOOLS)[1][0]["function"]["description"] == "Weigh both."


def test_ace_style_adds_items_to_the_description_of_a_tool() -> None:
    add = {"type": "ADD", "section": "Tool: weigh", "text": "Weigh each parcel."}
    general = {"type": "ADD", "section": "General", "text": "Be quick."}
    model = FakeChatModel([json.dumps({"operations": [add, general]})])
    trajectory, *_ = play_scales()
    _, reflection = reflect_on(AceStyle(model, show_tools=True), [trajectory], [trajectory])
    text, tools = read_parts(reflection.prompt, TOOLS)
    assert tools[0]["function"]["description"] == "Weigh a parcel.\n- Weigh each parcel."
    assert text == "Be brave.\n\n## Playbook: General\n- Be quick."
    assert "<tools>" in asked(model)


@pytest.mark.parametrize(("name", "has_effect"), [("learn_rule", True), ("keep", False)])
def test_a_true_rule_in_a_tools_description_raises_the_score_and_a_null_control_does_not(
    name: str, has_effect: bool
) -> None:
    example = runpy.run_path(str(ROOT / "examples" / "09_tools.py"))
    make, clerk, reflect = example["ShopMetaEnv"], example["clerk"], example[name]
    for family in ("14 days", "30 days"):
        with make(clerk, families=[family], episodes_per_step=10) as env:
            env.reset(seed=1)
            _, info = env.reset(seed=1)
            (first,) = env.replay([info["default_prompt"]], [f"{family}/{seed}" for seed in range(5)])
            learned = reflect([first])
            tasks = [f"{family}/{seed}" for seed in range(100, 200)]
            before, after = env.replay([info["default_prompt"], learned], tasks)
        assert (after.reward - before.reward > 0.3) == has_effect
        assert has_effect or after.reward == before.reward


def test_ace_style_adds_to_the_description_that_the_first_prompt_gives() -> None:
    add = {"type": "ADD", "section": "Tool: weigh", "text": "Weigh each parcel."}
    trajectory, *_ = play_scales()
    first = make_meta_step([trajectory], prompt="Be brave.\n\n## Tool: weigh\nWeigh both.")
    reflection = reflect(AceStyle(FakeChatModel([json.dumps({"operations": [add]})]), show_tools=True), [first])
    text, tools = read_parts(reflection.prompt, TOOLS)
    assert (text, tools[0]["function"]["description"]) == ("Be brave.", "Weigh both.\n- Weigh each parcel.")
    assert reflection.prompt.count("## Tool: weigh") == 1
