"""How many examples property tests try."""

import os


def examples(full):
    """The number of examples for a test: all of them in ``make test-slow``, a fifth in ``make test``."""
    return full if os.environ.get('MMCELL_ALL_EXAMPLES') else full // 5
