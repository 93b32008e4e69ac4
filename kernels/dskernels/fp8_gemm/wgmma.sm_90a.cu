// FP8 block-scaled matrix product for 33 rows of activations and more: x (M, K) e4m3 with scales of 1x128, w (N, K) e4m3
// with scales of 128x128, to (M, N) bf16.
//
// One thread tells the bulk copy engine what to bring, several steps of 128 of K ahead; two warpgroups multiply 64 rows of
// activations each by wgmma and promote to fp32 after every step: while one promotes, the tensor core works for the other.
// Where tiles are few, a cluster of blocks shares the K of one tile: each leaves its sums in its shared memory and adds up
// a part of the tile out of everybody's. Where tiles are many, two blocks beside each other want the same activations: each
// fetches half of them for both.

#include "../hopper.cuh"

namespace {

constexpr int BLOCK_M = 128, BLOCK_K = 128, LINE = 128, THREADS = 384, MULTIPLIERS = 2, MULTIPLYING = 256;

// 64 x n more: d (+)= left (64 x 32) times right (n x 32), transposed; n is twice the size of d.
__device__ __forceinline__ void multiply(float (&d)[32], uint64_t left, uint64_t right, int adds) {
    asm volatile(
        "{\n.reg .pred adds;\nsetp.ne.b32 adds, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
        "%24, %25, %26, %27, %28, %29, %30, %31"
        "}, %32, %33, adds, 1, 1;\n}"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
          "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
          "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
        : "l"(left), "l"(right), "r"(adds));
}

__device__ __forceinline__ void multiply(float (&d)[64], uint64_t left, uint64_t right, int adds) {
    asm volatile(
        "{\n.reg .pred adds;\nsetp.ne.b32 adds, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
        "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
        "}, %64, %65, adds, 1, 1;\n}"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
          "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
          "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
          "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
          "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
          "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
          "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
        : "l"(left), "l"(right), "r"(adds));
}

__device__ __forceinline__ float4 read_from(uint32_t place, int block) {
    uint32_t there;
    float4 out;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(place), "r"(block));
    asm volatile("ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(out.x), "=f"(out.y), "=f"(out.z), "=f"(out.w) : "r"(there) : "memory");
    return out;
}

// 128 of K of a tile: its sums before they are scaled.
template <int SUMS>
struct Step {
    float sum[SUMS], upper, lower, scale;
    int stage;
};

template <int BLOCK_N, int STAGES, int SPLITS, int PAIR>
__device__ __forceinline__ void gemm(const CUtensorMap& x, const CUtensorMap& w, const float* x_scales,
                                     const float* w_scales, bf16* out, int rows, int columns, int width, int group) {
    constexpr int LEFT = BLOCK_M * LINE, STAGE = LEFT + BLOCK_N * LINE, SUMS = BLOCK_N / 2, FOURS = SUMS / 4;
    constexpr int CLUSTER = PAIR * SPLITS, WIDE = PAIR * BLOCK_N;
    extern __shared__ uint8_t memory[];
    __shared__ uint64_t barriers[2][STAGES];
    const uint32_t begin_of_shared = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
    const uint32_t shared = (begin_of_shared + 1023) & ~1023u;
    const uint32_t full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers[0]));
    const uint32_t free = static_cast<uint32_t>(__cvta_generic_to_shared(barriers[1]));
    const int high = (rows + BLOCK_M - 1) / BLOCK_M, tiles_n = (columns + WIDE - 1) / WIDE, blocks = width / BLOCK_K;
    const int cluster = blockIdx.x / CLUSTER, clusters = gridDim.x / CLUSTER;
    const int split = blockIdx.x % CLUSTER / PAIR, member = blockIdx.x % PAIR;
    const int begin = split * blocks / SPLITS, end = (split + 1) * blocks / SPLITS;
    // Tiles (of pairs) in groups of `group` rows of tiles, down before across; then this block's own.
    const auto find = [&](int tile) {
        const int first = tile / (group * tiles_n) * group, size = min(group, high - first), rest = tile % (group * tiles_n);
        return make_int2((first + rest % size) * BLOCK_M, rest / size * WIDE + member * BLOCK_N);
    };
    int stage = 0;
    uint32_t phase = 0;
    const auto advance = [&] {
        if (++stage == STAGES) stage = 0, phase ^= 1;
    };
    if (threadIdx.x == 0) {
        for (int one = 0; one < STAGES; ++one) {
            init_barrier(full + one * 8, 1);
            init_barrier(free + one * 8, MULTIPLIERS * PAIR);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    if constexpr (CLUSTER > 1)
        meet();
    else
        __syncthreads();
    if (threadIdx.x >= MULTIPLYING) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == MULTIPLYING) {
            for (int tile = cluster; tile < high * tiles_n; tile += clusters) {
                const int2 at = find(tile);
                for (int block = begin; block < end; ++block, advance()) {
                    const uint32_t to = shared + stage * STAGE, barrier = full + stage * 8;
                    wait_for(free + stage * 8, phase ^ 1);
                    expect_bytes(barrier, STAGE);
                    const int k = block * BLOCK_K;
                    fetch(to + LEFT, w, k, at.y, barrier);
                    if constexpr (PAIR == 2) {
                        constexpr int HALF = BLOCK_M / 2;
                        const int row = at.x + member * HALF;
                        fetch_for(to + member * HALF * LINE, x, k, row, barrier, 3 << (split * 2));
                    } else {
                        fetch(to, x, k, at.x, barrier);
                    }
                }
            }
        }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        const int warpgroup = threadIdx.x / 128, lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16;
        for (int tile = cluster; tile < high * tiles_n; tile += clusters) {
            const int2 at = find(tile);
            const int row = at.x + warp_row + lane / 4;
            const float* upper_at = x_scales + size_t(min(row, rows - 1)) * blocks;
            const float* lower_at = x_scales + size_t(min(row + 8, rows - 1)) * blocks;
            const float* scale_at = w_scales + size_t(min(at.y, columns - 1) / 128) * blocks;
            float total[SUMS] = {};
            // Two steps are under way at a time: the tensor core works at one while the other is promoted.
            Step<SUMS> even, odd;
            const auto start = [&](Step<SUMS>& one, int block) {
                one.upper = __ldg(upper_at + block), one.lower = __ldg(lower_at + block);
                one.scale = __ldg(scale_at + block);
                one.stage = stage;
                wait_for(full + stage * 8, phase);
                const uint64_t left = describe(shared + stage * STAGE + warpgroup * 64 * LINE);
                const uint64_t right = describe(shared + stage * STAGE + LEFT);
                begin_products();
#pragma unroll
                for (int step = 0; step < BLOCK_K / 32; ++step) multiply(one.sum, left + step * 2, right + step * 2, step);
                commit_products();
                advance();
            };
            const auto finish = [&](const Step<SUMS>& one) {
                if (threadIdx.x % 128 < PAIR) arrive_at(free + one.stage * 8, split * PAIR + threadIdx.x % 128);
                const float upper = one.upper * one.scale, lower = one.lower * one.scale;
#pragma unroll
                for (int at = 0; at < SUMS; ++at) total[at] += one.sum[at] * (at % 4 < 2 ? upper : lower);
            };
            if (begin < end) {
                start(even, begin);
                int block = begin + 1;
                for (; block + 1 < end; block += 2) {
                    start(odd, block);
                    wait_products<1>();
                    finish(even);
                    start(even, block + 1);
                    wait_products<1>();
                    finish(odd);
                }
                if (block < end) {
                    start(odd, block);
                    wait_products<1>();
                    finish(even);
                    wait_products<0>();
                    finish(odd);
                } else {
                    wait_products<0>();
                    finish(even);
                }
            }
            const auto write = [&](int four, float4 values) {
                const int column = at.y + four * 8 + lane % 4 * 2;
                if (row < rows) store_edge(out + size_t(row) * columns, column, columns, values.x, values.y);
                if (row + 8 < rows) store_edge(out + size_t(row + 8) * columns, column, columns, values.z, values.w);
            };
            if constexpr (SPLITS == 1) {
#pragma unroll
                for (int four = 0; four < FOURS; ++four)
                    write(four, make_float4(total[four * 4], total[four * 4 + 1], total[four * 4 + 2], total[four * 4 + 3]));
            } else {
                const uint32_t mine = shared + STAGES * STAGE + threadIdx.x * 16;
#pragma unroll
                for (int four = 0; four < FOURS; ++four)
                    asm volatile("st.shared.v4.f32 [%0], {%1,%2,%3,%4};" ::"r"(mine + four * MULTIPLYING * 16),
                                 "f"(total[four * 4]), "f"(total[four * 4 + 1]), "f"(total[four * 4 + 2]),
                                 "f"(total[four * 4 + 3]) : "memory");
                meet();
                for (int four = split * FOURS / SPLITS; four < (split + 1) * FOURS / SPLITS; ++four) {
                    float4 sums = make_float4(0, 0, 0, 0);
#pragma unroll
                    for (int block = 0; block < SPLITS; ++block) {
                        const float4 more = read_from(mine + four * MULTIPLYING * 16, block * PAIR + member);
                        sums.x += more.x, sums.y += more.y, sums.z += more.z, sums.w += more.w;
                    }
                    write(four, sums);
                }
            }
        }
    }
    // Nobody's memory goes while somebody uses it. Who does not multiply meets as often as who does.
    if (SPLITS > 1 && threadIdx.x >= MULTIPLYING) meet();
    if (CLUSTER > 1) meet();
}

}  // namespace

#define KERNEL(BLOCK_N, STAGES, SPLITS, PAIR)                                                                          \
    extern "C" __global__ void __cluster_dims__(SPLITS* PAIR, 1, 1) __launch_bounds__(THREADS, 1)                      \
        fp8_gemm_##BLOCK_N##_##SPLITS##_##PAIR(const __grid_constant__ CUtensorMap x,                                  \
                                               const __grid_constant__ CUtensorMap w, const float* x_scales,           \
                                               const float* w_scales, bf16* out, int rows, int columns, int width,     \
                                               int group) {                                                            \
        gemm<BLOCK_N, STAGES, SPLITS, PAIR>(x, w, x_scales, w_scales, out, rows, columns, width, group);               \
    }

// fp8_gemm_<rows of weight of a tile>_<blocks that share the K of a tile; then one tile a cluster>_<blocks that share
// activations>
KERNEL(64, 7, 2, 1)
KERNEL(64, 7, 8, 1)
KERNEL(128, 5, 2, 1)
KERNEL(128, 6, 1, 2)
