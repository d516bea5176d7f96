"""The exceptions that a user can act on. Commands print their message without a traceback.

::

    ValueError
    └── MmcellError
        ├── AnnotationError             annotations/coco_json.py
        ├── CheckpointConfigError       checkpoints/config.py
        ├── ContentError                checkpoints/content.py
        ├── CurveError                  visualization/training_curves.py
        ├── DetectorError               inference/detector.py
        ├── EnsembleError               predictions/ensemble.py
        ├── FitError                    checkpoints/fit.py
        ├── ImageReadError              images/limits.py
        ├── ImageSelectionError         inference/image_files.py
        ├── LayoutError                 annotations/raw_layout.py
        ├── NoBatchError                framework/console.py
        ├── NonFiniteLossError          hooks/steps.py
        ├── OtherProcessError           inference/huge_images.py
        ├── OtherRunError               checkpoints/runs.py
        ├── ParameterBudgetError        hooks/budget.py
        ├── ResultsError                predictions/dump_file.py
        ├── ResumeError                 hooks/steps.py
        ├── SettingError                settings/options.py
        ├── SubmissionError             predictions/submission.py
        ├── TorchvisionWeightsError     checkpoints/torchvision_weights.py
        ├── UnknownSettingError         settings/names.py
        └── WeightsError                framework/safe_loading.py
            └── UntrustedCheckpointError
    RuntimeError
    └── MissingOpError                  framework/torchvision_ext.py
"""


class MmcellError(ValueError):
    """Input, files or settings do not fit. The message states what was found, what was expected and what to do."""
