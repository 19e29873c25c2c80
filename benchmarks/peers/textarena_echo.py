"""The echo environment in textarena with its observation wrapper. Run by the Python that has it installed.

python textarena_echo.py TEXT ACTIONS COMMAND NUM_STEPS IN_FLIGHT
"""

import asyncio
import sys
import time

import textarena as ta

text, actions, command, num_steps, in_flight = sys.argv[1:6]
listed = ", ".join(actions.split(","))


class Echo(ta.Env):
    def reset(self, num_players, seed=None):
        self.state = ta.SinglePlayerState(num_players=num_players, max_turns=10**6, seed=seed)
        self.state.reset(game_state={}, player_prompt_function=lambda player_id, game_state: self.turn(""))
        self.count = 0

    def turn(self, head):
        return f"{head}{text}\n\nAvailable actions: {listed}"

    def step(self, action):
        self.count += 1
        self.state.add_observation(
            from_id=0, message=action, observation_type=ta.ObservationType.PLAYER_ACTION, to_id=-1
        )
        self.state.add_observation(
            message=self.turn(f"{action}: "), observation_type=ta.ObservationType.GAME_MESSAGE, to_id=-1
        )
        if self.count == int(num_steps):
            self.state.set_outcome(reward=1.0, reason="over")
        return self.state.step()


async def answer(prompt):
    return f"Thought: Let me see.\nAction: {command}"


async def play():
    env = ta.wrappers.LLMObservationWrapper(Echo())
    env.reset(num_players=1, seed=0)
    done = False
    while not done:
        _, prompt = env.get_observation()
        done, _ = env.step((await answer(prompt)).partition("\nAction: ")[2])


async def main():
    await asyncio.gather(*(play() for _ in range(int(in_flight))))


asyncio.run(main())
start = time.process_time()
asyncio.run(main())
print((time.process_time() - start) / (int(in_flight) * int(num_steps)) * 1e6)
