"""Long names in little room."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from optrace.tui.core.abbreviate import Abbreviations

MODULES = st.from_regex(r"[a-e]{1,4}(_[a-e]{1,3}|[A-C][a-c]?|[0-9]){0,2}", fullmatch=True)


def test_long_names_are_told_apart_in_little_room() -> None:
    kinds = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2", "norm_in", "norm_out")
    names = [
        f"model.layers.{layer}.{kind}.{own}" for layer in range(32) for kind in kinds for own in ("weight", "bias")
    ]
    short = Abbreviations(names)
    for room in (18, 20, 27):
        written = {short.of(name, room) for name in names}
        assert len(written) == len(names)
        assert max(map(len, written)) <= room
    assert short.of(names[0], 18) == "m.l.0.sa.qp.weight"
    assert short.of(names[0], 17) == "m.l.0.sa.qp.w"
    assert short.of("fc1.weight", 18) == "fc1.weight"
    flat = Abbreviations(f"encoder_layer{number:04}_attention_dense_weight" for number in range(5000))
    assert len({flat.of(f"encoder_layer{number:04}_attention_dense_weight", 18) for number in range(5000)}) == 5000
    one = "a" * 30 + ".weight_hh_l0_reverse"
    assert Abbreviations([one]).of(one, 12) == "a.whl0r"
    assert len(Abbreviations(["a" * 30]).of("a" * 30, 12)) == 12


@settings(max_examples=200)
@given(st.sets(MODULES, min_size=2, max_size=8))
@example({"a", "aa", "a_a"})
def test_modules_side_by_side_never_read_the_same(modules: set[str]) -> None:
    names = [f"model.layers.{layer}.{module}.weight" for layer in range(3) for module in modules]
    short = Abbreviations(names)
    for room in (30, 14, 9):
        written = [short.of(name, room) for name in names]
        whole = [text for text in written if "…" not in text]
        assert len(whole) == len(set(whole))


def test_projections_with_the_same_initials_keep_apart() -> None:
    names = ["mlp.gate_proj.weight", "mlp.g_proj.weight", "mlp.up_proj.weight"]
    short = Abbreviations(names)
    assert [short.of(name, 14) for name in names] == ["m.gapr.weight", "m.gpr.weight", "m.up.weight"]
