"""Gives labels the category ids of a file, by the names of the classes."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmcell.classes.matching import match_classes


@dataclass(frozen=True)
class Categories:
    """The categories of a file.

    Attributes:
        ids: The category ids, in the order of the file.
        names: The names of the classes in the same order; None if the file does not name them.
        source: The file, for messages.
    """

    ids: list[int]
    names: list[str] | None
    source: str

    @classmethod
    def of_document(cls, document: dict, source: str) -> 'Categories':
        """Returns the categories of an annotation file that :func:`read_annotations` has read."""
        records = document['categories']
        return cls([record['id'] for record in records], [record['name'] for record in records], source)

    def ids_of_labels(self, classes: Sequence[str] | None, source: str) -> list[int]:
        """Returns the category id of each label.

        Args:
            classes: The names of the classes in the order of the labels. If they are None, or the file has no names,
                the labels stand for the categories in the order of the file.
            source: Where the labels come from, for messages.

        Raises:
            ClassesError: The names are not those of the file.
        """
        if classes is None or self.names is None:
            return self.ids
        return [self.ids[index] for index in match_classes(classes, self.names, source, self.source)]

    def ids_of_sample(self, sample: dict, source: str) -> list[int]:
        """Returns the category id of each label of a sample in a dump, which may contain the names of the classes.

        Raises:
            ClassesError: The names are not those of the file.
        """
        return self.ids_of_labels(sample.get('classes'), source)

    def remark_on(self, samples: Sequence[dict], source: str) -> str | None:
        """Returns what is assumed about the labels of a dump if it or the file does not name the classes, or None."""
        classes = next((sample.get('classes') for sample in samples), None)
        if not samples or (classes is not None and self.names is not None):
            return None
        names = self.names if classes is None else classes
        order = (', '.join(f'{number} {name}' for number, name in zip(self.ids, names, strict=False)) if names
                 else ', '.join(map(str, self.ids)))
        unnamed = ' and '.join(file for file, known in ((source, classes), (self.source, self.names)) if known is None)
        return f'{unnamed} does not name the classes: labels are taken for the categories {order}, in this order'
