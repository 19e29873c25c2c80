"""RecordedModel: a model of which only the recorded replies are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metagym.errors import ModelUnavailableError
from metagym.models.chat import Call
from metagym.models.constraint import HeldModel, ReplyForm
from metagym.models.tool_calling import ModelWithTools, Tools
from metagym.optional_attributes import Extension
from metagym.types import Completion, Message


class RecordedModel(Extension):
    """A chat model with the fingerprint of another one, and without its file, engine or server.

    A cassette that replays finds the recorded replies by the fingerprint; see `Cassette.models`.
    """

    def __init__(self, fingerprint: Mapping[str, Any]) -> None:
        self.fingerprint = dict(fingerprint)
        self.model, self.context_tokens = fingerprint["model"], fingerprint.get("context_tokens")
        sampling = fingerprint.get("sampling", {})
        self.max_reply_tokens = sampling.get("max_completion_tokens", sampling.get("max_tokens"))

    def held_to(self, form: ReplyForm) -> HeldModel:
        """Return this model with its replies held to a form, as they were recorded."""
        return HeldModel(self, form)

    def with_tools(self, tools: Tools, *, held: bool = False) -> ModelWithTools:
        """Return this model with tools that it may call, as they were recorded."""
        return ModelWithTools(self, tools, about=self, held=held)

    async def complete(self, messages: Sequence[Message], call: Call, **held_to: Any) -> Completion:
        """Raise ModelUnavailableError: this call is not in the cassette."""
        raise ModelUnavailableError(
            f"Expected a recorded reply of the model {self.model!r} to this {call.role} call, got nothing, and the "
            "model is not at hand. Open the cassette of its run: Cassette(path, mode='replay')."
        )
