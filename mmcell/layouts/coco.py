"""COCO JSON of other programs: repaired as far as no guess is needed, with masks as RLE, and divided into parts."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mmcell.annotations.coco_json import is_file, read_document
from mmcell.annotations.coco_repair import repair
from mmcell.annotations.file_sets import info_of
from mmcell.errors import MmcellError, list_some
from mmcell.files.folders import list_folder
from mmcell.images.image_file import ImageFile
from mmcell.layouts.base import Layout, LayoutError, LayoutOptions, Listing, Source, SourceCells
from mmcell.layouts.folder_names import list_files
from mmcell.layouts.reading import relative_name
from mmcell.masks.rle import EncodedInstances

# Words in the name of a file, or of its folder, that say which part its images belong to.
_PARTS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test',
          'testing': 'test'}
_WORD = re.compile(r'[a-z]+')
# Images are looked for in these folders beside the file, if the file does not name the folder.
_IMAGE_FOLDERS = ('.', 'images', '..', '../images')
# How a COCO file begins. GeoJSON, for example, begins with another key.
_BEGINNING = re.compile(r'\s*\{\s*"(info|licenses|images|annotations|categories)"\s*:')
_HEAD_BYTES = 4096


def recognize(root: Path) -> str | None:
    """Returns what the file is, or which COCO files the folder has; files of earlier conversions do not count."""
    if root.is_file():
        return f'the COCO file {root.name}' if _begins_like_coco(root) else None
    names = [path.relative_to(root).as_posix() for path in _coco_files(root)]
    return f'COCO files: {list_some(names)}' if names else None


def _coco_files(root: Path) -> list[Path]:
    """Returns the COCO files in a folder and in its subfolders, without those of earlier conversions."""
    paths = list_folder(root)[0] if root.is_dir() else []
    inner = [path for folder in paths if folder.is_dir() for path in list_folder(folder)[0]]
    files = [path for path in [*paths, *inner] if path.suffix.lower() == '.json' and path.is_file()]
    return [path for path in files if _begins_like_coco(path) and not _is_of_mmcell(path)]


def _is_of_mmcell(path: Path) -> bool:
    return '"file_set"' in _read_head(path)


def _begins_like_coco(path: Path) -> bool:
    return _BEGINNING.match(_read_head(path)) is not None


def _read_head(path: Path) -> str:
    try:
        with open(path, 'rb') as file:
            return file.read(_HEAD_BYTES).decode('utf-8-sig', 'replace')
    except OSError:
        return ''


def find_sources(root: Path, options: LayoutOptions) -> Listing:
    """Repairs the files, and lists their images.

    The part of an image is named by ``--lists``, or by a word in the name of its file or of the folder of its file:
    ``instances_val2017.json``, ``valid/_annotations.coco.json``.

    Raises:
        FileNotFoundError: A file does not exist.
        AnnotationError: A file is not COCO JSON, or cannot be repaired without a guess.
        LayoutError: There is no file, it is not clear which images are used for what, an image is in two files, or the
            images are not found.
    """
    files = options.lists or _choose_files(root)
    sources: dict[Path, Source] = {}
    notes, class_names = [], []
    for part, path in files.items():
        document, folder, lines = _repair_file(path, options)
        name = relative_name(path, root) if root.is_dir() else path.name
        notes += [f'{name}: {line}' for line in lines]
        class_names += [category['name'] for category in document['categories']]
        for source in _sources_of(document, folder, part or None):
            if source.image in sources:
                raise LayoutError(f'{path}: has the image {source.image.name}, which another file has as well: take '
                                  'it out of one of them')
            sources[source.image] = source
    return Listing(list(sources.values()), notes=notes, class_names=list(dict.fromkeys(class_names)))


def _choose_files(root: Path) -> dict[str, Path]:
    """Returns the COCO file of each part; the only file may be one of no part, which has the key ''."""
    if not root.is_dir():
        return {'': root}
    paths = _coco_files(root)
    by_part: dict[str, list[Path]] = {}
    for path in paths:
        by_part.setdefault(_part_of(path, root), []).append(path)
    if not paths:
        raise LayoutError(f'{root}: has no COCO file *.json with images, annotations and categories')
    if any(len(files) > 1 for files in by_part.values()) or ('' in by_part and len(paths) > 1):
        raise LayoutError(f'{root}: has several COCO files ({list_some([path.name for path in paths])}), and their '
                          'names do not say clearly which are for training, validation and testing: give one file in '
                          'place of the folder, or --lists train=FILE val=FILE')
    return {part: files[0] for part, files in by_part.items()}


def _part_of(path: Path, root: Path) -> str:
    """Returns the part that the name of a file names, or else the names of its folders below the root; '' if none."""
    for name in (path.stem, *reversed(path.relative_to(root).parts[:-1])):
        parts = {_PARTS[word] for word in _WORD.findall(name.lower()) if word in _PARTS}
        if len(parts) == 1:
            return parts.pop()
    return ''


def _repair_file(path: Path, options: LayoutOptions) -> tuple[dict, Path, list[str]]:
    """Returns the repaired content of a file, the folder of its images, and what was repaired and left out."""
    document = read_document(path)
    folder = _find_image_folder(path, document, options.images)
    n_moved = _find_moved_images(document, folder) if options.images is not None else 0
    try:
        document, repairs, left_out = repair(document, folder, options.drop_crowds, polygons_to_rles=True)
    except MmcellError as error:
        raise type(error)(f'{path}: {error}') from error
    if n_moved:
        repairs.append(f'{n_moved} images: file_name replaced, because --images has exactly one file of this name')
    return document, folder, [*(f'repaired: {line}' for line in repairs), *(f'left out: {line}' for line in left_out)]


def _find_moved_images(document: dict, folder: Path) -> int:
    """Replaces paths of another computer by those of the only file of the same name in a folder; returns how many."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in list_files(folder)[0]:
        by_name[path.name].append(path)
    n_moved = 0
    for image in document['images']:
        name = image.get('file_name') if isinstance(image, dict) else None
        if isinstance(name, str) and '\0' not in name and not is_file(folder / name.replace('\\', '/')):
            found = by_name.get(re.split(r'[\\/]', name)[-1], [])
            if len(found) == 1:
                image['file_name'] = found[0].relative_to(folder).as_posix()
                n_moved += 1
    return n_moved


