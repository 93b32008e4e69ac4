// bf16 x (M, K) times w (N, K), transposed, to (M, N) in bf16 or fp32: three rungs of the ladder, for sm_80 and newer.
// The fourth, for Hopper's own tensor-core instructions, is in wgmma.sm_90a.cu.

#include <cuda_bf16.h>
#include <cstdint>

namespace {

using bf16 = __nv_bfloat16;

__device__ __forceinline__ void store(bf16* place, float value) { *place = __float2bfloat16(value); }
__device__ __forceinline__ void store(float* place, float value) { *place = value; }
__device__ __forceinline__ void store_pair(bf16* place, float one, float two) {
    *reinterpret_cast<__nv_bfloat162*>(place) = __floats2bfloat162_rn(one, two);
}
__device__ __forceinline__ void store_pair(float* place, float one, float two) {
    *reinterpret_cast<float2*>(place) = make_float2(one, two);
}

// Rung 1, naive: a thread computes one value and reads all it needs from memory.
template <typename Out>
__device__ __forceinline__ void naive(const bf16* x, const bf16* w, Out* out, int rows, int columns, int width) {
    const int column = blockIdx.x * 16 + threadIdx.x % 16, row = blockIdx.y * 16 + threadIdx.x / 16;
    if (row >= rows || column >= columns) return;
    float sum = 0;
    for (int k = 0; k < width; ++k)
        sum += __bfloat162float(x[size_t(row) * width + k]) * __bfloat162float(w[size_t(column) * width + k]);
    store(out + size_t(row) * columns + column, sum);
}

// Rung 2, tiled: 256 threads share a tile of 128 x 128; each computes 8 x 8 values, K goes by 16 through shared memory.
constexpr int TILE = 128, DEPTH = 16, PADDED = TILE + 4;

__device__ __forceinline__ void load_tiled(float (&to)[DEPTH][PADDED], const bf16* from, int row0, int rows, int k0,
                                           int width) {
    const int row = threadIdx.x / 2, k = threadIdx.x % 2 * 8;
    const bf16* place = from + size_t(row0 + row) * width + k0 + k;
    const bool is_there = row0 + row < rows;
    bf16 values[8];
    if (is_there && width % 8 == 0 && k0 + k < width) {
        *reinterpret_cast<uint4*>(values) = *reinterpret_cast<const uint4*>(place);
    } else {
#pragma unroll
        for (int one = 0; one < 8; ++one) values[one] = is_there && k0 + k + one < width ? place[one] : bf16(0.0f);
    }
#pragma unroll
    for (int one = 0; one < 8; ++one) to[k + one][row] = __bfloat162float(values[one]);
}

__device__ __forceinline__ void read_tiled(float (&to)[8], const float* line, int at) {
    *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(line + at * 4);
    *reinterpret_cast<float4*>(to + 4) = *reinterpret_cast<const float4*>(line + 64 + at * 4);
}

template <typename Out>
__device__ __forceinline__ void tiled(const bf16* x, const bf16* w, Out* out, int rows, int columns, int width) {
    __shared__ __align__(16) float left[DEPTH][PADDED], right[DEPTH][PADDED];
    const int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE, across = threadIdx.x % 16, down = threadIdx.x / 16;
    float sum[8][8] = {};
    for (int k0 = 0; k0 < width; k0 += DEPTH) {
        load_tiled(left, x, row0, rows, k0, width);
        load_tiled(right, w, column0, columns, k0, width);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
            float a[8], b[8];
            read_tiled(a, left[k], down);
            read_tiled(b, right[k], across);
#pragma unroll
            for (int i = 0; i < 8; ++i)
#pragma unroll
                for (int j = 0; j < 8; ++j) sum[i][j] += a[i] * b[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            const int row = row0 + i / 4 * 64 + down * 4 + i % 4, column = column0 + j / 4 * 64 + across * 4 + j % 4;
            if (row < rows && column < columns) store(out + size_t(row) * columns + column, sum[i][j]);
        }
}

// Rung 3, mma: the tensor cores. Eight warps share a tile of 128 x 256, each 64 x 64; K goes by 64 through three stages
// of shared memory that cp.async fills. 16-byte pieces are swizzled (piece ^ row % 8), so that ldmatrix meets no bank
// twice.
constexpr int BLOCK_M = 128, BLOCK_N = 256, BLOCK_K = 64, STAGES = 3, LINE = BLOCK_K * 2;
constexpr int STAGE = (BLOCK_M + BLOCK_N) * LINE;

__device__ __forceinline__ void copy_piece(uint32_t to, const bf16* from, bool is_there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(is_there ? 16 : 0));
}

template <int LINES>
__device__ __forceinline__ void load_lines(uint32_t to, const bf16* from, int row0, int rows, int k, int width) {
    const int line = threadIdx.x / 8, piece = threadIdx.x % 8;
    to += line * LINE + (piece ^ line % 8) * 16;
#pragma unroll
    for (int step = 0; step < LINES / 32; ++step) {
        const int row = row0 + line + step * 32;
        const bool is_there = row < rows && k + piece * 8 < width;
        copy_piece(to + step * 32 * LINE, is_there ? from + size_t(row) * width + k + piece * 8 : from, is_there);
    }
}

__device__ __forceinline__ void read_fragments(uint32_t (&to)[4], uint32_t lines, int row, int piece) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(lines + row * LINE + (piece ^ row % 8) * 16));
}

