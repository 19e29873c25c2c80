"""What servers say is read by code and type first, then by words; each wording has one meaning."""

from __future__ import annotations

import pytest

from metagym.models.server_words import CODES, REASONS, has_meaning
from metagym.types import WHOLE_REASONS

OVERFLOWS = (
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "Input tokens exceed the configured limit of 272000 tokens. Please reduce the length of the messages.",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "Input prompt (6768 tokens) is too long and exceeds limit of 4096",
    "max_tokens must be at least 1, got -17.",
    "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context length is 1000 tokens",
    "The prompt (total length 25938) is too long to fit into the model (context length 4096).",
    "The input (61709 tokens) is longer than the model's context length (40960 tokens).",
    "Requested token count exceeds the model's maximum context length of 4096 tokens.",
    "Input length (5000) exceeds the maximum allowed length (4096). Use a shorter input.",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens",
    "`inputs` must have less than 1024 tokens. Given: 2000",
    "the request exceeds the available context size (4096 tokens), try increasing it",
    "context shift is disabled",
    "input is larger than the max context size. skipped",
    "input is too large to process. increase the physical batch size",
    "Input prompt is too big compared to KV size. Please try increasing KV size.",
    "the input length exceeds the context length",
    "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length",
    "The number of tokens to keep from the initial prompt is greater than the context length",
    "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
    "Unable to submit request because the input token count is 40000 but model only supports up to 32768.",
    "prompt is too long: 200251 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length",
    "Input is too long for requested model.",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Invalid request: Your request exceeded model token limit: 8192",
    "Input token length too long",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "The number of tokens in the prompt exceeds the model's maximum of 32768",
    "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens",
    "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
    "too many tokens: total number of tokens in the prompt cannot exceed 4081",
    "The prompt is too long: 5000, model maximum context length: 4095",
    "Range of input length should be [1, 30720]",
    "Prompt exceeds max length",
    "context window exceeds limit (2013)",
    "prompt length (5000) exceeds maximum input length (4096)",
    "The maximum context length of 4096 is less than 5000",
    "Requested tokens (5049) exceed context window of 4096",
    "Token limit exceeded: the request exceeds the model's context window",
    "maximum sequence length of 2048 exceeded",
    "Prompt sequence length is greater than 4096, perhaps consider using `truncate_sequence`?",
    "Requested generation length 1 is not possible! The provided prompt is 4097 tokens long, but the maximum supported "
    "sequence length is just 4096!",
    "Total tokens of image and text exceed max message tokens. Request id: 02",
    "max tokens of 4096 exceeded",
    "internal error happened, status code ResponseType.INPUT_LENGTH_ERROR",
)
NO_OVERFLOWS = (
    "max_tokens is too large: 100000. This model supports at most 16384 completion tokens.",
    "Rate limit reached for m on tokens per min (TPM): Limit 30000, Used 20000, Requested 15000.",
    "Request too large for m on tokens per min (TPM): Limit 30000. The input or output tokens must be reduced.",
    "Invalid 'user': string too long. Expected a string with maximum length 64, but got 100 instead.",
    "Invalid 'stop': array too long. Expected an array with maximum length 4, but got 5 instead.",
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "The API key is too long",
    "Header value is too long",
    "System role not supported",
    "The request timed out, it took too long",
    "The request took too long to process",
    "Conversation roles must alternate user/assistant/user/assistant",
    "Unknown field context_length in the request",
    "The context parameter is not supported",
    "The maximum length of `user` is 512 characters",
    "The queue is too long, please try again later",
    "Invalid schema for response_format: the schema exceeds the maximum nesting of 5 levels",
)
FILTERS = (
    "The response was filtered due to the prompt triggering the content management policy.",
    "Your chosen model requires moderation and your input was flagged for violence",
    "Your request was rejected as a result of our safety system.",
    "Output data may contain inappropriate content.",
    "Content Exists Risk",
    "The request was rejected because it was considered high risk",
    "Sorry, the request violates our usage policies",
    "Input text sensitive, please adjust",
)
CREDITS = (
    *("Insufficient Balance", "Your credit balance is too low to access the API", "You have insufficient funds"),
    *("Access denied, please make sure your account is in good standing.", "Account balance not enough"),
    "The free tier of the model has been exhausted.",
)
LOADING = ("Model org/Model-7B is currently loading", "Server is starting", "the engine is not ready", "Loading model")


@pytest.mark.parametrize("message", OVERFLOWS)
def test_a_conversation_that_is_too_long_is_recognised(message: str) -> None:
    assert has_meaning("overflow", message)
    assert has_meaning("overflow", message.upper())


@pytest.mark.parametrize("message", NO_OVERFLOWS)
def test_other_errors_are_no_overflow(message: str) -> None:
    assert not has_meaning("overflow", message)


@pytest.mark.parametrize("message", FILTERS)
def test_a_content_filter_is_recognised(message: str) -> None:
    assert has_meaning("filter", message)
    assert not has_meaning("overflow", message)


@pytest.mark.parametrize("message", CREDITS)
def test_an_empty_account_is_recognised(message: str) -> None:
    assert has_meaning("credit", message)
    assert not has_meaning("overflow", message)


@pytest.mark.parametrize("message", LOADING)
def test_a_server_that_loads_is_recognised(message: str) -> None:
    assert has_meaning("loading", message)


@pytest.mark.parametrize(
    ("meaning", "code"), [(meaning, code) for meaning, codes in CODES.items() for code in sorted(codes)]
)
def test_a_code_decides_without_words(meaning: str, code: str) -> None:
    assert has_meaning(meaning, "No.", frozenset({code}))  # type: ignore[arg-type]


def test_only_an_end_by_itself_is_whole() -> None:
    assert {reason for reason, name in REASONS.items() if name == "stop"} == WHOLE_REASONS - {"tool_calls"}
    assert not WHOLE_REASONS & {"length", "content_filter", "max_tokens", "abort", "error", "sensitive"}


def test_only_the_head_of_a_long_message_is_read() -> None:
    assert not has_meaning("overflow", "input " * 1_000_000)
