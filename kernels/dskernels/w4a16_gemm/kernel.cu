// 4-bit weights times a few rows of bf16 activations, limited by reading the weights once.
//
// A block takes 16, 32 or 64 rows of the weight (strips of 16), each of its eight warps a part of K. A lane's 16 bytes
// are, without any shuffle, what the tensor core wants of it for 16 rows and 64 of K: `pack` in kernel.py lays them out.
// The activations lie in the order that fits. Loads run DEPTH groups ahead, in registers.

#include "../four_bit.cuh"

namespace {

constexpr int WARPS = 8;

__device__ __forceinline__ uint4 load_once(const uint4* place, uint64_t policy) {
    uint4 out;
    asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {%0,%1,%2,%3}, [%4], %5;"
                 : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w) : "l"(place), "l"(policy));
    return out;
}

__device__ __forceinline__ uint32_t load_once(const uint32_t* place, uint64_t policy) {
    uint32_t out;
    asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.u32 %0, [%1], %2;" : "=r"(out) : "l"(place), "l"(policy));
    return out;
}

__device__ __forceinline__ uint32_t load_once(const uint16_t* place, uint64_t policy) {
    uint16_t out;
    asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.u16 %0, [%1], %2;" : "=h"(out) : "l"(place), "l"(policy));
    return out;
}

template <int STRIPS, int TILES>  // of 16 rows of the weight; of 8 rows of activations
struct Stage {
    uint4 codes[2][STRIPS], x[2][TILES][2];
    uint32_t scales[STRIPS], zeros[STRIPS];

    // weight: the first strip's unit of the first group. size: bytes of a group of all strips. The activations come first:
    // behind all weights in memory's queue they would be late.
    __device__ __forceinline__ void load(const uint8_t* weight, size_t size, const uint4* const (&x_at)[TILES], int group,
                                         uint64_t policy) {
        const int lane = threadIdx.x % 32, row = lane / 4;
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
                for (int part = 0; part < 2; ++part)
                    x[half][tile][part] =
                        x_at[tile] ? __ldg(x_at[tile] + group * 16 + half * 8 + part) : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int strip = 0; strip < STRIPS; ++strip) {
            const uint8_t* unit = weight + group * size + strip * UNIT;
#pragma unroll
            for (int half = 0; half < 2; ++half)
                codes[half][strip] = load_once(reinterpret_cast<const uint4*>(unit + half * HALF) + lane, policy);
            scales[strip] = load_once(reinterpret_cast<const uint32_t*>(unit + SCALES) + row, policy);
            zeros[strip] = load_once(reinterpret_cast<const uint16_t*>(unit + ZEROS) + row, policy);
        }
    }
};

template <int STRIPS, int TILES>
__device__ __forceinline__ void add(float (&total)[STRIPS][TILES][4], const Stage<STRIPS, TILES>& stage) {
    float sum[STRIPS][TILES][4] = {}, of_x[TILES][4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int step = 0; step < 4; ++step) {
            uint32_t b[TILES][2];
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                const uint4 pair = stage.x[half][tile][step / 2];
                b[tile][0] = step % 2 ? pair.z : pair.x;
                b[tile][1] = step % 2 ? pair.w : pair.y;
                add_up(of_x[tile], b[tile][0], b[tile][1]);
            }
#pragma unroll
            for (int strip = 0; strip < STRIPS; ++strip)
#pragma unroll
                for (int tile = 0; tile < TILES; ++tile)
                    multiply(sum[strip][tile], stage.codes[half][strip], step, b[tile][0], b[tile][1]);
        }
#pragma unroll
    for (int strip = 0; strip < STRIPS; ++strip)
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile)
            promote(total[strip][tile], sum[strip][tile], of_x[tile][0], of_x[tile][1], stage.scales[strip], stage.zeros[strip]);
}