__device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <typename Out>
__device__ __forceinline__ void mma(const bf16* x, const bf16* w, Out* out, int rows, int columns, int width, int group) {
    extern __shared__ __align__(128) uint8_t memory[];
    const uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
    const int tiles_m = (rows + BLOCK_M - 1) / BLOCK_M, tiles_n = (columns + BLOCK_N - 1) / BLOCK_N;
    const int first = blockIdx.x / (group * tiles_n) * group, high = min(group, tiles_m - first);
    const int row0 = (first + blockIdx.x % (group * tiles_n) % high) * BLOCK_M;
    const int column0 = blockIdx.x % (group * tiles_n) / high * BLOCK_N;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, down = warp / 4 * 64, across = warp % 4 * 64;
    const int blocks = (width + BLOCK_K - 1) / BLOCK_K;
    const auto load = [&](int block) {
        if (block < blocks) {
            const uint32_t to = shared + block % STAGES * STAGE;
            load_lines<BLOCK_M>(to, x, row0, rows, block * BLOCK_K, width);
            load_lines<BLOCK_N>(to + BLOCK_M * LINE, w, column0, columns, block * BLOCK_K, width);
        }
        asm volatile("cp.async.commit_group;");
    };
    float sum[4][8][4] = {};
    for (int block = 0; block < STAGES - 1; ++block) load(block);
    for (int block = 0; block < blocks; ++block) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2));
        __syncthreads();
        load(block + STAGES - 1);
        const uint32_t left = shared + block % STAGES * STAGE, right = left + BLOCK_M * LINE;
#pragma unroll
        for (int step = 0; step < BLOCK_K / 16; ++step) {
            uint32_t a[4][4], b[4][4];
#pragma unroll
            for (int i = 0; i < 4; ++i) read_fragments(a[i], left, down + i * 16 + lane % 16, step * 2 + lane / 16);
#pragma unroll
            for (int j = 0; j < 4; ++j)
                read_fragments(b[j], right, across + j * 16 + lane / 16 * 8 + lane % 8, step * 2 + lane / 8 % 2);
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 8; ++j) multiply(sum[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int row = row0 + down + i / 2 * 16 + i % 2 * 8 + lane / 4;
        if (row >= rows) continue;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            const int column = column0 + across + j * 8 + lane % 4 * 2;
            Out* place = out + size_t(row) * columns + column;
            const float one = sum[i / 2][j][i % 2 * 2], two = sum[i / 2][j][i % 2 * 2 + 1];
            if (columns % 2 == 0 && column < columns) {
                store_pair(place, one, two);
            } else {
                if (column < columns) store(place, one);
                if (column + 1 < columns) store(place + 1, two);
            }
        }
    }
}

}  // namespace

#define KERNELS(NAME, OUT)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256)                                                                \
        tiled_matmul_naive_##NAME(const bf16* x, const bf16* w, OUT* out, int rows, int columns, int width) {        \
        naive(x, w, out, rows, columns, width);                                                                      \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256)                                                                \
        tiled_matmul_tiled_##NAME(const bf16* x, const bf16* w, OUT* out, int rows, int columns, int width) {        \
        tiled(x, w, out, rows, columns, width);                                                                      \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(256, 1)                                                             \
        tiled_matmul_mma_##NAME(const bf16* x, const bf16* w, OUT* out, int rows, int columns, int width, int group) { \
        mma(x, w, out, rows, columns, width, group);                                                                 \
    }

KERNELS(bf16, __nv_bfloat16)
KERNELS(fp32, float)
