"""The exceptions that a user can act on. Commands print their message without a traceback.

::

    ValueError
    └── MmcellError
        ├── AdviceError                 inspection/advice.py
        ├── AlbumentationsError         datasets/albumentations_adapter.py
        ├── AnchorSettingError          settings/anchors.py
        ├── AnnotationError             annotations/coco_json.py
        ├── BaseConfigError             reports/run_configs.py
        ├── CheckpointConfigError       checkpoints/config.py
        ├── ClassesError                classes/matching.py
        ├── ColorError                  datasets/colors.py
        ├── ContentError                checkpoints/content.py
        ├── CurveError                  visualization/training_curves.py
        ├── DetectorError               inference/detector.py
        ├── EnsembleError               predictions/ensemble.py
        ├── FileError                   files/folders.py
        ├── FitError                    checkpoints/fit.py
        ├── FolderInUseError            files/locks.py
        ├── HalfPrecisionError          checkpoints/half_precision.py
        ├── ImageReadError              images/limits.py
        ├── ImageSelectionError         inference/image_files.py
        ├── LayoutError                 annotations/annotated_image.py
        ├── LiteralError                settings/literals.py
        ├── LostProcessError            inference/processes.py
        ├── ModelFailureError           inference/many_images.py
        ├── NoBatchError                framework/console.py
        ├── NonFiniteLossError          hooks/steps.py
        ├── OtherProcessError           inference/huge_images.py
        ├── OtherRunError               checkpoints/runs.py
        ├── ParameterBudgetError        hooks/budget.py
        ├── PartsError                  files/parts.py
        ├── ResultsError                predictions/rules.py
        ├── ResumeError                 hooks/steps.py
        ├── ScheduleError               framework/schedules.py
        ├── SettingError                settings/options.py
        ├── StudyError                  studies/plan.py
        ├── SubmissionError             predictions/packed_results.py
        ├── TorchvisionWeightsError     checkpoints/torchvision_weights.py
        ├── TrackerError                visualization/trackers.py
        ├── TrainingStoppedError        hooks/stopping.py
        ├── UnknownSettingError         settings/names.py
        ├── WeightsError                framework/weights_errors.py
        │   └── UntrustedCheckpointError
        └── WrittenConfigError          inspection/written_config.py
    RuntimeError
    └── MissingOpError                  framework/torchvision_ext.py
"""

from collections.abc import Sequence
from reprlib import Repr

# Texts from files are shown in messages with at most this many characters, or entries of a list.
MAX_CHARACTERS, MAX_ENTRIES = 80, 6
# Entries of a list may be sentences with a path.
_MAX_ENTRY_CHARACTERS = 500
_MAX_REASON_CHARACTERS = 200


def escape(text: object) -> str:
    r"""Returns a text in one line: line breaks and other characters that are not printable become ``\n``, ``\x1b`` ….

    File names may hold line breaks, codes that move the cursor or reverse the direction of writing, and bytes that are
    not UTF-8, which Python keeps as lone surrogates and cannot print.

    Args:
        text: An error, a path, a name, or any object with a text.
    """
    return ''.join(character if character.isprintable() else character.encode('unicode_escape').decode()
                   for character in str(text))


def in_one_line(error: BaseException) -> str:
    """Returns the message of another package's error in one line of at most 200 characters, or the name of its type."""
    return escape(' '.join(str(error).split()))[:_MAX_REASON_CHARACTERS] or type(error).__name__


def quote(value: object) -> str:
    """Returns a value that a file or a user gave, for a message: with quotation marks, in one line, and shortened."""
    return _SHORT.repr(value)


def list_some(texts: Sequence[object], separator: str = ', ', most: int = MAX_ENTRIES) -> str:
    """Joins texts for a message, each in one line; of a long list the first ones, and how many more there are.

    Args:
        texts: Names, sentences, or any objects with a text.
        separator: What stands between two texts.
        most: How many texts are joined at most.
    """
    more = [f'… and {len(texts) - most} more'] if len(texts) > most else []
    return separator.join([*(_shorten(escape(text)) for text in texts[:most]), *more])


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_ENTRY_CHARACTERS else f'{text[:_MAX_ENTRY_CHARACTERS]}…'


class _ShortRepr(Repr):
    """Shows the beginning of a value of any origin, however deep, long or large it is.

    ``str`` and ``repr`` fail for deep values and for numbers of thousands of digits, and take exponential time if parts
    of a value are the same object.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = self.maxlong = MAX_CHARACTERS
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = MAX_ENTRIES

    def repr_int(self, value: int, level: int) -> str:
        return super().repr_int(value, level) if abs(value) < 10**30 else 'a number of more than 30 digits'

    def repr_ndarray(self, value: object, level: int) -> str:
        return f'array of shape {value.shape} and type {value.dtype}'


_SHORT = _ShortRepr()


class MmcellError(ValueError):
    """Input, files or settings do not fit. The message states what was found, what was expected and what to do."""

    def __str__(self) -> str:
        """Returns the message with its own line breaks, and without other characters that cannot be printed."""
        return '\n'.join(map(escape, super().__str__().split('\n')))
