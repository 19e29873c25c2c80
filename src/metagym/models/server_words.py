"""The words of servers, as data: wordings of errors, and names of ends of a reply. No code but the look-up.

Sources: the servers' own code and documentation, and public reports of their users, 2023 to 2026.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from metagym.types import WHOLE_REASONS

Meaning = Literal[
    "overflow",
    "credit",
    "filter",
    "loading",
    "rate",
    "system role",
    "stream",
    "only streams",
    "stop",
    "seed",
    "reasoning",
    "no tools",
]

CODES: Final[dict[Meaning, tuple[str, ...]]] = {
    "overflow": (
        *("context_length_exceeded", "exceed_context_size_error"),  # OpenAI, Azure, Groq, Cerebras, Mistral; llama.cpp
        *("model_context_window_exceeded", "request_too_large"),  # Anthropic, Z.ai; Anthropic
        *("context_window_exceeded", "contextwindowexceedederror", "1261"),  # LiteLLM; Zhipu
        "input_length_error",  # LMDeploy
    ),
    "credit": (
        *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active"),  # OpenAI
        *("insufficient_balance", "arrearage", "1113"),  # DeepSeek; DashScope; Zhipu
    ),
    "filter": (
        *("content_filter", "responsibleaipolicyviolation"),  # Azure, and its inner code
        *("content_policy_violation", "moderation_blocked", "prohibited_content"),  # OpenAI; OpenAI; Gemini
        *("data_inspection_failed", "datainspectionfailed", "1301"),  # DashScope; Zhipu
    ),
    "loading": ("model_loading", "unavailable_error"),  # llama.cpp
    **dict.fromkeys(("system role", "stream", "only streams", "stop", "seed", "reasoning", "no tools"), ()),
    "rate": ("rate_limit_exceeded", "rate_limit_error", "too_many_requests", "resource_exhausted"),
}
"""Codes and types of errors. They decide before any word does."""

_TOKENS = r"(?:tokens?|characters?|words?)"
_LONG = r"(?:prompt|input|messages?|conversation|request|query|context)"
WORDS: Final[dict[Meaning, tuple[str, ...]]] = {
    "overflow": (
        r"max(?:imum)? (?:context|model|prompt|input|sequence|total)[ -](?:length|window|size)",  # OpenAI, vLLM, xAI
        r"context[ _](?:length|window|size|limit)\b.{0,40}(?:exceed|of only|too small|\(\d)",  # SGLang, llama.cpp
        r"exceed\w*.{0,60}\b(?:context|max_model_len|input limit|(?:model )?token limit)",  # Anthropic, Moonshot
        r"(?:longer|larger|greater|more) than .{0,40}(?:context|max_model_len|model'?s? max)",  # SGLang, vLLM
        rf"\b{_LONG}\b[^.]{{0,40}}(?<!took )\btoo (?:long|large|big)\b",  # vLLM, Anthropic, llama.cpp, Mistral
        rf"\b{_LONG}(?: token)?s?[ -](?:length|count|size)\b.{{0,40}}(?:exceed|(?:must|should) be|less|too)",  # Gemini
        rf"\b{_LONG}\b.{{0,30}}\bexceeds?\b.{{0,30}}(?:limit|max)",  # Zhipu, TensorRT-LLM, OpenAI (Responses)
        rf"number of (?:input |prompt )?{_TOKENS}.{{0,60}}exceed",  # Mistral, Cohere
        r"`?inputs`?.{0,40}must (?:be <=|have less)",  # TGI
        r"token count\b.{0,40}supports? ",  # Gemini
        r"reduce the length of the (?:messages|prompt|input)",  # OpenAI, Groq, Cerebras
        r"too many (?:input )?tokens\b(?! per)",  # Cohere
        r"max_tokens must be at least 1, got -",  # vLLM: nothing is left of the window for the reply
        r"context the overflows|tokens to keep from the initial prompt",  # LM Studio
        r"context shift is disabled",  # llama.cpp
        r"range of input length should be",  # DashScope
        r"\blength is (?:greater|longer|larger) than \d|maximum supported sequence length",  # mistral.rs; SambaNova
        r"exceed max message tokens|max tokens of \d+ exceeded|too many total text bytes",  # Ark; Snowflake; Bedrock
    ),
    "credit": (
        r"insufficient (?:balance|credits?|funds|quota)",
        r"credit balance|out of credits?|no credits? left|requires more credits",
        r"payment required|account .{0,20}(?:overdue|arrears|suspended|not active)",
        r"account is in good standing|balance (?:is )?not enough|credits? (?:are|is) depleted",  # DashScope; Gemini
        r"free (?:tier|trial|quota)\b.{0,40}exhausted",  # DashScope
    ),
    "filter": (
        r"content (?:filter|management policy|policy|moderation)",
        r"(?:input|prompt|output) (?:was|is|has been) (?:flagged|blocked|filtered)",
        r"requires moderation|safety system|inappropriate content|sensitive (?:content|words?)",
        r"content exists risk|considered high risk|text sensitive",  # DeepSeek; Moonshot; MiniMax
        r"violat\w+ .{0,40}polic(?:y|ies)|blocked by .{0,20}guardrails?|content flagged",
    ),
    "loading": (
        r"(?:model|server)\b.{0,80} is (?:currently |still |now )?(?:loading|starting|being (?:loaded|downloaded))",
        r"(?:model|server) is starting|loading model|starting up|warming up|(?:model|engine|server)\b.{0,20} not ready",
    ),
    "system role": (
        r"system.{0,30}not (?:supported|allowed)|not support.{0,30}system",  # Gemma
        r"only (?:the )?user and assistant roles",  # Mistral
        r"roles must alternate",  # Gemma and Mistral templates count the system message as a turn
    ),
    "stream": (r"\bstream(?:ing|s|_options)?\b",),  # in a refusal: OpenAI (o1, organisations), Mistral, Databricks
    "stop": (r"\bstop(?:[ _]?(?:sequences?|strings?|words?))?\b",),  # in a refusal: OpenAI (o3, GPT-5), Vertex
    "seed": (r"\bseed\b",),  # in a refusal: Gemini, Mistral, LiteLLM
    "no tools": (r"no endpoints found that support (?:the provided )?.?tool",),  # OpenRouter, as a 404
    "reasoning": (r"reasoning_content.{0,60}(?:missing|must be passed back|required)",),  # DeepSeek, Kimi
    "only streams": (r"only supports? (?:the )?stream",),  # DashScope (QwQ)
    "rate": (r"rate limit|per (?:min|day|hour|second)|too many requests|\b[rt]p[md]\b",),
}
"""Wordings, as regular expressions over the lower-cased message."""

NOT_OVERFLOW: Final = re.compile(
    r"at most \d+ completion tokens"  # OpenAI: max_tokens above the model's own limit
    r"|per (?:min|day|hour)|\btp[md]\b"  # a limit of the rate
    r"|(?:key|header|url|uri|name|stop|user|metadata|schema|tool)s?\b[^.]{0,20} (?:is |are )?too long",
)
"""Wordings that only look like an overflow."""

REASONS: Final[dict[str, str]] = {
    **dict.fromkeys(WHOLE_REASONS - {"tool_calls"}, "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "max_new_tokens", "model_length"), "length"),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(
        ("content_filter", "sensitive", "safety", "refusal", "recitation", "prohibited_content", "blocklist", "spii"),
        "content_filter",
    ),
}
"""The standard name of each server's name for the end of a reply, lower-cased."""

