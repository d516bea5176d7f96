"""Prediction outside training."""
