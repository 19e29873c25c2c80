"""The echo environment in gem-llm, plain or with its concat wrapper. Run by the Python that has it installed.

python gem_echo.py TEXT ACTIONS COMMAND NUM_STEPS IN_FLIGHT [concat]
"""

import asyncio
import sys
import time

import gem.core
from gem.wrappers.observation_wrapper import ObservationWrapper

text, actions, command, num_steps, in_flight, wrapper = (*sys.argv[1:], "")[:6]
listed = ", ".join(actions.split(","))


class Echo(gem.core.Env):
    def reset(self, seed=None):
        self.count = 0
        return f"{text}\n\nAvailable actions: {listed}", {}

    def step(self, action):
        self.count += 1
        return f"{action}: {text}\n\nAvailable actions: {listed}", 0.0, self.count == int(num_steps), False, {}


async def answer(prompt):
    return f"Thought: Let me see.\nAction: {command}"


async def play():
    env = Echo()
    if wrapper == "concat":
        env = ObservationWrapper(env, include_action=True, include_chat_template=False)
    prompt, _ = env.reset(seed=0)
    messages, done = [], False
    while not done:
        if not wrapper:  # without the wrapper the history is the caller's business
            messages.append({"role": "user", "content": prompt})
        reply = await answer(messages or prompt)
        if not wrapper:
            messages.append({"role": "assistant", "content": reply})
        prompt, _, done, _, _ = env.step(reply.partition("\nAction: ")[2])


async def main():
    await asyncio.gather(*(play() for _ in range(int(in_flight))))


asyncio.run(main())
start = time.process_time()
asyncio.run(main())
print((time.process_time() - start) / (int(in_flight) * int(num_steps)) * 1e6)
