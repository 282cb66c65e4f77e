"""mmengine's paths to checkpoints, led to the one that runs nothing."""

from __future__ import annotations

import os
from typing import Any

from mimeval.errors import UserError

from .state import read_file


def install_safe_loader(trust_pickle: bool = False) -> None:
    """Make every path of mmengine to a checkpoint (load_from, resume, Pretrained, hub) go through `read_file`.

    The fork tries `weights_only=True` and then, silently, full pickle; and `Runner.resume` executes `meta['config']`.
    """
    from mmengine.runner import checkpoint as theirs

    def load_from_local(filename: Any, map_location: Any = "cpu", **_: Any) -> Any:
        content = read_file(filename, trust_pickle, map_location)
        meta = content.get("meta") if isinstance(content, dict) else None
        if isinstance(meta, dict) and not trust_pickle:
            meta.pop("config", None)  # nothing writes it (the runner writes `cfg`), and the runner would run it
        return content

    def load_from_remote(filename: str, map_location: Any = None, **_: Any) -> Any:
        raise UserError(
            f"{filename}: mimeval does not download checkpoints; download the file and give its local path."
        )

    def load_buffer(file: Any, map_location: Any = None, weights_only: Any = None) -> Any:
        if isinstance(file, str | os.PathLike):
            return load_from_local(file, map_location)
        raise UserError("a checkpoint in memory was not read: mimeval reads checkpoints from local files.")

    loader = theirs.CheckpointLoader
    for prefix in list(loader._schemes):
        loader.register_scheme(prefix, load_from_remote if prefix else load_from_local, force=True)
    # What registers a scheme later, or calls a loader by its name, still comes to these two.
    theirs._safe_torch_load = load_buffer
    theirs.load_url = load_from_remote
