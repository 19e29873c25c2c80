"""In-context training (ICT): a language model reads the last batch and writes the next prompt.

Source: Shalev, Ding, Jamnik, "Training Language Agents to Learn from Experience", arXiv 2605.20477 (2026).
The protocol is the paper's; the wording is ours.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from metagym.models import ask
from metagym.reflectors.method import History, ModelRequest, ReflectionMethod, call_about, option
from metagym.reflectors.prompt_document import TOOL_INSTRUCTIONS, read_marked_reply, shown_tools, tagged
from metagym.rendering import render_batch
from metagym.spaces import PromptSpace
from metagym.types import Completion, Message, MetaStep, Reflection

REFLECTOR_PROMPT = """\
You improve the system prompt of an agent that acts in an environment. You see the agent's current system \
prompt and what it did under it. Write a better system prompt. It will be used on new tasks of the same \
kind, not on the ones you see: state what holds in general, and leave out what belongs to one episode only.

Reply in this form:
ANALYSIS: <what went well, what went wrong, and why>
IMPROVED PROMPT: <the complete new system prompt, and nothing after it>"""


@dataclass(eq=False, repr=False)
class ChatReflector(ReflectionMethod):
    """A language model as the reflector: in-context training (ICT).

    It reads the last meta-step: the prompt and its trajectories, rendered into at most `max_tokens` (shared
    evenly; whole steps are cut from the middle of an episode). If a reply is cut off or holds no improved
    prompt, the old one is kept, and `Reflection.problem` says why. `show_outcome=False` hides success and reward.
    With `show_tools` it also sees the tools that the agent was offered, and may write sections `## Tool: NAME`.
    """

    _: KW_ONLY
    max_tokens: int = option(24_000, least=100)
    show_outcome: bool = True
    show_thoughts: bool = False
    show_actions: bool = False
    show_tools: bool = False
    instructions: str = REFLECTOR_PROMPT

    async def reflect(self, history: History) -> Reflection:
        """Ask the model for a better prompt."""
        last = history[-1]
        completion = await ask(self.model, self.messages(last), call_about(history))
        analysis, prompt, problem = read_reflection(completion)
        return Reflection(
            prompt=last.prompt if prompt is None else prompt,
            analysis=analysis,
            problem=problem,
            completion=completion,
            scripted=self.scripted,
        )

    def messages(self, meta_step: MetaStep) -> list[Message]:
        """Return the conversation that asks for a reflection on `meta_step`."""
        episodes = render_batch(
            meta_step.trajectories,
            show_outcome=self.show_outcome,
            show_thoughts=self.show_thoughts,
            show_actions=self.show_actions,
            max_tokens=self.max_tokens,
        )
        tools = shown_tools(meta_step) if self.show_tools else {}
        instructions = f"{self.instructions}\n\n{TOOL_INSTRUCTIONS}" if tools else self.instructions
        return ModelRequest(instructions, tagged(current_prompt=meta_step.prompt, **tools, episodes=episodes)).messages


def read_reflection(completion: Completion) -> tuple[str, str | None, str]:
    """Read `ANALYSIS:` and `IMPROVED PROMPT:`; return the analysis, the prompt or None, and the problem."""
    analysis, prompt, problem = read_marked_reply(completion, "improved prompt")
    if prompt is not None and (why := PromptSpace().problem(prompt)):
        prompt, problem = None, f"The improved prompt is invalid ({why})"
    return analysis, prompt, f"{problem}; the old prompt was kept." if problem else ""
