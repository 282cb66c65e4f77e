"""The demo's backbone as SimMIM has it: no absolute positions, a bias for relative ones, layer scale, no bias of k."""

simmim = dict(pos_embed="none", init_values=0.1, k_bias=False, weight_init="beit")
