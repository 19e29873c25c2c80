"""From a run to a conclusion: does this reflector help on families it has never seen, and is it more than noise?"""

import gymnasium as gym

import metagym
from metagym.envs.gates.demo import GatesDemoReflector
from metagym.evaluation import EvaluationConfig
from metagym.evaluation.comparison import compare
from metagym.evaluation.controls import control_arm

# Two held-out families, three meta-steps of five tasks, six seeds: six is the least for an exact sign-flip test.
CONFIG = EvaluationConfig(families=("law-0007", "law-0500"), num_steps=3, num_seeds=6, num_validation=10, num_test=15)


def main() -> None:
    env = gym.make("MetaGym/Gates-v0", actor="demo")
    reflector = GatesDemoReflector()

    # 1. The reflector itself. With path="runs/mine" every episode would be kept, and a second call would go on.
    report = metagym.evaluate(env, reflector, config=CONFIG, arm="demo")
    print(report.verdict)

    # 2. The same reflector under another name shares the tasks, not the chance: that is the noise floor.
    # 3. The same reflector again, but what followed each action comes from another episode: the null control.
    others = []
    for name in ("same again", "permuted outcomes"):
        arm = control_arm(name, reflector)
        others.append(metagym.evaluate(env, arm.reflector, config=CONFIG, arm=name, kind=arm.kind))
    env.close()

    # 4. One difference per seed. The first is compared with each of the others.
    for comparison in compare([report, *others]):
        if (difference := comparison.difference) is not None:
            print(f"{comparison.verdict}: {difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]")

    # 5. Did it learn the law, or these tasks? A memoriser gains on what it saw, and nothing elsewhere.
    replay, transfer = report.overall.replay_gain, report.overall.transfer_gain
    if replay is not None and transfer is not None:
        print(f"replay gain {replay.mean:+.3f}, transfer gain {transfer.mean:+.3f} a reflection")
    print(*report.notes, sep="\n")


if __name__ == "__main__":
    main()
