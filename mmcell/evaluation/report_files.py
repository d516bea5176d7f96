"""Writes the files of ``tools/evaluate.py``, whose suffixes say in which format they are, and the worst images."""

from collections.abc import Sequence
from pathlib import Path

from mmcell.annotations.ground_truth import ImageSource
from mmcell.evaluation.error_types import Verdicts
from mmcell.evaluation.evaluation import Evaluation
from mmcell.evaluation.metrics_file import write_csv, write_metrics, write_text
from mmcell.evaluation.pairs import Pairs
from mmcell.evaluation.pictures import draw_image
from mmcell.evaluation.table_formats import ValueTable, to_latex, to_markdown
from mmcell.evaluation.tables import images_table
from mmcell.visualization.overlay import picture_name, write_png

_TABLE_FORMATS = {'.md': to_markdown, '.tex': to_latex}


def write_values(path: str | Path, content: dict, tables: Sequence[ValueTable],
                 evaluations: dict[str, Evaluation]) -> None:
    """Writes the values of one or several results files.

    Args:
        path: The file. ``.md`` and ``.tex`` get the tables, ``.csv`` one line per value, every other suffix JSON.
        content: The content of the JSON file.
        tables: The tables that are printed.
        evaluations: The values by the name of the results file.

    Raises:
        OSError: The file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix in _TABLE_FORMATS:
        write_text('\n'.join(map(_TABLE_FORMATS[suffix], tables)), path)
    elif suffix == '.csv':
        write_csv([row for name, evaluation in evaluations.items() for row in _value_rows(name, evaluation)], path)
    else:
        write_metrics(content, path)


def _value_rows(name: str, evaluation: Evaluation) -> list[dict]:
    intervals, undefined = evaluation.intervals(), (float('nan'), float('nan'))
    return [{'results': name, 'value': value, 'number': number,
             **dict(zip(('low', 'high'), intervals.get(value, undefined), strict=True))}
            for value, number in evaluation.values.items()]


def write_image_rows(path: str | Path, rows: Sequence[dict], score_threshold: float) -> None:
    """Writes the values of each image.

    Args:
        path: The file, which ends in ``.md``, ``.tex``, ``.csv`` or ``.json``.
        rows: Rows of :func:`mmcell.evaluation.per_image.image_rows`.
        score_threshold: The lowest score of the detections that count, except for average precision.

    Raises:
        OSError: The file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix in _TABLE_FORMATS:
        write_text(_TABLE_FORMATS[suffix](images_table(rows, 'values of each image', score_threshold)), path)
    elif suffix == '.csv':
        write_csv(rows, path)
    else:
        write_metrics({'score_threshold': score_threshold, 'images': rows}, path)


def draw_images(folder: Path, pairs: Pairs, sources: dict[int, ImageSource], images: Sequence[int],
                verdicts: Verdicts, score_threshold: float) -> None:
    """Draws some images into a folder, with hits, missed cells and spurious detections.

    The names of the pictures begin with the place of the image among ``images``: 01_0007_abc.png.

    Args:
        folder: The folder, which is made if necessary.
        pairs: The true and the predicted cells.
        sources: Where images are, by their places in the annotation file; the annotation file knows the others.
        images: The places of the images that are drawn.
        verdicts: The verdicts on the predictions with at least the score threshold.
        score_threshold: Detections with a lower score are not drawn.

    Raises:
        MmcellError: An image cannot be read, or does not fit its cells.
        OSError: An image does not exist, or a picture cannot be written.
    """
    for rank, image in enumerate(images, start=1):
        source = sources.get(image) or pairs.truth.image_source(image)
        picture = draw_image(source, pairs, image, score_threshold, verdicts=verdicts)
        write_png(picture, folder / f'{rank:02d}_{picture_name(pairs.truth.image_ids[image], source.path)}')
