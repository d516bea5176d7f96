"""What mmcell raises where the user can mend it; commands print the message without a traceback."""


class MmcellError(ValueError):
    """Input, files or settings do not fit. The message says what was found, what was expected and what to do."""
