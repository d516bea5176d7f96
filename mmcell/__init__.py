"""mmcell: multi-class cell instance segmentation on MMDetection.

Importing the package costs half a second: it makes ``mmcv.ops`` available (see :mod:`mmcell.framework.ops`) and tells
MMDetection's registries where mmcell's modules are. They are imported when a registry is first asked for one.
Name it once in a base config: ``custom_imports = dict(imports=['mmcell'], allow_failed_imports=False)``.
"""

from mmcell.framework import prepare

__version__ = '0.1.0'

prepare()
