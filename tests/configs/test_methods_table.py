"""README's table of methods is that of the configs."""

import re

import pytest

from tests.configs import methods_table as module


def test_readme_has_the_table_of_the_configs():
    text = module.README.read_text(encoding="utf-8")
    assert text.count(module.BEGIN) == text.count(module.END) == 1
    written = text.split(module.BEGIN)[1].split(module.END)[0].strip()
    assert written == module.table(), "run python -m tests.configs.methods_table"


def test_every_pre_training_config_is_in_it():
    listed = [name for names in module.methods().values() for name in names]
    assert sorted(listed) == sorted(file.stem for file in module.CONFIGS.glob("*.py"))
    assert set(module.methods()) == set(module.ORDER)


def test_each_method_has_a_section():
    document = (module.ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    sections = {
        re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in re.findall(r"^## (.+)$", document, re.M)
    }
    assert {module.anchor(method) for method in module.methods()} <= sections


def test_slots_in_words():
    assert module.slot(dict(type="RandomMasking", ratio=0.6, unit=32)) == "`RandomMasking` (ratio 0.6, unit 32)"
    decoders = [dict(type="LocalMIMDecoder", scale=scale) for scale in (4, 2)]
    assert module.slot(decoders) == "2 x `LocalMIMDecoder`" and module.slot(decoders[:1]) == "`LocalMIMDecoder`"
    assert module.slots("emae_vitb")["masking"] == "`ParallelMasking` (parts 4)"


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["a_vitl", "a_vitb", "a_vith"], "`a_vit{b,l,h}`"),
        (["a_swinb", "a_swinb_100ep", "a_vits"], "`a_swinb`, `a_swinb_100ep`, `a_vits`"),
        (["other"], "`other`"),
    ],
)
def test_names_of_configs(names, written):
    assert module.stems(names) == written


def test_a_wrapper_is_compared_with_its_host():
    assert [module.host(name) for name in ("mto_simmim_vitb", "mto_mae_vitb", "simmim_vitb", "combined_vitb")] == [
        "simmim_vitb",
        "mae_vitb",
        "mae_vitb",
        "mae_vitb",
    ]
    (row,) = [line for line in module.table().splitlines() if line.startswith("| [MTO]")]
    assert row.split("|")[2].strip() == "mask_token: `MaskTokenOptimization`"


def test_labels():
    assert module.label(["mae_vitb", "mae_vits"]) == "published; not run here"
    assert module.label(["mae_vits"]) == "not run"
    assert module.label(["mto_mae_vitb"]) == "experimental; not run"
    assert module.label(["demo/clustermim_demo"]) == "reproduced here"
