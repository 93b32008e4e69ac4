// 4-bit weights times a few rows of bf16 activations, limited by reading the weights once.
//
// A block takes 16, 32 or 64 rows of the weight (strips of 16), each of its eight warps a part of K. A lane's 16 bytes
// are, without any shuffle, what the tensor core wants of it for 16 rows and 64 of K: `pack` in kernel.py lays them out.
// The activations lie in the order that fits. Codes become bf16 by one bit operation: 0x4300 | c is 128 + c. Loads run
// DEPTH groups ahead, in registers.

#include <cuda_bf16.h>
#include <cstdint>

namespace {

constexpr int WARPS = 8, GROUP = 128;

__device__ __forceinline__ uint32_t take(uint32_t word, int place) {
    uint32_t out;  // (word >> 4 * place) & 0x000F000F | 0x43004300
    asm("lop3.b32 %0, %1, 0x000F000F, 0x43004300, 0xEA;" : "=r"(out) : "r"(word >> (4 * place)));
    return out;
}

// Of what is read once: in L2 it makes room for itself, so that it drives out nothing that is still wanted (or that
// would have to be written back first).
__device__ __forceinline__ uint64_t make_policy() {
    uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

__device__ __forceinline__ uint4 load_once(const uint4* place, uint64_t policy) {
    uint4 out;
    asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {%0,%1,%2,%3}, [%4], %5;"
                 : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w) : "l"(place), "l"(policy));
    return out;
}

__device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <int STRIPS, int TILES>  // of 16 rows of the weight; of 8 rows of activations
struct Stage {
    uint4 codes[2][STRIPS], x[2][TILES][2];
    uint2 scales[STRIPS];

    __device__ __forceinline__ void load(const uint4* codes_at, const uint2* scales_at, const uint4* const (&x_at)[TILES],
                                         int groups, int group, uint64_t policy) {
#pragma unroll
        for (int strip = 0; strip < STRIPS; ++strip) {
#pragma unroll
            for (int half = 0; half < 2; ++half)
                codes[half][strip] = load_once(codes_at + ((strip * groups + group) * 2 + half) * 32, policy);
            scales[strip] = __ldg(scales_at + (strip * groups + group) * 8);
        }
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
                for (int part = 0; part < 2; ++part)
                    x[half][tile][part] =
                        x_at[tile] ? __ldg(x_at[tile] + group * 16 + half * 8 + part) : make_uint4(0, 0, 0, 0);
    }
};

template <int STRIPS, int TILES>
__device__ __forceinline__ void add(float (&total)[STRIPS][TILES][4], const Stage<STRIPS, TILES>& stage) {
    constexpr uint32_t ONES[4] = {0x3F803F80, 0x3F803F80, 0x3F803F80, 0x3F803F80};
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
                multiply(of_x[tile], ONES, b[tile][0], b[tile][1]);
            }
#pragma unroll
            for (int strip = 0; strip < STRIPS; ++strip) {
                const uint4 four = stage.codes[half][strip];
                const uint32_t word = step == 0 ? four.x : step == 1 ? four.y : step == 2 ? four.z : four.w;
                const uint32_t a[4] = {take(word, 0), take(word, 1), take(word, 2), take(word, 3)};
#pragma unroll
                for (int tile = 0; tile < TILES; ++tile) multiply(sum[strip][tile], a, b[tile][0], b[tile][1]);
            }
        }
    // The codes were 128 too large and their zero point too high, for each unit of the sum of x.
#pragma unroll
    for (int strip = 0; strip < STRIPS; ++strip) {
        const uint32_t above = stage.scales[strip].x, below = stage.scales[strip].y;
        const float first = __uint_as_float(above << 16), second = __uint_as_float(below << 16);
        const float upper = __uint_as_float(above & 0xFFFF0000), lower = __uint_as_float(below & 0xFFFF0000);
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            total[strip][tile][0] += (sum[strip][tile][0] - upper * of_x[tile][0]) * first;
            total[strip][tile][1] += (sum[strip][tile][1] - upper * of_x[tile][1]) * first;
            total[strip][tile][2] += (sum[strip][tile][2] - lower * of_x[tile][0]) * second;
            total[strip][tile][3] += (sum[strip][tile][3] - lower * of_x[tile][1]) * second;
        }
    }
}

template <int STRIPS, int TILES, int DEPTH>
__device__ __forceinline__ void gemm(const uint4* codes, const uint2* scales, const __nv_bfloat16* x, __nv_bfloat16* out,
                                     float* parts, int* counts, int rows, int columns, int width) {
    constexpr int ROWS = 16 * STRIPS, TOKENS = 8 * TILES, VALUES = TOKENS * ROWS;
    __shared__ float shared[WARPS][TOKENS][ROWS + 4];
    __shared__ int before;
    const int block = blockIdx.x, split = blockIdx.y, splits = gridDim.y, token0 = blockIdx.z * TOKENS;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, place = lane % 4;
    const int groups = width / GROUP, parts_of_k = splits * WARPS, mine = split * WARPS + warp;
    const int begin = groups * mine / parts_of_k, end = groups * (mine + 1) / parts_of_k;
    const uint4* codes_at = codes + size_t(block) * STRIPS * groups * 2 * 32 + lane;
    const uint2* scales_at = scales + size_t(block) * STRIPS * groups * 8 + row;
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
        if (begin + ahead < end) stages[ahead].load(codes_at, scales_at, x_at, groups, begin + ahead, policy);
    for (int group = begin; group < end; group += DEPTH)
#pragma unroll
        for (int ahead = 0; ahead < DEPTH; ++ahead)
            if (group + ahead < end) {
                add<STRIPS, TILES>(total, stages[ahead]);
                const int later = group + ahead + DEPTH;
                if (later < end) stages[ahead].load(codes_at, scales_at, x_at, groups, later, policy);
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

#define KERNEL(NAME, STRIPS, TILES, DEPTH, BLOCKS)                                                                      \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS) NAME(                                              \
        const uint4* codes, const uint2* scales, const __nv_bfloat16* x, __nv_bfloat16* out, float* parts, int* counts, \
        int rows, int columns, int width) {                                                                             \
        gemm<STRIPS, TILES, DEPTH>(codes, scales, x, out, parts, counts, rows, columns, width);                         \
    }

// w4a16_gemm_<strips>_<rows of activations>: strips, tiles of 8 rows, groups ahead, blocks on a multiprocessor.
KERNEL(w4a16_gemm_1_8, 1, 1, 7, 1)
KERNEL(w4a16_gemm_1_16, 1, 2, 4, 1)
KERNEL(w4a16_gemm_2_8, 2, 1, 2, 2)
KERNEL(w4a16_gemm_2_16, 2, 2, 2, 1)
KERNEL(w4a16_gemm_4_8, 4, 1, 1, 2)
KERNEL(w4a16_gemm_4_16, 4, 2, 1, 1)
