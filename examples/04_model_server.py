"""Actor and reflector over an OpenAI-compatible server: here a fake server, so that it runs offline."""

import gymnasium as gym

import metagym
from metagym.testing import FakeOpenAIServer, ServerRequest

WAYS = ("knock", "push", "pull", "sing", "whistle", "wait")


def respond(request: ServerRequest) -> str:
    """Answer in place of a model: the reflector advises to sing, the actor tries the ways in turn."""
    system = request.messages[0]["content"]
    if "IMPROVED PROMPT" in system:
        return "ANALYSIS: It never sang first.\nIMPROVED PROMPT: Sing to every gate before you try anything else."
    turn = sum(message["role"] == "assistant" for message in request.messages)
    way = "sing" if "Sing to every gate" in system and turn == 0 else WAYS[turn % len(WAYS)]
    return f"Thought: let me try.\nAction: {way}"


def main() -> None:
    with FakeOpenAIServer(respond) as server:
        # With a real server, base_url is http://localhost:8000/v1 (vLLM), http://localhost:11434/v1 (Ollama), ...
        model = {"model": "my-model", "base_url": server.base_url}
        env = gym.make("MetaGym/Gates-v0", actor=model, episodes_per_step=3)
        reflector = metagym.ChatReflector(
            metagym.OpenAIChatModel("my-model", base_url=server.base_url, sampling={"max_tokens": 2000})
        )
        result = metagym.optimize(env, reflector, num_steps=2, seed=0)
        assert isinstance(env.unwrapped, metagym.MetaEnv)
        print(env.unwrapped.ledger)
        env.close()
    print(f"first prompt: {result.history[0].prompt}\nlast prompt:  {result.last_prompt}")


if __name__ == "__main__":
    main()
