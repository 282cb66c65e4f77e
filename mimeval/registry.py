"""The scope ``mimeval``: one child registry for each of mmengine's roots that the project adds classes to.

A config finds our classes by bare name (``default_scope = 'mimeval'``), mmengine's by bare name too (they are the parents),
and those of the sister libraries by prefix: ``mmpretrain.LinearClsHead``, ``mmdet.MaskRCNN``, ``mmseg.UPerHead``.
"""

from mmengine.registry import DATA_SAMPLERS as ROOT_DATA_SAMPLERS
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as ROOT_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as ROOT_OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS as ROOT_PARAM_SCHEDULERS
from mmengine.registry import TASK_UTILS as ROOT_TASK_UTILS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import WEIGHT_INITIALIZERS as ROOT_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

SCOPE = "mimeval"


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    # Locations are imported the first time a name is looked up, so that `import mimeval` stays free of torch.
    return Registry(name, parent=parent, scope=SCOPE, locations=list(locations))


MODELS = _child(
    "model",
    ROOT_MODELS,
    "mimeval.backbones.pyramid",
    "mimeval.backbones.swin",
    "mimeval.backbones.vit",
    "mimeval.pretrain",
    "mimeval.transfer.models",
    "mimeval.transfer.preprocess",
)
DATASETS = _child("dataset", ROOT_DATASETS, "mimeval.datasets")
DATA_SAMPLERS = _child("data sampler", ROOT_DATA_SAMPLERS, "mimeval.datasets")
TASK_UTILS = _child("task util", ROOT_TASK_UTILS, "mimeval.transfer.matching")
TRANSFORMS = _child("transform", ROOT_TRANSFORMS, "mimeval.datasets")
HOOKS = _child("hook", ROOT_HOOKS, "mimeval.engine")
LOOPS = _child("loop", ROOT_LOOPS, "mimeval.engine")
METRICS = _child("metric", ROOT_METRICS, "mimeval.transfer.metrics")
OPTIMIZERS = _child("optimizer", ROOT_OPTIMIZERS, "mimeval.engine")
OPTIM_WRAPPERS = _child("optim_wrapper", ROOT_OPTIM_WRAPPERS, "mimeval.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child("optimizer wrapper constructor", ROOT_OPTIM_WRAPPER_CONSTRUCTORS, "mimeval.engine")
PARAM_SCHEDULERS = _child("parameter scheduler", ROOT_PARAM_SCHEDULERS, "mimeval.engine")
WEIGHT_INITIALIZERS = _child("weight initializer", ROOT_WEIGHT_INITIALIZERS, "mimeval.checkpoints.load")
