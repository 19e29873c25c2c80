"""Training reflectors with GRPO. Importing this package imports no torch.

    experience           the data to train on: collected by ICT loops, kept as JSON lines or Parquet (no torch)
    meta_episode_env     a whole meta-episode as a conversation, for any trainer (no torch)
    reward               the reward of a reflection: its batch, replayed under its prompt (no torch)
    grpo                 the algorithm
    policy               the language model under training: it samples replies and gives their log-probabilities
    packing              the replies of a group behind one copy of their prompt
    gguf_weights         a GGUF file as a model that torch can train
    trainer, checkpoints the training run: steps, evaluations, checkpoints, exact resume
    metrics              the figures of a step, and the files that hold them
    local_reflector      a checkpoint as a reflector, in this process; the ICT protocol for the policy under training
    export, branching    turns, pairs and branches for other trainers (no torch)
    trl, verl            adapters: the same reward and data in those trainers

It knows no particular environment. The toy problem of `metagym train demo` is `metagym.training_demo`.
"""