def _find_image_folder(path: Path, document: dict, given: Path | None) -> Path:
    """Returns the folder that the file names of the images are relative to.

    Raises:
        LayoutError: None of the usual folders has the first of the images.
    """
    if given is not None:
        return given
    names = [image['file_name'] for image in document['images']
             if isinstance(image, dict) and isinstance(image.get('file_name'), str) and '\0' not in image['file_name']]
    stated = info_of(document).get('data_root')
    # instances_train2017.json is about the images in train2017/: folders that the name of the file names come first.
    ends = [path.stem.split('_', n)[-1] for n in range(path.stem.count('_') + 1)]
    folders = [path.parent / folder / end for end in ends for folder in _IMAGE_FOLDERS]
    folders = [path.parent / name for name in ([stated] if stated else [])] + folders + [
        path.parent / name for name in _IMAGE_FOLDERS]
    for folder in folders:
        if any((folder / name.replace('\\', '/')).is_file() for name in names[:10]):
            return folder
    raise LayoutError(f'{path}: none of its first images ({list_some(names[:3])}) lies beside it, in a folder '
                      'images/, or in a folder that its name names: name the folder of the images with --images')


def _sources_of(document: dict, folder: Path, part: str | None) -> list[Source]:
    """Returns the images of a file, each with its annotations; ids of images are kept for test images."""
    names = {category['id']: category['name'] for category in document['categories']}
    annotations: dict[int, list] = {image['id']: [] for image in document['images']}
    for annotation in document['annotations']:
        annotations[annotation['image_id']].append(
            (names[annotation['category_id']], annotation['iscrowd'], annotation['segmentation']))
    return [Source(_without_detours(folder / image['file_name']), (), part, tuple(annotations[image['id']]),
                   image['id'] if part == 'test' else None)
            for image in document['images']]


def _without_detours(path: Path) -> Path:
    """Returns a path without '..', if it leads to the same file, so that an image in two files has one path."""
    plain = Path(os.path.normpath(path))
    return plain if '..' in path.parts and plain.exists() and path.exists() and plain.samefile(path) else path


def read_cells(source: Source, image: ImageFile, _: LayoutOptions) -> SourceCells:
    """Returns the cells of an image by class, those of crowds apart."""
    return SourceCells(_by_class(source.content, 0), _by_class(source.content, 1))


def _by_class(annotations: Sequence[tuple[str, int, dict]], is_crowd: int) -> dict[str, EncodedInstances]:
    by_class: dict[str, list[dict]] = {}
    for name, crowd, rle in annotations:
        if crowd == is_crowd:
            by_class.setdefault(name, []).append(rle)
    return {name: EncodedInstances.from_rles(rles) for name, rles in by_class.items()}


LAYOUT = Layout('coco', 'COCO JSON of another program: one file, or a folder with a file per part', recognize,
                find_sources, read_cells, ('images', 'lists', 'drop_crowds'))
