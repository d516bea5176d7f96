"""Measures predictions. Only ``registered`` and the classes that it lists need MMDetection."""
