// What burn_in needs beside a matrix product: a pattern over memory, written and checked, and sums over a product.

#include <cstdint>

namespace {

// Every 32-bit word within 16 GiB has a value of its own, so that a wrong address shows too.
__device__ __forceinline__ uint32_t expect(uint64_t word, uint32_t seed) {
    uint32_t value = uint32_t(word) * 0x9E3779B1u ^ uint32_t(word >> 32) * 0x85EBCA77u ^ seed;
    value = (value ^ value >> 15) * 0x2C1B3C6Du;
    return value ^ value >> 13;
}

__device__ __forceinline__ uint4 expect_four(uint64_t word, uint32_t seed, uint32_t mask) {
    return make_uint4(expect(word, seed) ^ mask, expect(word + 1, seed) ^ mask, expect(word + 2, seed) ^ mask,
                      expect(word + 3, seed) ^ mask);
}

struct Found {
    unsigned long long wrong, first, bits;  // words; the first one's place; which of their bits
};

__device__ __noinline__ void note(Found* found, uint64_t word, uint32_t bits) {
    if (!bits) return;
    atomicAdd(&found->wrong, 1);
    atomicMin(&found->first, (unsigned long long)word);
    atomicOr(&found->bits, (unsigned long long)bits);
}

constexpr int THREADS = 256, AHEAD = 4;
constexpr uint64_t WORDS_OF_MIB = 1 << 18;

}  // namespace

// first_mib: the place of words[0] in the pattern. fours: how many 16 bytes. mask: 0, or all ones for the complement.
extern "C" __global__ void __launch_bounds__(THREADS)
    burn_in_fill(uint4* words, int fours, int first_mib, uint32_t seed, uint32_t mask) {
    const int step = gridDim.x * THREADS;
    for (int64_t at = blockIdx.x * THREADS + threadIdx.x; at < fours; at += step)
        words[at] = expect_four(first_mib * WORDS_OF_MIB + at * 4, seed, mask);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    burn_in_check(const uint4* words, int fours, int first_mib, uint32_t seed, uint32_t mask, Found* found) {
    const int64_t step = int64_t(gridDim.x) * THREADS;
    for (int64_t at = blockIdx.x * THREADS + threadIdx.x; at < fours; at += step * AHEAD) {
        uint4 there[AHEAD];
#pragma unroll
        for (int ahead = 0; ahead < AHEAD; ++ahead)
            if (at + ahead * step < fours) there[ahead] = __ldcs(words + at + ahead * step);
#pragma unroll
        for (int ahead = 0; ahead < AHEAD; ++ahead) {
            if (at + ahead * step >= fours) break;
            const uint64_t word = first_mib * WORDS_OF_MIB + (at + ahead * step) * 4;
            const uint4 want = expect_four(word, seed, mask), is = there[ahead];
            if (is.x == want.x && is.y == want.y && is.z == want.z && is.w == want.w) continue;
            note(found, word, is.x ^ want.x);
            note(found, word + 1, is.y ^ want.y);
            note(found, word + 2, is.z ^ want.z);
            note(found, word + 3, is.w ^ want.w);
        }
    }
}

// Sums of the rows and columns of a product of whole numbers, modulo 2^32; a value that is not whole counts as none that
// could be there. A block takes 64 rows x 1024 columns. columns: a multiple of 4.
extern "C" __global__ void __launch_bounds__(THREADS)
    burn_in_sum(const float4* product, int* of_rows, int* of_columns, int rows, int columns) {
    constexpr int ROWS = 64;
    __shared__ int sums[ROWS];
    if (threadIdx.x < ROWS) sums[threadIdx.x] = 0;
    __syncthreads();
    const int four = blockIdx.x * THREADS + threadIdx.x, fours = columns / 4, row0 = blockIdx.y * ROWS;
    int total[4] = {};
#pragma unroll 8
    for (int row = 0; row < ROWS; ++row) {
        float values[4] = {};
        if (row0 + row < rows && four < fours)
            *reinterpret_cast<float4*>(values) = __ldcs(product + size_t(row0 + row) * fours + four);
        int sum = 0;
#pragma unroll
        for (int one = 0; one < 4; ++one) {
            const int whole = rintf(values[one]) == values[one] ? __float2int_rn(values[one]) : 0x5A5A5A5A;
            total[one] += whole;
            sum += whole;
        }
        sum = __reduce_add_sync(0xFFFFFFFF, sum);
        if (threadIdx.x % 32 == 0) atomicAdd(sums + row, sum);
    }
    if (four < fours)
#pragma unroll
        for (int one = 0; one < 4; ++one) atomicAdd(of_columns + four * 4 + one, total[one]);
    __syncthreads();
    if (threadIdx.x < ROWS && row0 + threadIdx.x < rows) atomicAdd(of_rows + row0 + threadIdx.x, sums[threadIdx.x]);
}
