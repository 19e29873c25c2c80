"""The environments: each folder has an inner environment, its meta-environment, and a scripted demo."""
