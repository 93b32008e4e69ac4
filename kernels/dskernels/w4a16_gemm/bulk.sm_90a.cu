// 4-bit weights times one row of bf16 activations, on Hopper: the weight comes by the bulk copy engine.
//
// A block stays on its multiprocessor and takes tile after tile of 16 or 32 rows of the weight. Every warp has a ring of
// its own in shared memory and takes each `warps`th group of K; it asks for its next units itself, so that no warp waits
// for another before a tile ends. What memory delivers is all that counts here, and it counts from the first instruction:
// - Each warp's first unit is on its way to L2 before there is a barrier that its copy could report to.
// - A first round multiplies nothing: it brings the code of a tile's end into the instruction cache while memory is busy.

#include "../four_bit.cuh"
#include "../hopper.cuh"

namespace {

template <int STRIPS, int SLOTS>
__device__ __forceinline__ void gemm(const uint8_t* weight, const bf16* x, bf16* out, int columns, int groups) {
    constexpr int ROWS = STRIP * STRIPS, BYTES = UNIT * STRIPS, LINE = GROUP * 2;
    extern __shared__ __align__(128) uint8_t memory[];
    const int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, place = lane % 4;
    const int tiles = (columns + ROWS - 1) / ROWS;
    const size_t size = size_t(count_strips(columns)) * UNIT;  // of a group of all strips
    const uint64_t policy = make_policy();
    int tile_ahead = blockIdx.x, group_ahead = warp;
    const auto find_ahead = [&] { return weight + group_ahead * size + size_t(tile_ahead) * BYTES; };
    // (With one slot a warp, two blocks share a multiprocessor, and it gains nothing.)
    if (SLOTS > 1 && lane == 0) prefetch_once(find_ahead(), BYTES, policy);

    const uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
    const uint32_t x_is_there = shared, is_there = shared + 8 + warp * SLOTS * 8;
    const int rings = (8 + warps * SLOTS * 8 + 127) & ~127, ring = rings + warp * SLOTS * BYTES;
    const int sums_at = rings + warps * SLOTS * BYTES, set = warps * ROWS * 4, x_at = sums_at + 2 * set;
    const auto fetch_next = [&](int slot) {
        if (tile_ahead >= tiles) return;
        if (lane == 0) {
            expect_bytes(is_there + slot * 8, BYTES);
            fetch_once(shared + ring + slot * BYTES, find_ahead(), BYTES, is_there + slot * 8, policy);
        }
        group_ahead += warps;
        if (group_ahead >= groups) group_ahead = warp, tile_ahead += gridDim.x;
    };
    if (lane == 0) {
        if (warp == 0) init_barrier(x_is_there, 1);
        for (int slot = 0; slot < SLOTS; ++slot) init_barrier(is_there + slot * 8, 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncwarp();
    if (threadIdx.x == 0) {
        expect_bytes(x_is_there, groups * LINE);
        fetch_bytes(shared + x_at, x, groups * LINE, x_is_there);
    }
#pragma unroll
    for (int slot = 0; slot < SLOTS; ++slot) fetch_next(slot);
    __syncthreads();

    int slot = 0, parity = 0;
    uint32_t phase = 0;
    for (int tile = int(blockIdx.x) - int(gridDim.x); tile < tiles; tile += gridDim.x, parity ^= 1) {
        float total[STRIPS][4] = {};
        if (tile >= 0) wait_for(x_is_there, 0);
        for (int group = tile < 0 ? groups : warp; group < groups; group += warps) {
            // The tensor core wants eight rows of activations; that all are this one does no harm.
            const uint4* row_of_x = reinterpret_cast<const uint4*>(memory + x_at + group * LINE) + place * 2;
            const uint4 b[2][2] = {{row_of_x[0], row_of_x[1]}, {row_of_x[8], row_of_x[9]}};
            uint4 codes[STRIPS][2];
            uint32_t scales[STRIPS], zeros[STRIPS];
            wait_for(is_there + slot * 8, phase);
#pragma unroll
            for (int strip = 0; strip < STRIPS; ++strip) {
                const uint8_t* unit = memory + ring + slot * BYTES + strip * UNIT;
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    codes[strip][half] = reinterpret_cast<const uint4*>(unit + half * HALF)[lane];
                scales[strip] = reinterpret_cast<const uint32_t*>(unit + SCALES)[row];
                zeros[strip] = reinterpret_cast<const uint16_t*>(unit + ZEROS)[row];
            }
            __syncwarp();
            fetch_next(slot);
            if (++slot == SLOTS) slot = 0, phase ^= 1;
            float sum[STRIPS][2][4] = {}, of_x[2][4] = {};
#pragma unroll
            for (int step = 0; step < 4; ++step)
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const uint4 pair = b[half][step / 2];
                    const uint32_t b0 = step % 2 ? pair.z : pair.x, b1 = step % 2 ? pair.w : pair.y;
                    add_up(of_x[half], b0, b1);
#pragma unroll
                    for (int strip = 0; strip < STRIPS; ++strip)
                        multiply(sum[strip][half], codes[strip][half], step, b0, b1);
                }
#pragma unroll
            for (int strip = 0; strip < STRIPS; ++strip) {
#pragma unroll
                for (int one = 0; one < 4; ++one) sum[strip][0][one] += sum[strip][1][one];
                promote(total[strip], sum[strip][0], of_x[0][0] + of_x[1][0], of_x[0][1] + of_x[1][1], scales[strip],
                        zeros[strip]);
            }
        }
        // Sums over warps: two sets in turn, so that one barrier a tile is enough.
        float* sums = reinterpret_cast<float*>(memory + sums_at + parity * set);
        if (place == 0) {
#pragma unroll
            for (int strip = 0; strip < STRIPS; ++strip) {
                sums[warp * ROWS + strip * STRIP + row] = total[strip][0];
                sums[warp * ROWS + strip * STRIP + row + 8] = total[strip][2];
            }
        }
        __syncthreads();
        if (threadIdx.x < ROWS) {
            float sum = 0;
#pragma unroll 8
            for (int other = 0; other < warps; ++other) sum += sums[other * ROWS + threadIdx.x];
            const int column = tile * ROWS + threadIdx.x;
            if (tile >= 0 && column < columns) out[column] = __float2bfloat16(sum);
        }
    }
}

}  // namespace

#define KERNEL(NAME, STRIPS, SLOTS)                                                                      \
    extern "C" __global__ void __launch_bounds__(512, 1)                                                 \
        NAME(const uint8_t* weight, const bf16* x, bf16* out, int columns, int groups) {                 \
        gemm<STRIPS, SLOTS>(weight, x, out, columns, groups);                                            \
    }

// w4a16_gemm_bulk_<strips>_<units in flight a warp>
KERNEL(w4a16_gemm_bulk_1_2, 1, 2)
KERNEL(w4a16_gemm_bulk_2_1, 2, 1)
KERNEL(w4a16_gemm_bulk_2_3, 2, 3)
