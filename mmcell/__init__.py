"""mmcell: multi-class cell instance segmentation on MMDetection.

The names in ``__all__`` are public and stable; most are imported when they are first used. Importing the package itself
changes the framework (see :mod:`mmcell.framework`), but imports neither torch nor MMEngine. Configs name the
package once, in a base: ``custom_imports = dict(imports=['mmcell'], allow_failed_imports=False)``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mmcell.errors import MmcellError
from mmcell.framework import prepare

if TYPE_CHECKING:
    from mmcell.images.image_file import read_image
    from mmcell.inference.arrays import Prediction, predict_array
    from mmcell.inference.detector import load_detector

__version__ = '0.1.0'
__all__ = ['MmcellError', 'Prediction', '__version__', 'load_detector', 'predict_array', 'read_image']

_MODULES = {'Prediction': 'mmcell.inference.arrays', 'load_detector': 'mmcell.inference.detector',
            'predict_array': 'mmcell.inference.arrays', 'read_image': 'mmcell.images.image_file'}

prepare()


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
