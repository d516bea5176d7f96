"""All files below a folder, and what the names of their folders say about them."""

from dataclasses import dataclass
from pathlib import Path

from mmcell.files.folders import list_folder
from mmcell.files.names import name_key
from mmcell.layouts.base import LayoutError

# Folders that say what their files are, not which image they belong to: also as the last word of a name, as in
# train_images and train_masks, or in label masks.
IMAGE_FOLDERS = ('tissue images', 'images', 'image', 'imgs', 'img', 'raw')
MASK_FOLDERS = ('masks', 'mask', 'labels', 'label', 'annotations', 'annotation', 'instances', 'segmentations', 'gt',
                'ground_truth', 'groundtruth', 'rois', 'geojson', 'xml')
PART_FOLDERS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val',
                'test': 'test', 'testing': 'test', 'test_release': 'test'}
_MAX_DEPTH = 50


def list_files(root: Path) -> tuple[list[Path], list[Path]]:
    """Returns all files in a folder and in its subfolders, sorted, and the leftovers of other programs among them.

    A folder that several links lead to is listed once.

    Raises:
        FileError: A folder cannot be listed.
        LayoutError: There are more than 50 folders inside one another.
    """
    return _walk(root, {root.resolve()}, 0)


def _walk(folder: Path, seen: set[Path], depth: int) -> tuple[list[Path], list[Path]]:
    paths, leftovers = list_folder(folder)
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
        elif path.resolve() not in seen:
            # A link to a folder above would lead around for ever.
            if depth == _MAX_DEPTH:
                raise LayoutError(f'{path}: there are more than {_MAX_DEPTH} folders inside one another')
            seen.add(path.resolve())
            inner_files, inner_leftovers = _walk(path, seen, depth + 1)
            files, leftovers = files + inner_files, leftovers + inner_leftovers
    return files, leftovers


@dataclass(frozen=True)
class FolderNames:
    """What the names of the folders of a file say.

    Attributes:
        key: What they have in common with those of the image, in lower case: the names without the words that say
            what kind of files there are.
        is_for_masks: Whether the files are masks.
        part: 'train', 'val' or 'test'; None if no name says it.
    """

    key: tuple[str, ...]
    is_for_masks: bool
    part: str | None

    @classmethod
    def parse(cls, names: tuple[str, ...]) -> 'FolderNames':
        """Returns what names of folders say, the outermost first."""
        names = [name_key(name) for name in names]
        split = [_split_folder(name) for name in names]
        words = [word for name, (rest, _) in zip(names, split, strict=True) for word in (name, rest)]
        return cls(tuple(rest for rest, _ in split if rest), any(is_for_masks for _, is_for_masks in split),
                   next((PART_FOLDERS[word] for word in words if word in PART_FOLDERS), None))


def _split_folder(name: str) -> tuple[str, bool]:
    """Splits the name of a folder into what its files share with their images, and whether it is a folder for masks.

    train_images becomes ('train', False), Label masks becomes ('', True), and day 1 becomes ('day 1', False).
    """
    is_for_masks = False
    while (word := next((word for word in (*IMAGE_FOLDERS, *MASK_FOLDERS)
                         if name == word or name.endswith((f'_{word}', f'-{word}', f' {word}'))), None)):
        name, is_for_masks = name[:-len(word)].rstrip('_- '), is_for_masks or word in MASK_FOLDERS
    return name, is_for_masks
