// How 4-bit weights lie in memory, and how they become bf16 for the tensor core: for the kernels of w4a16_gemm.

#pragma once

#include <cuda_bf16.h>
#include <cstdint>

using bf16 = __nv_bfloat16;

constexpr int GROUP = 128, STRIP = 16;
// A unit: 16 rows (a strip) and 128 of K (a group). Twice 64 of K with 16 bytes for each lane, then, for each of 8 rows
// and the one 8 below it: two scales in bf16 (4 bytes), two zero points (2 bytes). Units follow each other by strips,
// then by groups, so that blocks which take strips beside each other walk through memory together.
constexpr int UNIT = 1072, HALF = 512, SCALES = 1024, ZEROS = 1056;

// Strips of a weight, padded to whole 64 rows.
__device__ __forceinline__ int count_strips(int columns) { return (columns + 63) / 64 * (64 / STRIP); }

// Of what is read once: in L2 it makes room for itself, so that it drives out nothing that is still wanted (or that
// would have to be written back first).
__device__ __forceinline__ uint64_t make_policy() {
    uint64_t policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

// Codes become bf16 by one bit operation: 0x4300 | c is 128 + c.
__device__ __forceinline__ uint32_t take(uint32_t word, int place) {
    uint32_t out;  // (word >> 4 * place) & 0x000F000F | 0x43004300
    asm("lop3.b32 %0, %1, 0x000F000F, 0x43004300, 0xEA;" : "=r"(out) : "r"(word >> (4 * place)));
    return out;
}

__device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 rows and 16 of K, out of word `step` of a lane's four.
__device__ __forceinline__ void multiply(float (&sum)[4], const uint4& four, int step, uint32_t b0, uint32_t b1) {
    const uint32_t word = step == 0 ? four.x : step == 1 ? four.y : step == 2 ? four.z : four.w;
    const uint32_t a[4] = {take(word, 0), take(word, 1), take(word, 2), take(word, 3)};
    multiply(sum, a, b0, b1);
}

// Ones in place of codes: what comes out is the sum of x.
__device__ __forceinline__ void add_up(float (&sum)[4], uint32_t b0, uint32_t b1) {
    constexpr uint32_t ONES[4] = {0x3F803F80, 0x3F803F80, 0x3F803F80, 0x3F803F80};
    multiply(sum, ONES, b0, b1);
}

// A group's sum to the total: the codes were 128 too large and their zero point too high, for each unit of the sum of x.
__device__ __forceinline__ void promote(float (&total)[4], const float (&sum)[4], float x_even, float x_odd, uint32_t scales,
                                        uint32_t zeros) {
    const float above = __uint_as_float(scales << 16), below = __uint_as_float(scales & 0xFFFF0000);
    const float upper = __uint_as_float((zeros & 0xFF) << 16 | 0x43000000);  // 128 + zero
    const float lower = __uint_as_float((zeros & 0xFF00) << 8 | 0x43000000);
    total[0] += (sum[0] - upper * x_even) * above;
    total[1] += (sum[1] - upper * x_odd) * above;
    total[2] += (sum[2] - lower * x_even) * below;
    total[3] += (sum[3] - lower * x_odd) * below;
}
