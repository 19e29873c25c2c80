"""MiniHack as a text environment: 122 families of levels on the real NetHack engine.

    env.py, meta.py, tasks.py, families.py   as in every environment folder
    engine.py        imports minihack; one NetHack game, exactly seeded and re-used; a pool of games
    screen.py        what NetHack shows, read from its buffers and written as text
    commands.py      the names of the actions
    questions.py     menus and questions: their answers, and a default answer
    demo/            the scripted actor and reflector

Nothing here imports minihack before a game is needed; the extra `minihack` installs it.
"""
