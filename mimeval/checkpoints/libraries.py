"""A written file in its own library's class: the class is built from the architecture, takes the file strictly, and is run.

Every library is imported when it is asked for, and need not be installed.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimeval.errors import UserError

from .formats.architecture import Architecture, State
from .formats.base import Family
from .rebuild import REBUILDERS, Case, Unable, as_map

TOLERANCE = 1e-5


def verify(
    family: Family, state: State, architecture: Architecture, settings: Mapping[str, Any], image: Tensor, ours: Tensor
) -> tuple[float | None, str]:
    """The largest difference between the features of the library's own class and ours, and a sentence; None where not compared.

    state: of the written file, by its names. settings: of our backbone (build.py). ours: its (last) output for the image. Raises
    UserError where the class does not take the file, or its features are others.
    """
    if not family.package:
        return None, ""
    rebuild = REBUILDERS.get(family.name)
    if rebuild is None or importlib.util.find_spec(family.package) is None:
        return None, f"not verified with a class of {family.package}, which is not installed"
    heads = settings["arch"]["num_heads"]
    library = importlib.import_module(family.package)
    version = f"{family.package} {getattr(library, '__version__', '')}"
    try:
        name, run = rebuild(
            Case(dict(state), architecture, settings["out_type"], heads if isinstance(heads, int) else 0)
        )
    except (Unable, UserError) as reason:
        return None, f"not verified with a class of {family.package}: {str(reason).rstrip('.')}"
    except (TypeError, ValueError, AttributeError, ImportError) as error:  # another version of the library
        return None, f"not verified with a class of {family.package}, which could not be built ({_short(error)})"
    except RuntimeError as error:
        raise UserError(
            f"{version} does not take what was written: {_short(error)}; convert to mimeval instead."
        ) from None
    who = f"{version}, {name}"
    with torch.inference_mode():
        theirs = run(image)
    if ours.dim() == 3 and theirs.dim() == 4:  # tokens here, a map of the patches there
        ours = as_map(ours, architecture, 1)
    if theirs.shape != ours.shape:
        raise UserError(
            f"{who}: expected features {list(ours.shape)}, found {list(theirs.shape)}; convert to mimeval instead."
        )
    difference = (theirs - ours).abs().max().item()
    if not difference <= TOLERANCE:
        raise UserError(
            f"{who}: its features differ by {difference:.1e} from those of the source; convert to mimeval instead."
        )
    return difference, f"verified with {who}: features differ by at most {difference:.1e}"


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
