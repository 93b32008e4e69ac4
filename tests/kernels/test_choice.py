"""Which kernel, tile and split a product takes: sane for every shape, and as measured for the shapes that count."""

import pytest
from dskernels.fp8_gemm.choice import FEW, LONG_K, MANY, MIDDLE, choose, choose_wgmma
from dskernels.fp8_gemm.choice import WGMMA as FP8_WGMMA
from dskernels.tiled_matmul.choice import LADDER, MMA, TILED, WGMMA, can_run
from dskernels.tiled_matmul.choice import choose as choose_rung
from dskernels.w4a16_gemm import choice as four_bit
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


@given(rows=st.integers(1, 200_000), groups=st.integers(1, 192), tokens=st.integers(1, 100))
def test_one_row_times_a_four_bit_weight_takes_the_bulk_copies_and_more_rows_never_do(
    rows: int, groups: int, tokens: int
) -> None:
    choice = four_bit.choose_bulk(rows, groups * 128, tokens)
    assert (choice is None) == (tokens > 1)
    if choice:
        warps = choice.count_warps(groups)
        assert 1 <= warps <= min(groups, choice.warps)
        assert -(-groups // warps) == -(-groups // min(groups, choice.warps))
        assert 1 <= choice.count_blocks(rows) <= four_bit.MULTIPROCESSORS * choice.blocks


def test_one_row_takes_the_bulk_kernels_that_were_measured() -> None:
    chosen = {rows: four_bit.choose_bulk(rows, 7168, 1) for rows in (576, 2112, 4096, 7168, 8192, 24576)}
    few, some, many = four_bit.FEW, four_bit.SOME, four_bit.MANY
    assert chosen == {576: few, 2112: few, 4096: some, 7168: many, 8192: many, 24576: many}
    assert four_bit.choose_bulk(8192, four_bit.MOST_WIDTH + 128, 1) is None


@pytest.mark.parametrize("choice", four_bit.BULKS)
def test_no_bulk_block_wants_more_shared_memory_than_it_is_given(choice: four_bit.Bulk) -> None:
    unit, rows = 1072 * choice.strips, four_bit.STRIP * choice.strips
    rings, sums = choice.warps * choice.slots * (unit + 8) + 8 + 127, 2 * choice.warps * rows * 4
    assert rings + sums + 2 * four_bit.MOST_WIDTH <= four_bit.SHARED
    # of an H100's multiprocessor; a block takes 1 KiB more than it asks for
    assert 2 * (four_bit.SHARED + 1024) <= 228 << 10


@pytest.mark.parametrize(
    ("capability", "width", "want"),
    [
        ((9, 0), 8192, WGMMA),
        ((9, 0), 8, WGMMA),
        ((8, 0), 8192, MMA),
        ((8, 9), 8192, MMA),
        ((10, 0), 8192, MMA),
        ((9, 0), 77, TILED),
        ((7, 5), 8192, None),
    ],
)
def test_a_product_takes_the_best_rung_that_the_gpu_has(capability: tuple[int, int], width: int, want: object) -> None:
    assert choose_rung(capability, width) is want


@given(major=st.integers(3, 13), minor=st.integers(0, 9), width=st.integers(1, 10_000))
def test_a_rung_is_taken_only_where_it_runs(major: int, minor: int, width: int) -> None:
    rung = choose_rung((major, minor), width)
    assert (rung is None) == (major < 8)
    assert rung is None or can_run(rung, (major, minor), width)


def test_no_block_of_the_ladder_wants_more_shared_memory_than_its_gpus_have() -> None:
    most = {(8, 0): 163 << 10, (9, 0): 227 << 10}
    assert all(rung.shared <= most[rung.capability] for rung in LADDER)


@given(rows=st.integers(1, 5000), columns=st.integers(1, 200_000), blocks=st.integers(1, 200))
def test_few_rows_never_leave_the_kernel_in_triton_lang(rows: int, columns: int, blocks: int) -> None:
    choice = choose_wgmma(rows, columns, blocks * 128)
    assert choice is None or rows > 32
    assert choice is None or choice.splits == 1 or rows <= 128


@pytest.mark.parametrize(
    ("rows", "columns", "width", "want"),
    [
        (64, 576, 7168, FEW),
        (128, 576, 7168, FEW),
        (64, 4096, 7168, None),
        (128, 4096, 7168, MIDDLE),
        (128, 7168, 16384, LONG_K),
        (128, 7168, 2048, None),
        (128, 32768, 512, None),
        (4096, 7168, 16384, MANY),
        (4096, 32768, 512, None),
    ],
)
def test_an_fp8_product_takes_the_kernel_that_was_quicker(rows: int, columns: int, width: int, want: object) -> None:
    assert choose_wgmma(rows, columns, width) is want


def test_no_fp8_block_wants_more_shared_memory_than_an_h100_has() -> None:
    assert all(one.shared <= (227 << 10) - 128 for one in FP8_WGMMA)
