"""Which tile and split a product takes: sane for every shape, and as measured for the shapes that count."""

from dskernels.fp8_gemm.choice import choose
from dskernels.w4a16_gemm.choice import choose as choose_strips
from hypothesis import given
from hypothesis import strategies as st


@given(rows=st.integers(1, 5000), columns=st.integers(1, 200_000), blocks=st.integers(1, 200))
def test_every_product_has_a_tile_and_no_empty_part(rows: int, columns: int, blocks: int) -> None:
    choice = choose(rows, columns, blocks * 128)
    assert choice.block_m in (16, 32, 64, 128)
    assert 1 <= choice.splits <= blocks


def test_few_tiles_share_the_work_among_all_multiprocessors() -> None:
    assert choose(1, 576, 7168).splits == 15
    assert choose(16, 2112, 7168).splits == 4
    assert choose(16, 7168, 16384).splits == 2


def test_many_tiles_are_not_split() -> None:
    assert choose(1, 24576, 1536).splits == 1
    assert choose(1, 7168, 2048).splits == 1
    assert choose(4096, 7168, 16384).splits == 1


@given(rows=st.integers(1, 200_000), groups=st.integers(1, 200), tokens=st.integers(1, 100))
def test_a_four_bit_weight_is_split_only_where_blocks_are_few(rows: int, groups: int, tokens: int) -> None:
    choice = choose_strips(rows, groups * 128, tokens)
    assert choice.strips in (1, 2, 4)
    assert choice.splits == 1 or rows < 16 * 99


def test_four_bit_weights_take_the_blocks_that_were_measured() -> None:
    assert choose_strips(8192, 8192, 1).strips == 2
    assert choose_strips(8192, 8192, 16).strips == 4
    assert choose_strips(2112, 7168, 16).strips == 1
    assert choose_strips(576, 7168, 1).splits == 3
