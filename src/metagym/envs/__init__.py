"""The environments: for each, the inner game, its meta-environment, and a scripted demo."""
