// bf16 x (M, K) times w (N, K), transposed, to (M, N) in bf16 or fp32, by Hopper's own means.
//
// A block stays on its multiprocessor and takes tile after tile of 128 x 256. One thread tells the bulk copy engine what
// to bring, four stages ahead; two warpgroups multiply 64 x 256 each with wgmma, which reads shared memory itself. Two
// neighbouring blocks (a cluster) take tiles one below the other: each fetches half of the weight's tile for both.

#include "../hopper.cuh"

namespace {

constexpr int BLOCK_M = 128, BLOCK_N = 256, BLOCK_K = 64, STAGES = 4, LINE = BLOCK_K * 2;
constexpr int LEFT = BLOCK_M * LINE, RIGHT = BLOCK_N * LINE, STAGE = LEFT + RIGHT;
constexpr int CLUSTER = 2, MULTIPLIERS = 2;

// 64 x 256 more: d (+)= left (64 x 16) times right (256 x 16), transposed.
__device__ __forceinline__ void multiply(float (&d)[128], uint64_t left, uint64_t right, int adds) {
    asm volatile(
        "{\n.reg .pred adds;\nsetp.ne.b32 adds, %130, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "
        "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, "
        "%72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
        "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, "
        "%120, %121, %122, %123, %124, %125, %126, %127"
        "}, %128, %129, adds, 1, 1, 0, 0;\n}"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
          "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
          "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
          "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
          "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
          "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
          "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]),
          "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]),
          "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]),
          "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]),
          "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]),
          "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]),
          "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]),
          "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]),
          "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
        : "l"(left), "l"(right), "r"(adds));
}

// What all blocks of the grid walk through: tiles in groups of `group` rows of tiles, down before across.
struct Walk {
    int high, tiles_n, group, count;

    __device__ __forceinline__ Walk(int rows, int columns, int group)
        : high((rows + CLUSTER * BLOCK_M - 1) / (CLUSTER * BLOCK_M)), tiles_n((columns + BLOCK_N - 1) / BLOCK_N),
          group(group), count(high * tiles_n) {}

    __device__ __forceinline__ int2 find(int tile) const {
        const int first = tile / (group * tiles_n) * group, size = min(group, high - first), rest = tile % (group * tiles_n);
        return make_int2((first + rest % size) * CLUSTER * BLOCK_M, rest / size * BLOCK_N);
    }
};

template <typename Out>
__device__ __forceinline__ void write(const float (&d)[128], Out* out, int row0, int column0, int rows, int columns) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = row0 + half * 8 + lane / 4;
        if (row >= rows) continue;
#pragma unroll
        for (int part = 0; part < BLOCK_N / 8; ++part) {
            const int column = column0 + part * 8 + lane % 4 * 2;
            store_edge(out + size_t(row) * columns, column, columns, d[part * 4 + half * 2], d[part * 4 + half * 2 + 1]);
        }
    }
}

template <typename Out>
__device__ __forceinline__ void gemm(const CUtensorMap& x, const CUtensorMap& w, Out* out, int rows, int columns, int width,
                                     int group) {
    extern __shared__ uint8_t memory[];
    __shared__ uint64_t barriers[2][STAGES];
    const uint32_t shared = (static_cast<uint32_t>(__cvta_generic_to_shared(memory)) + 1023) & ~1023u;
    const uint32_t full = static_cast<uint32_t>(__cvta_generic_to_shared(barriers[0]));
    const uint32_t free = static_cast<uint32_t>(__cvta_generic_to_shared(barriers[1]));
    const int warpgroup = threadIdx.x / 128, rank = blockIdx.x % CLUSTER, blocks = (width + BLOCK_K - 1) / BLOCK_K;
    const Walk walk(rows, columns, group / CLUSTER);
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; ++stage) {
            init_barrier(full + stage * 8, 1);
            init_barrier(free + stage * 8, MULTIPLIERS * CLUSTER);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    meet();
    int stage = 0;
    uint32_t phase = 0;
    const auto advance = [&] {
        if (++stage == STAGES) stage = 0, phase ^= 1;
    };
    if (warpgroup == 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0) {
            for (int tile = blockIdx.x / CLUSTER; tile < walk.count; tile += gridDim.x / CLUSTER) {
                const int2 at = walk.find(tile);
                for (int block = 0; block < blocks; ++block, advance()) {
                    const uint32_t to = shared + stage * STAGE, barrier = full + stage * 8;
                    wait_for(free + stage * 8, phase ^ 1);
                    expect_bytes(barrier, STAGE);
                    fetch(to, x, block * BLOCK_K, at.x + rank * BLOCK_M, barrier);
                    fetch_for(to + LEFT + rank * (RIGHT / 2), w, block * BLOCK_K, at.y + rank * (BLOCK_N / 2), barrier, 3);
                }
            }
        }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        const int mine = (warpgroup - 1) * 64;
        const auto release = [&](int which) {
            if (threadIdx.x % 128 < CLUSTER) arrive_at(free + which * 8, threadIdx.x % 128);
        };
        float d[128];
        for (int tile = blockIdx.x / CLUSTER; tile < walk.count; tile += gridDim.x / CLUSTER) {
            const int2 at = walk.find(tile);
            int before = 0;
            for (int block = 0; block < blocks; ++block) {
                wait_for(full + stage * 8, phase);
                const uint64_t left = describe(shared + stage * STAGE + mine * LINE);
                const uint64_t right = describe(shared + stage * STAGE + LEFT);
                begin_products();
#pragma unroll
                for (int step = 0; step < BLOCK_K / 16; ++step) multiply(d, left + step * 2, right + step * 2, block + step);
                commit_products();
                wait_products<1>();
                if (block) release(before);
                before = stage;
                advance();
            }
            wait_products<0>();
            release(before);
            const int warp = threadIdx.x % 128 / 32;
            write(d, out, at.x + rank * BLOCK_M + mine + warp * 16, at.y, rows, columns);
        }
    }
    meet();
}

}  // namespace

#define KERNEL(NAME, OUT)                                                                                            \
    extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(384, 1)                             \
        NAME(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w, OUT* out, int rows,       \
             int columns, int width, int group) {                                                                    \
        gemm(x, w, out, rows, columns, width, group);                                                                \
    }

KERNEL(tiled_matmul_wgmma_bf16, __nv_bfloat16)
KERNEL(tiled_matmul_wgmma_fp32, float)
