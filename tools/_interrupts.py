"""Ctrl-C while a command still imports its modules, which takes seconds; imports only the standard library itself."""

import sys


def end_interrupted(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Prints a traceback, as ``sys.excepthook``, but for Ctrl-C only one line."""
    if issubclass(kind, KeyboardInterrupt):
        print('interrupted', file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = end_interrupted
