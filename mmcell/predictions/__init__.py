"""Predicted cells in files: dumps, submissions, ensembles."""
