"""transformers' classes with the tensors of a written file."""

from __future__ import annotations

import torch
from torch import Tensor

from mimeval.checkpoints.hf_config import hf_config

from .case import Case, Run, Unable, epsilon, plain, without_registers


def hugging_face(case: Case, kind: str, prefix: str) -> tuple[str, Run]:
    import transformers
    from transformers.utils import logging

    a, state = case.architecture, case.state
    plain(a)
    if case.out_type == "maps":
        raise Unable("its classes always have a final norm")
    if kind == "Swin" and a.norm_eps != 1e-5:
        raise Unable(f"its norms outside blocks always have the epsilon 1e-5, and the checkpoint's is {a.norm_eps:g}")
    kind = "Dinov2WithRegisters" if kind == "Dinov2" and a.registers else kind
    below = next((p for p in (prefix, "dinov2_with_registers.") if any(n.startswith(p) for n in state)), "")
    encoder = case.bare(below) if below else state
    encoder = {name: tensor for name, tensor in encoder.items() if not name.startswith(("classifier.", "decoder."))}
    config = getattr(transformers, f"{kind}Config")(**hf_config(a, case.heads))
    if kind == "ViTMAE":
        config.mask_ratio = 0.0
    pooler = {"add_pooling_layer": any(name.startswith("pooler.") for name in encoder)} if kind == "ViT" else {}
    mask = {"use_mask_token": "embeddings.mask_token" in encoder} if kind in ("ViT", "Swin") else {}
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, said = getattr(transformers, f"{kind}Model").from_pretrained(
            None, config=config, state_dict=encoder, output_loading_info=True, **pooler, **mask
        )
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
    unknown = {
        key: sorted(names)[:4] for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if (names := said[key])
    }
    if unknown:
        raise RuntimeError(f"transformers: {kind}Model does not take the file: {unknown}")
    model = model.float().eval()

    def run(images: Tensor) -> Tensor:
        if kind == "ViTMAE":
            noise = torch.linspace(0, 1, a.grid[0] * a.grid[1])[None]  # patches stay in order
            return model(images, noise=noise).last_hidden_state
        tokens = model(images).last_hidden_state
        return tokens.mean(1) if kind == "Swin" else without_registers(tokens, a.registers)

    usual = {"Swin": 1e-5, "Dinov2": 1e-6, "Dinov2WithRegisters": 1e-6}.get(kind, 1e-12)
    return f"{kind}Model{epsilon(a, usual, 'layer_norm_eps')}", run
