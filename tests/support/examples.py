"""How many examples property tests try."""

import os


def examples(full):
    """Returns the number of examples for a test: ``full`` in ``make test-slow``, a fifth of it in ``make test``."""
    return full if os.environ.get('MMCELL_ALL_EXAMPLES') else full // 5
