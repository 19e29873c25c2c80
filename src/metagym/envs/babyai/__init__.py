"""BabyAI in text: rooms, doors and objects in a grid, and missions in words. A family is a BabyAI id.

families  the ids, and the level of a task
view      the agent's view, in words
env       BabyAITextEnv, the inner environment
expert    BabyAIExpert: the bot of BabyAI as an actor
meta      BabyAIMetaEnv
"""
