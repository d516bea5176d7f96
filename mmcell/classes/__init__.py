"""Names of classes: they say which classes of two files, or of a model and a file, are the same."""
