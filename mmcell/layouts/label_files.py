"""Files with one label map: TIFF, PNG, NumPy's .npy, Cellpose's _seg.npy, and MATLAB's .mat of HoVer-Net."""

import math
import pickle
from pathlib import Path

import numpy as np

from mmcell.errors import in_one_line, list_some
from mmcell.files.folders import refuse_unusable
from mmcell.framework.bounded_pickles import BoundedUnpickler
from mmcell.images.colors import to_label_map
from mmcell.images.image_file import ImageFile, open_image
from mmcell.images.limits import LIMITS, ImageReadError, errors_about
from mmcell.layouts.base import LayoutError
from mmcell.layouts.mat_files import list_arrays

_MAT_KEYS = ('inst_map', 'type_map', 'inst_type')
_DTYPES = {'b1', 'u1', 'u2', 'u4', 'u8', 'i1', 'i2', 'i4', 'i8', 'f2', 'f4', 'f8'}


def read_label_file(path: Path, image: ImageFile) -> np.ndarray:
    """Reads a label map and compares it with its image.

    Args:
        path: A TIFF, PNG or .npy file with numbers, or a ``_seg.npy`` of Cellpose.
        image: The open image.

    Returns:
        (H, W) int32, 0 for background.

    Raises:
        FileError: The file does not exist, is a broken link, or is a pointer of Git LFS.
        ImageReadError: The file cannot be read, or has values that are not instance ids.
        LayoutError: The label map and the image differ in size or orientation.
    """
    refuse_unusable(path)
    if path.suffix.lower() == '.npy':
        with errors_about(f'{path}: '):
            label_map = to_label_map(_as_map(_read_npy(path))[:, :, None])
    else:
        with open_image(path) as mask:
            label_map = mask.read_label_map()
        if mask.orientation != image.orientation:
            raise LayoutError(f'{path}: has the tag Orientation {mask.orientation}, but {image.path.name} has '
                              f'{image.orientation}, so that mask and image may be turned differently; if they lie on '
                              'each other as stored, remove the tag from both, otherwise save both upright')
    refuse_other_size(label_map.shape, path, image)
    return label_map


def refuse_other_size(shape: tuple[int, int], path: Path, image: ImageFile) -> None:
    """Raises a LayoutError if a map of (height, width) has not the size of its image."""
    height, width = shape
    if (height, width) != (image.height, image.width):
        turned = (': it was saved with rows and columns exchanged' if (width, height) == (image.height, image.width)
                  else '')
        raise LayoutError(f'{path}: the mask is {width} x {height} px, but its image is '
                          f'{image.width} x {image.height} px (width x height){turned}')


def _as_map(values: np.ndarray) -> np.ndarray:
    """Returns an array as (H, W), also if it has axes of length 1 before or after."""
    squeezed = values.reshape([side for side in values.shape if side != 1]) if values.ndim > 2 else values
    if squeezed.ndim != 2:
        raise ImageReadError(f'has an array of shape {values.shape}; a label map (height, width) is expected: save '
                             'each slice or image in a file of its own')
    return squeezed


def _read_npy(path: Path) -> np.ndarray:
    """Reads an array of numbers from an .npy file, or the masks from Cellpose's; runs no code of the file."""
    try:
        with open(path, 'rb') as file:
            version = np.lib.format.read_magic(file)
            read_header = (np.lib.format.read_array_header_1_0 if version == (1, 0)
                           else np.lib.format.read_array_header_2_0)
            shape, _, dtype = read_header(file)
            if dtype.kind != 'O':
                _check_size(shape, dtype)
                # The map is not opened beyond the end of the file, whatever the header says.
                return np.load(path, mmap_mode='r', allow_pickle=False)
            if path.stat().st_size > LIMITS.samples_in_memory:
                raise ImageReadError(f'has more than {LIMITS.samples_in_memory:,} bytes')
            content = _read_objects(file.read())
    except ImageReadError:
        raise
    # Damaged headers make NumPy fail in many ways.
    except Exception as error:
        raise ImageReadError(f'cannot be read as an .npy file: {in_one_line(error)}') from error
    masks = content.get('masks') if isinstance(content, dict) else None
    if not isinstance(masks, np.ndarray):
        raise ImageReadError('holds Python objects, but not the array "masks" of Cellpose')
    return masks


def _check_size(shape: tuple[int, ...], dtype: np.dtype) -> None:
    if math.prod(shape) > LIMITS.samples_in_memory or dtype.kind not in 'biuf':
        raise ImageReadError(f'has an array of shape {shape} and type {dtype}; a label map (height, width) of whole '
                             f'numbers with at most {LIMITS.samples_in_memory:,} pixels is expected')