template <int STRIPS, int TILES, int DEPTH>
__device__ __forceinline__ void gemm(const uint8_t* weight, const bf16* x, bf16* out, float* parts, int* counts,
                                     int rows, int columns, int width) {
    constexpr int ROWS = 16 * STRIPS, TOKENS = 8 * TILES, VALUES = TOKENS * ROWS;
    __shared__ float shared[WARPS][TOKENS][ROWS + 4];
    __shared__ int before;
    const int block = blockIdx.x, split = blockIdx.y, splits = gridDim.y, token0 = blockIdx.z * TOKENS;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, place = lane % 4;
    const int groups = width / GROUP, parts_of_k = splits * WARPS, mine = split * WARPS + warp;
    const int begin = groups * mine / parts_of_k, end = groups * (mine + 1) / parts_of_k;
    const size_t size = size_t(count_strips(columns)) * UNIT;
    weight += size_t(block) * STRIPS * UNIT;
    const uint64_t policy = make_policy();
    const uint4* x_at[TILES];
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) {
        const int token = token0 + tile * 8 + row;
        x_at[tile] = token < rows ? reinterpret_cast<const uint4*>(x + size_t(token) * width) + place * 2 : nullptr;
    }
    float total[STRIPS][TILES][4] = {};
    Stage<STRIPS, TILES> stages[DEPTH];
#pragma unroll
    for (int ahead = 0; ahead < DEPTH; ++ahead)
        if (begin + ahead < end) stages[ahead].load(weight, size, x_at, begin + ahead, policy);
    for (int group = begin; group < end; group += DEPTH)
#pragma unroll
        for (int ahead = 0; ahead < DEPTH; ++ahead)
            if (group + ahead < end) {
                add<STRIPS, TILES>(total, stages[ahead]);
                const int later = group + ahead + DEPTH;
                if (later < end) stages[ahead].load(weight, size, x_at, later, policy);
            }
#pragma unroll
    for (int strip = 0; strip < STRIPS; ++strip)
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
            for (int one = 0; one < 4; ++one)
                shared[warp][tile * 8 + place * 2 + one % 2][strip * 16 + row + one / 2 * 8] = total[strip][tile][one];
    __syncthreads();
    const int product = blockIdx.z * gridDim.x + block;
    float* first = parts + size_t(product) * splits * VALUES;
    for (int value = threadIdx.x; value < VALUES; value += WARPS * 32) {
        const int token = value / ROWS, at = value % ROWS;
        float sum = 0;
#pragma unroll
        for (int other = 0; other < WARPS; ++other) sum += shared[other][token][at];
        if (splits > 1)
            __stcg(first + size_t(split) * VALUES + value, sum);
        else if (token0 + token < rows && block * ROWS + at < columns)
            out[size_t(token0 + token) * columns + block * ROWS + at] = __float2bfloat16(sum);
    }
    if (splits == 1) return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) before = atomicAdd(counts + product, 1);
    __syncthreads();
    if (before != splits - 1) return;
    __threadfence();
    for (int value = threadIdx.x; value < VALUES; value += WARPS * 32) {
        const int token = value / ROWS, at = value % ROWS;
        float sum = 0;
        for (int other = 0; other < splits; ++other) sum += __ldcg(first + size_t(other) * VALUES + value);
        if (token0 + token < rows && block * ROWS + at < columns)
            out[size_t(token0 + token) * columns + block * ROWS + at] = __float2bfloat16(sum);
    }
    if (threadIdx.x == 0) counts[product] = 0;
}

}  // namespace

#define KERNEL(NAME, STRIPS, TILES, DEPTH, BLOCKS)                                                                          \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS) NAME(const uint8_t* weight, const bf16* x, bf16* out, \
                                                                          float* parts, int* counts, int rows, int columns, \
                                                                          int width) {                                     \
        gemm<STRIPS, TILES, DEPTH>(weight, x, out, parts, counts, rows, columns, width);                                   \
    }

// w4a16_gemm_<strips>_<rows of activations>: strips, tiles of 8 rows, groups ahead, blocks on a multiprocessor.
KERNEL(w4a16_gemm_1_8, 1, 1, 7, 1)
KERNEL(w4a16_gemm_1_16, 1, 2, 4, 1)
KERNEL(w4a16_gemm_2_8, 2, 1, 2, 2)
KERNEL(w4a16_gemm_2_16, 2, 2, 2, 1)
KERNEL(w4a16_gemm_4_8, 4, 1, 1, 2)
KERNEL(w4a16_gemm_4_16, 4, 2, 1, 1)