_TAGS = ("think", "thinking", "thoughts?", "reasoning", "seed:think", "longcat_think")
REASONING: Final[tuple[tuple[str, str], ...]] = (
    *((rf"<{tag}\s*>", f"</{tag}>") for tag in _TAGS),  # DeepSeek, Qwen, GLM, ...; Seed-OSS; LongCat
    (r"\[THINK\]", r"\[/THINK\]"),  # Mistral
    ("◁think▷", "◁/think▷"),  # Kimi-VL
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),  # OpenThinker, Sky-T1
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Command A
    ("<unused94>thought", "<unused95>"),  # MedGemma
    (r"<\|channel\|>analysis<\|message\|>", r"<\|end\|>|(?=<\|start\|>)"),  # gpt-oss: the end of any message
)
"""How a block of reasoning opens and closes in the text of a reply, as regular expressions."""
REPLY: Final[tuple[str, str]] = (
    r"<\|begin_of_solution\|>|<\|START_RESPONSE\|>|<\|start\|>assistant<\|channel\|>final<\|message\|>",
    r"<\|end_of_solution\|>|<\|END_RESPONSE\|>|<\|return\|>|<\|end\|>",
)
"""How the reply after such a block may open and close."""

_COMPILED = {meaning: re.compile("|".join(f"(?:{word})" for word in words)) for meaning, words in WORDS.items()}


def has_meaning(meaning: Meaning, message: str, codes: frozenset[str] = frozenset()) -> bool:
    """Return whether an error with this message and these codes (lower-cased codes and types) has the meaning.

    >>> has_meaning("overflow", "This model's maximum context length is 4096 tokens.")
    True
    >>> has_meaning("overflow", "max_tokens is too large: this model supports at most 4096 completion tokens")
    False
    """
    lowered = message.lower()[:4_000]
    # A gateway may quote the code in its text.
    if any(code in codes or ("_" in code and code in lowered) for code in CODES[meaning]):
        return True
    if meaning == "overflow" and NOT_OVERFLOW.search(lowered):
        return False
    return _COMPILED[meaning].search(lowered) is not None