def _read_objects(content: bytes) -> object:
    """Returns the object in the pickle of an array of objects without dimensions, with arrays of numbers in it."""
    array = _ArrayUnpickler(content).load()
    if not isinstance(array, _Array) or array.shape != () or not isinstance(array.data, list) or not array.data:
        raise ImageReadError('holds Python objects other than the dict that Cellpose saves')
    content = array.data[0]
    if not isinstance(content, dict):
        return content
    return {key: value.to_numpy() if key == 'masks' and isinstance(value, _Array) else value
            for key, value in content.items()}


class _Ignored:
    """Stands for everything in a pickle that is not needed; calling it makes nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def set_state(self, state: object) -> None:
        pass


class _Dtype(_Ignored):
    """NumPy's dtype as a pickle describes it: a code such as 'u2', and '<' or '>' for the order of bytes."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.code, self.order = code, '='

    def set_state(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ('<', '>', '=', '|'):
            self.order = state[1]


class _Array(_Ignored):
    """NumPy's array as a pickle describes it; it becomes an array only if it has numbers."""

    shape, dtype, is_fortran, data = None, None, False, None

    def set_state(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) == 5:
            _, self.shape, self.dtype, self.is_fortran, self.data = state

    def to_numpy(self) -> np.ndarray:
        """Returns the array.

        Raises:
            ImageReadError: It does not have numbers, or not as many as its shape says.
        """
        code = getattr(self.dtype, 'code', None)
        if code not in _DTYPES or not isinstance(self.data, bytes):
            raise ImageReadError('its array "masks" does not have numbers')
        values = np.frombuffer(self.data, np.dtype(code).newbyteorder(self.dtype.order))
        sides = self.shape if isinstance(self.shape, tuple) else ()
        if not all(isinstance(side, int) and side >= 0 for side in sides) or math.prod(sides) != len(values):
            raise ImageReadError('its array "masks" has another size than it says')
        return values.reshape(sides, order='F' if self.is_fortran else 'C')


def _reconstruct(*_: object) -> _Array:
    return _Array()


class _ArrayUnpickler(BoundedUnpickler):
    """Interprets the pickle of an .npy file: containers, numbers, texts, and descriptions of arrays. No code is run."""

    def find_class(self, module: str, name: str) -> object:
        return _NAMES.get((module.replace('numpy._core', 'numpy.core'), name), _Ignored)

    def _set_state(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], _Ignored):
            self.stack[-1].set_state(state)

    def _new_object(self) -> None:
        self.stack.pop()
        self.stack[-1] = _Ignored()

    dispatch = {**BoundedUnpickler.dispatch, pickle.BUILD[0]: _set_state, pickle.NEWOBJ[0]: _new_object}


def _encode(text: object, encoding: object = None) -> bytes:
    """Returns the bytes that pickles of protocol 2, of older versions of NumPy, hold as text."""
    if not isinstance(text, str) or encoding != 'latin1':
        raise pickle.UnpicklingError('it has bytes in an unknown form')
    return text.encode('latin1')


_NAMES = {('numpy.core.multiarray', '_reconstruct'): _reconstruct, ('numpy', 'dtype'): _Dtype,
          ('_codecs', 'encode'): _encode}


def read_mat(path: Path, image: ImageFile) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Reads a .mat file of HoVer-Net and compares it with its image.

    Args:
        path: A file of MATLAB 5 to 7.2 with ``inst_map`` (H, W), and perhaps ``type_map`` (H, W) or ``inst_type`` (N,).
        image: The open image.

    Returns:
        The label map (H, W) int32; the map of classes (H, W) int32, or None; and the class of each of N cells in the
        order of ascending ids, (N,) int32, or None.

    Raises:
        FileError, ImageReadError, LayoutError: As :func:`read_label_file`.
    """
    refuse_unusable(path)
    with errors_about(f'{path}: '):
        if path.stat().st_size > LIMITS.samples_in_memory:
            raise ImageReadError(f'has more than {LIMITS.samples_in_memory:,} bytes')
        arrays = list_arrays(path.read_bytes())
        if 'inst_map' not in arrays:
            raise ImageReadError(f'has no inst_map, but {list_some(sorted(arrays)) or "nothing"}')
        # A small file can unfold to an array that fills the memory.
        for key in arrays.keys() & set(_MAT_KEYS):
            if math.prod(arrays[key].shape) > image.height * image.width:
                raise ImageReadError(f'has the array {key} of shape {arrays[key].shape}, which is larger than its '
                                     f'image of {image.width} x {image.height} px (width x height)')
        content = {key: arrays[key].read() for key in _MAT_KEYS if key in arrays}
        maps = [to_label_map(_as_map(content[key])[:, :, None]) if key in content else None
                for key in ('inst_map', 'type_map')]
        types = None
        if 'inst_type' in content:
            types = to_label_map(content['inst_type'].reshape(-1, 1, 1))[:, 0]
    for values in maps:
        if values is not None:
            refuse_other_size(values.shape, path, image)
    return *maps, types
