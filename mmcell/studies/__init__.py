"""Studies: several configs, seeds and folds, trained and tested with as little work as possible, and compared."""
