"""MiniHack as a text environment: 122 families of levels on the real NetHack engine.

    families.py   the ids that work, groups of them, their goals in words; why the others do not
    loading.py    imports minihack when it is first needed
    engine.py     one NetHack game, exactly seeded and re-used; a pool of games
    screen.py     what NetHack shows, read from its buffers
    commands.py   the names of the actions
    questions.py  menus and questions: what can be answered, and a default answer
    text.py       the screen as text
    env.py        MiniHackTextEnv, a plain gymnasium.Env[str, str]
    tasks.py      levels as tasks, split by what is visible at the start
    counts.py     how many distinct levels a family has
    presets.py    the paper's split
    verify.py     checks that a level is the same everywhere
    demo.py       the scripted actor and reflector, no language model; demo_scene.py (its eyes),
                  demo_conditions.py and demo_skills.py (its vocabulary), demo_lessons.py (its rules)

Nothing here imports minihack before a game is needed: `pip install 'metagym[minihack]'` brings it.
"""
