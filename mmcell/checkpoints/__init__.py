"""Checkpoints: what they hold, how they are opened, and whether they fit."""
