"""Generated ALFWorld games: from a family and a seed alone. They are not official games.

rooms.py    the rooms, which things belong in them, and a scene as a PDDL problem
games.py    draws a task and a scene from a seed, and finds commands that win
export.py   writes games in the official layout
"""
