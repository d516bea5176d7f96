"""Predicted cells in files: dumps, submissions and ensembles."""
