"""Evaluation. What is registered with MMDetection is in ``metrics``; the rest comes without importing it."""
