"""Finds images and the files of their cells by the names of files and folders."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from mmcell.errors import MmcellError
from mmcell.files.folders import list_folder
from mmcell.files.names import name_key
from mmcell.files.output_names import name_outputs
from mmcell.layouts.base import LayoutError, LayoutOptions, Listing, Source

IMAGE_SUFFIXES = ('.tif', '.tiff', '.png', '.jpg', '.jpeg', '.bmp', '.webp', '.jp2', '.svs', '.ndpi', '.scn', '.qptiff',
                  '.lsm', '.stk', '.pgm', '.ppm', '.gif')
# Folders that say what their files are, not which image they belong to.
IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'raw')
MASK_FOLDERS = ('masks', 'mask', 'labels', 'label', 'annotations', 'annotation', 'instances', 'segmentations', 'gt',
                'ground_truth', 'groundtruth', 'rois', 'geojson', 'xml')
PART_FOLDERS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val',
                'test': 'test', 'testing': 'test', 'test_release': 'test'}
# Pictures of predictions, which are no images to learn from.
_DRAWN = ('_overlay.png', '_outlines.png', '_flows.tif')
_MAX_DEPTH = 12


@dataclass(frozen=True)
class FileKind:
    """How the files of cells of a layout are called.

    Attributes:
        suffixes: Their suffixes in lower case, for example '.tif'.
        ends: What their names have in addition to the name of their image: '_masks' for a_masks.tif beside a.tif.
        beginnings: What their names have before the name of their image.
        companions: The ends, with suffix, of further files with something about the same image, for example a table:
            '_classes.csv'. Each image gets those of them that exist.
        other_ends: Ends, with suffix, of files that belong to another layout.
    """

    suffixes: tuple[str, ...]
    ends: tuple[str, ...] = ()
    beginnings: tuple[str, ...] = ('',)
    companions: tuple[str, ...] = ()
    other_ends: tuple[str, ...] = ()


def pair_files(root: Path, options: LayoutOptions, kind: FileKind) -> Listing:
    """Finds the images in a folder and in its subfolders, and the file of cells of each.

    A file of cells has the name of its image with one of the ends of the kind. It may have the same name without any
    end if it has another suffix than images have, or lies in a folder for masks: ``images/a.png`` and ``masks/a.png``,
    ``train/images/a.png`` and ``train/labels/a.tif``. Upper and lower case, and forms of accents, may differ.

    Images in a folder ``test`` belong to the part 'test', also without cells. If there is a folder ``val`` or
    ``valid``, its images belong to the part 'val', and those in ``train`` to the part 'train'; otherwise the images in
    ``train`` belong to no part.

    Args:
        root: The data root.
        options: ``images`` and ``masks`` name the folders of images and of files of cells, ``mask_suffix`` the end.
        kind: How files of cells are called.

    Returns:
        The sources, each with the file of cells and then its companions. An image with several files of cells, and
        images of the same name, have a problem that names the files.

    Raises:
        FileError: A folder cannot be listed.
        LayoutError: There is no pair of files.
    """
    if options.mask_suffix is not None:
        kind = replace(kind, ends=(options.mask_suffix,))
    pairs = _Pairs(root, options, kind)
    listing = pairs.to_listing()
    if not any(source.files for source in listing.sources):
        ends = ', '.join(f'NAME{end}{kind.suffixes[0]}' for end in kind.ends[:4])
        raise LayoutError(f'{root}: no image has a file of cells: looked for {ends} beside NAME.tif, NAME.png …, and '
                          f'for files of the same name in folders such as masks/; {len(pairs.images)} images and '
                          f'{len(listing.masks_without_image)} possible files of cells were found. Name the end with '
                          '--mask-suffix, or the folders with --images and --masks')
    return listing


def describe_pairs(root: Path, kind: FileKind, what: str) -> str | None:
    """Returns what a folder has, for a sentence: '60 images, each with a label map such as a_masks.tif'; or None."""
    if not root.is_dir():
        return None
    try:
        sources = pair_files(root, LayoutOptions(), kind).sources
    except MmcellError:
        return None
    with_files = [source for source in sources if source.files]
    n_test = sum(source.part == 'test' and not source.files for source in sources)
    return (f'{len(with_files)} image{"s" * (len(with_files) != 1)} with {what} such as '
            + with_files[0].files[0].relative_to(root).as_posix()
            + (f', and {n_test} test image{"s" * (n_test != 1)}' if n_test else ''))


def list_files(root: Path) -> tuple[list[Path], list[Path]]:
    """Returns all files in a folder and in its subfolders, sorted, and the leftovers of other programs among them.

    A folder that lies too deep is among the files: it is not opened, and whoever reads the files does not miss it.

    Raises:
        FileError: A folder cannot be listed.
    """
    return _walk(root, {root.resolve()}, 0)


def _walk(folder: Path, seen: set[Path], depth: int) -> tuple[list[Path], list[Path]]:
    paths, leftovers = list_folder(folder)
    files = []
    for path in paths:
        if not path.is_dir() or depth >= _MAX_DEPTH:
            files.append(path)
        elif path.resolve() not in seen:
            # A link to a folder above would lead around for ever.
            seen.add(path.resolve())
            inner_files, inner_leftovers = _walk(path, seen, depth + 1)
            files, leftovers = files + inner_files, leftovers + inner_leftovers
    return files, leftovers


def _seen_from(root: Path, folder: Path | None) -> Path | None:
    """Returns a folder in the root as a path below it, however it is written, so that its files have one path."""
    if folder is None or (folder.is_relative_to(root) and '..' not in folder.parts):
        return folder
    folder, base = folder.resolve(), root.resolve()
    return root / folder.relative_to(base) if folder.is_relative_to(base) else folder


class _Pairs:
    """Images and files of cells of a folder.

    Args:
        root, options, kind: As in :func:`pair_files`.

    Attributes:
        images: The files that may be images.
    """

    def __init__(self, root: Path, options: LayoutOptions, kind: FileKind) -> None:
        self.kind = kind
        self.options = replace(options, images=_seen_from(root, options.images), masks=_seen_from(root, options.masks))
        self.roots = list(dict.fromkeys(filter(None, (self.options.images, self.options.masks, root))))
        lists = [list_files(folder) for folder in self.roots]
        self.files = list(dict.fromkeys(path for paths, _ in lists for path in paths))
        self.leftovers = list(dict.fromkeys(path for _, paths in lists for path in paths))
        self.images = [path for path in self.files if self._may_be_image(path)]
        self.output_names = name_outputs(self.images)
        self.by_key: dict[tuple, list[Path]] = defaultdict(list)
        for path in self.images:
            for name in {path.stem, path.stem.removesuffix('.ome'), path.name}:
                self.by_key[self._folder_key(path), name_key(name)].append(path)
        self.masks_of: dict[Path, list[Path]] = defaultdict(list)
        # Other images that the file of cells of an image may belong to as well.
        self.rivals_of: dict[Path, list[Path]] = {}
        self.companions_of: dict[Path, list[Path]] = defaultdict(list)
        self.unmatched: list[Path] = []
        for path in self.files:
            self._assign(path)

    def _may_be_image(self, path: Path) -> bool:
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.lower().endswith(_DRAWN):
            return False
        if self.options.images is not None:
            return path.is_relative_to(self.options.images)
        return not self._is_in_mask_folder(path)

    def _is_in_mask_folder(self, path: Path) -> bool:
        if self.options.masks is not None:
            return path.is_relative_to(self.options.masks)
        return bool(set(self._folders(path)) & set(MASK_FOLDERS))

    def _folders(self, path: Path) -> list[str]:
        """Returns the names of the folders of a file below the root that contains it, in lower case."""
        root = next(root for root in self.roots if path.is_relative_to(root))
        return [name_key(part) for part in path.relative_to(root).parts[:-1]]

    def _folder_key(self, path: Path) -> tuple[str, ...]:
        """Returns the folders of a file that its image shares: those that do not say what kind of file it is."""
        return tuple(part for part in self._folders(path) if part not in (*IMAGE_FOLDERS, *MASK_FOLDERS))

    def _assign(self, path: Path) -> None:
        """Finds the image that a file belongs to."""
        for end in self.kind.companions:
            if path.name.lower().endswith(end) and (images := self._find_images(path, path.name[:-len(end)])):
                self.companions_of[images[0]].append(path)
                return
        if self._suffix_of(path) is None or (self.options.masks is not None and not self._is_in_mask_folder(path)):
            return
        has_end = False
        for name in self._names_of_image(path):
            has_end |= name != self._stem_of(path)
            images = [image for image in self._find_images(path, name) if image != path]
            if images:
                self.masks_of[images[0]].append(path)
                self.rivals_of.setdefault(images[0], images[1:])
                return
        if has_end or self._is_in_mask_folder(path) or path.suffix.lower() not in IMAGE_SUFFIXES:
            self.unmatched.append(path)

    def _suffix_of(self, path: Path) -> str | None:
        if path.name.lower().endswith(self.kind.other_ends):
            return None
        return next((suffix for suffix in self.kind.suffixes if path.name.lower().endswith(suffix)), None)

    def _stem_of(self, path: Path) -> str:
        return path.name[:-len(self._suffix_of(path))]

    def _names_of_image(self, path: Path) -> list[str]:
        """Returns the names that the image of a file of cells may have, the most probable one first."""
        stem, names = self._stem_of(path), []
        for end in sorted(self.kind.ends, key=len, reverse=True):
            if end and stem.lower().endswith(end.lower()):
                names.append(stem[:-len(end)])
        names += [stem[len(beginning):] for beginning in self.kind.beginnings
                  if beginning and stem.lower().startswith(beginning.lower())]
        # Without an end, it must lie in a folder for masks, or have a suffix that no image has.
        if self._is_in_mask_folder(path) or path.suffix.lower() not in IMAGE_SUFFIXES:
            names.append(stem)
        return names

    def _find_images(self, path: Path, name: str) -> list[Path]:
        images = self.by_key.get((self._folder_key(path), name_key(name)), [])
        if not images and (self.options.images is not None or self.options.masks is not None):
            # The folders that the user names need not have the same subfolders. The outputs of tools/predict.py have
            # names of their own, if images of several folders have the same name.
            images = [image for image, output in zip(self.images, self.output_names, strict=True)
                      if name_key(output) == name_key(name)]
            images = images or [image for (_, key), paths in self.by_key.items() if key == name_key(name)
                                for image in paths]
        return images

    def to_listing(self) -> Listing:
        """Returns what was found."""
        is_mask = {path for paths in (*self.masks_of.values(), *self.companions_of.values()) for path in paths}
        unmatched = set(self.unmatched)
        images = [path for path in self.images
                  if path not in is_mask and (path not in unmatched or path in self.masks_of)]
        parts = {path: self._part_of(path) for path in images}
        has_val = 'val' in parts.values()
        sources, without_masks = [], []
        for path in images:
            part = parts[path] if parts[path] != 'train' or has_val else None
            if not self.masks_of.get(path) and part != 'test':
                without_masks.append(path)
                continue
            files = (*self.masks_of.get(path, [])[:1], *self.companions_of.get(path, []))
            sources.append(Source(path, files, part, problem=self._find_problem(path, is_mask)))
        used = {*is_mask, *images, *unmatched}
        others = [path for path in self.files if path not in used]
        return Listing(sources, without_masks, [path for path in self.unmatched if path not in self.masks_of], others,
                       self.leftovers)

    def _part_of(self, path: Path) -> str | None:
        return next((PART_FOLDERS[part] for part in self._folders(path) if part in PART_FOLDERS), None)

    def _find_problem(self, path: Path, is_mask: set[Path]) -> LayoutError | None:
        masks = self.masks_of.get(path, [])
        if len(masks) > 1:
            return LayoutError(f'{path}: has several files of cells, {masks[0].name} and {masks[1].name}: keep one of '
                               'them, or name the end of the right one with --mask-suffix')
        rivals = [other for other in self.rivals_of.get(path, []) if other not in is_mask]
        if rivals:
            return LayoutError(f'{path}: {rivals[0]} has the same name, so that it is not clear which of them '
                               f'{masks[0]} belongs to: move one of the images away, or put the files of cells into '
                               'the same subfolders as the images')
        return None
