"""Finds images and the files of their cells by the names of files and folders."""

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mmcell.errors import MmcellError
from mmcell.files.names import name_key
from mmcell.files.output_names import name_outputs
from mmcell.layouts.base import LayoutError, LayoutOptions, Listing, Source
from mmcell.layouts.folder_names import FolderNames, list_files

IMAGE_SUFFIXES = ('.tif', '.tiff', '.png', '.jpg', '.jpeg', '.bmp', '.webp', '.jp2', '.svs', '.ndpi', '.scn', '.qptiff',
                  '.lsm', '.stk', '.pgm', '.ppm', '.gif')
# Ends of the names of images whose files of cells do not have them: 000_img.png and 000_masks.png.
_IMAGE_ENDS = ('_img', '_image')
# Pictures of predictions, which are no images to learn from.
_DRAWN = ('_overlay.png', '_numbers.png', '_outlines.png', '_flows.tif')
# Ends of files that other programs, and tools/predict.py, make of an image. A file with the name of an image and one of
# these ends is no image itself, unless it has a file of cells.
_DERIVED = re.compile(r'(.+)[_-](masks?|labels?|class[0-9]*|classes|types?|seg|segmentation|instances?|inst|overlay|'
                      r'outlines|flows|cellprob|probs?|probabilities|cp_output)(\.ome)?', re.IGNORECASE)


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
    ``train/images/a.png`` and ``train/labels/a.tif``, ``train_images/a.png`` and ``train_masks/a.png``. Upper and lower
    case, and forms of accents, may differ. Companions have the name of the image or of its file of cells.

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
        LayoutError: There is no pair of files, or there are more than 50 folders inside one another.
    """
    if options.mask_suffix is not None:
        kind = replace(kind, ends=(options.mask_suffix,))
    listing = _Pairs(root, options, kind).to_listing()
    if not any(source.files for source in listing.sources):
        ends = ', '.join(f'NAME{end}{kind.suffixes[0]}' for end in kind.ends[:4])
        n_images = len(listing.sources) + len(listing.images_without_masks)
        raise LayoutError(f'{root}: no image has a file of cells: looked for {ends} beside NAME.tif, NAME.png …, and '
                          f'for files of the same name in folders such as masks/; {n_images} images and '
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
        self.folders: dict[Path, FolderNames] = {}
        self.roots = list(dict.fromkeys(filter(None, (self.options.images, self.options.masks, root))))
        lists = [list_files(folder) for folder in self.roots]
        self.files = list(dict.fromkeys(path for paths, _ in lists for path in paths))
        self.leftovers = list(dict.fromkeys(path for _, paths in lists for path in paths))
        self.images = [path for path in self.files if self._may_be_image(path)]
        self.by_key: dict[tuple, list[Path]] = defaultdict(list)
        self.by_short_key: dict[tuple, list[Path]] = defaultdict(list)
        for path in self.images:
            folder = self._folder_key(path)
            for name in {path.stem, path.stem.removesuffix('.ome'), path.name}:
                self.by_key[folder, name_key(name)].append(path)
            for end in _IMAGE_ENDS:
                if path.stem.lower().endswith(end):
                    self.by_short_key[folder, name_key(path.stem[:-len(end)])].append(path)
        self.masks_of: dict[Path, list[Path]] = defaultdict(list)
        self.images_of: dict[Path, list[Path]] = {}
        self.companions_of: dict[Path, list[Path]] = defaultdict(list)
        self.unmatched: list[Path] = []
        # An image that has a mask in a folder for masks is no mask of another image, whatever it is called.
        for path in sorted(self.files, key=self._is_in_mask_folder, reverse=True):
            if path not in self.masks_of:
                self._assign(path)
        self._assign_companions()

    @cached_property
    def by_output_name(self) -> dict[str, list[Path]]:
        """The images by the names that tools/predict.py gives their outputs."""
        names = map(name_key, name_outputs(self.images))
        return {name: [image] for name, image in zip(names, self.images, strict=True)}

    @cached_property
    def by_name(self) -> dict[str, list[Path]]:
        """The images of all folders by their names."""
        images = defaultdict(list)
        for (_, name), paths in self.by_key.items():
            images[name] += paths
        return dict(images)

    def _may_be_image(self, path: Path) -> bool:
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.lower().endswith(_DRAWN):
            return False
        if self.options.images is not None:
            return path.is_relative_to(self.options.images)
        return not self._is_in_mask_folder(path)

    def _is_in_mask_folder(self, path: Path) -> bool:
        if self.options.masks is not None:
            return path.is_relative_to(self.options.masks)
        return self._read_folder(path.parent).is_for_masks

    def _folder_key(self, path: Path) -> tuple[str, ...]:
        return self._read_folder(path.parent).key

    def _read_folder(self, folder: Path) -> FolderNames:
        if folder not in self.folders:
            # Of the folders that the user names, the first one that contains it counts.
            root = next(root for root in self.roots if folder.is_relative_to(root))
            self.folders[folder] = FolderNames.parse(folder.relative_to(root).parts)
        return self.folders[folder]

    def _assign_companions(self) -> None:
        """Finds the images that further files belong to; they have the name of the image, or of its file of cells."""
        image_of = {mask: images[0] for mask, images in self.images_of.items()}
        mask_keys = {(self._folder_key(mask), name_key(mask.stem)): image for mask, image in image_of.items()}
        for path in self.files:
            end = next((end for end in self.kind.companions if path.name.lower().endswith(end)), None)
            if end is None or path in image_of or path in self.masks_of:
                continue
            name = path.name[:-len(end)]
            images = [image_of.get(image, image) for image in self._find_images(path, name)]
            key = self._folder_key(path), name_key(name)
            for image in images or ([mask_keys[key]] if key in mask_keys else []):
                self.companions_of[image].append(path)

    def _assign(self, path: Path) -> None:
        """Finds the image that a file of cells belongs to."""
        if self._suffix_of(path) is None or (self.options.masks is not None and not self._is_in_mask_folder(path)):
            return
        has_end = False
        for name in self._names_of_image(path):
            has_end |= name != self._stem_of(path)
            images = [image for image in self._find_images(path, name) if image != path]
            if images:
                # If there are several, it is not clear which is meant; each of them gets a problem.
                for image in images:
                    self.masks_of[image].append(path)
                self.images_of[path] = images
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
        """Returns the names that the image of a file of cells may have, the longest and most definite one first."""
        stem = self._stem_of(path)
        names = [stem[:-len(end)] for end in self.kind.ends if end and stem.lower().endswith(end.lower())]
        names += [stem[len(beginning):] for beginning in self.kind.beginnings
                  if beginning and stem.lower().startswith(beginning.lower())]
        # Without an end, it must lie in a folder for masks, or have a suffix that no image has.
        if self._is_in_mask_folder(path) or path.suffix.lower() not in IMAGE_SUFFIXES:
            names.append(stem)
        return sorted(names, key=len, reverse=True)

    def _find_images(self, path: Path, name: str) -> list[Path]:
        key = self._folder_key(path), name_key(name)
        images = self.by_key.get(key, [])
        if not images and len(self.by_short_key.get(key, [])) == 1:
            images = self.by_short_key[key]
        if not images and (self.options.images is not None or self.options.masks is not None):
            # The folders that the user names need not have the same subfolders. The outputs of tools/predict.py have
            # names of their own, if images of several folders have the same name.
            images = self.by_output_name.get(key[1]) or self.by_name.get(key[1], [])
        return images

    def to_listing(self) -> Listing:
        """Returns what was found."""
        is_mask = {*self.images_of, *(path for paths in self.companions_of.values() for path in paths)}
        unmatched = set(self.unmatched) - is_mask
        stems = {name_key(path.stem) for path in self.images if path not in is_mask}
        images = [path for path in self.images if path not in is_mask
                  and (path in self.masks_of or not (path in unmatched or self._is_derived(path, stems)))]
        parts = {path: self._read_folder(path.parent).part for path in images}
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
        orphans = [path for path in self.unmatched if path in unmatched and path not in self.masks_of]
        return Listing(sources, without_masks, orphans, others, self.leftovers)

    def _is_derived(self, path: Path, stems: set[str]) -> bool:
        """Returns whether a file is called like one of the images, with the end of what programs make of an image."""
        match = _DERIVED.fullmatch(path.stem)
        return match is not None and bool({name_key(match[1]), name_key(match[1]).removesuffix('_cp')} & stems)

    def _find_problem(self, path: Path, is_mask: set[Path]) -> LayoutError | None:
        masks = self.masks_of.get(path, [])
        if len(masks) > 1:
            return LayoutError(f'{path}: has several files of cells, {masks[0].name} and {masks[1].name}: keep one of '
                               'them, or name the end of the right one with --mask-suffix')
        twins = [other for mask in masks for other in self.images_of[mask] if other != path and other not in is_mask]
        if twins:
            return LayoutError(f'{path}: {twins[0]} has the same name, so that it is not clear which of them '
                               f'{masks[0].name} belongs to: move one of the images away, or give it another name')
        return None
