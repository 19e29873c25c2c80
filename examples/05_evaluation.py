"""From a run to a conclusion: does a reflector help on families that it has never seen, by more than noise?"""

import gymnasium as gym

import metagym
from metagym.envs.gates.demo import GatesDemoReflector
from metagym.evaluation import EvaluationConfig
from metagym.evaluation.controls import control_arm

# Two held-out families, three meta-steps of five tasks, six seeds: an exact sign-flip test needs at least six.
CONFIG = EvaluationConfig(families=("law-0007", "law-0500"), num_steps=3, num_seeds=6, num_validation=10, num_test=15)


def main() -> None:
    env = gym.make("MetaGym/Gates-v0", actor="demo")
    reflector = GatesDemoReflector()

    # 1. The reflector itself. With path="runs/mine" every episode would be kept, and a second call would resume.
    report = metagym.evaluate(env, reflector, config=CONFIG, arm="demo")
    print(report.verdict)

    # 2. The same reflector under another name shares the tasks but not the chance: this is the noise floor.
    # 3. The same reflector, but the outcome of each action comes from another episode: this is the null control.
    others = []
    for name in ("same again", "permuted outcomes"):
        arm = control_arm(name, reflector)
        others.append(metagym.evaluate(env, arm.reflector, config=CONFIG, arm=name, kind=arm.kind))
    env.close()

    # 4. One difference for each seed. The first arm is compared with each of the others.
    for comparison in metagym.compare([report, *others]):
        if (difference := comparison.difference) is not None:
            print(f"{comparison.verdict}: {difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]")

    # 5. Did it learn the law, or only these tasks? A memoriser gains on tasks that it has seen, and on no others.
    replay, transfer = report.overall.replay_gain, report.overall.transfer_gain
    if replay is not None and transfer is not None:
        print(f"replay gain {replay.mean:+.3f}, transfer gain {transfer.mean:+.3f} a reflection")
    print(*report.notes, sep="\n")


if __name__ == "__main__":
    main()
