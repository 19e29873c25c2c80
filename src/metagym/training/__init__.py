"""Training reflectors: experience, reward, GRPO, other trainers. Needs the extra `train` where it says so.

Importing this package imports no torch; its modules import torch when they are imported themselves.
"""
