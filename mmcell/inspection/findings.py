"""What an inspection of a data set says: findings, and the places to look at."""

from dataclasses import dataclass

# From the gravest. Only errors and warnings are alarms; a data set without defects has notes at most.
LEVELS = ('error', 'warning', 'note')


@dataclass(frozen=True)
class Place:
    """Something to look at.

    Attributes:
        source: The annotation file.
        file_name: The file name of the image, as the annotation file has it.
        cell_id: The id of the annotation of one cell; None: the whole image.
        class_name: The class of the cell, or the class that the place is about.
        detail: What is seen there, with numbers.
    """

    source: str
    file_name: str
    cell_id: int | None = None
    class_name: str | None = None
    detail: str = ''


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, doubtful or worth knowing about annotation files.

    Attributes:
        kind: A short key in kebab-case, for example 'shifted-masks'.
        level: One of ``LEVELS``. 'error': numbers that are measured with these data are wrong. 'warning': something is
            probably wrong and should be looked at. 'note': worth knowing.
        sentence: What was found, with numbers, in one or two sentences.
        advice: What to do, with the flag or command to type; may be empty.
        places: Where to look, worst first.
    """

    kind: str
    level: str
    sentence: str
    advice: str = ''
    places: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f'level must be one of {LEVELS}, got {self.level!r}')
