// Hopper's own means, as both matrix products in CUDA C++ use them: barriers in shared memory, the bulk copy engine, and
// what wgmma wants to know.

#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cstdint>

using bf16 = __nv_bfloat16;

__device__ __forceinline__ void init_barrier(uint32_t barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}

__device__ __forceinline__ void wait_for(uint32_t barrier, uint32_t phase) {
    asm volatile("{\n.reg .pred done;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra.uni ready;\nbra.uni again;\nready:\n}"
                 ::"r"(barrier), "r"(phase) : "memory");
}

__device__ __forceinline__ void expect_bytes(uint32_t barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ void arrive_at(uint32_t barrier, int block) {
    uint32_t there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(barrier), "r"(block));
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(there) : "memory");
}

__device__ __forceinline__ void fetch(uint32_t to, const CUtensorMap& map, int k, int row, uint32_t barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
                 ::"r"(to), "l"(&map), "r"(k), "r"(row), "r"(barrier) : "memory");
}

// Into the same place of all blocks of the cluster whose bits `blocks` has.
__device__ __forceinline__ void fetch_for(uint32_t to, const CUtensorMap& map, int k, int row, uint32_t barrier,
                                          uint16_t blocks) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%2, %3}], [%4], %5;"
                 ::"r"(to), "l"(&map), "r"(k), "r"(row), "r"(barrier), "h"(blocks) : "memory");
}

// So many bytes as they lie there. All places and the number are multiples of 16.
__device__ __forceinline__ void fetch_bytes(uint32_t to, const void* from, int bytes, uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}

// The same with a policy for L2, such as for what is read once.
__device__ __forceinline__ void fetch_once(uint32_t to, const void* from, int bytes, uint32_t barrier, uint64_t policy) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
                 ::"r"(to), "l"(from), "r"(bytes), "r"(barrier), "l"(policy) : "memory");
}

// Only into L2: nothing to wait for.
__device__ __forceinline__ void prefetch_once(const void* from, int bytes, uint64_t policy) {
    asm volatile("cp.async.bulk.prefetch.L2.global.L2::cache_hint [%0], %1, %2;" ::"l"(from), "r"(bytes), "l"(policy)
                 : "memory");
}

// Of all threads of the cluster that are still there.
__device__ __forceinline__ void meet() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

// Lines of 128 bytes, swizzled by 128: eight lines are 1024 bytes.
__device__ __forceinline__ uint64_t describe(uint32_t place) {
    return uint64_t((place & 0x3FFFF) >> 4) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

template <int LEFT_RUNNING>
__device__ __forceinline__ void wait_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT_RUNNING) : "memory");
}

__device__ __forceinline__ void store(bf16* place, float value) { *place = __float2bfloat16(value); }
__device__ __forceinline__ void store(float* place, float value) { *place = value; }
__device__ __forceinline__ void store_pair(bf16* place, float one, float two) {
    *reinterpret_cast<__nv_bfloat162*>(place) = __floats2bfloat162_rn(one, two);
}
__device__ __forceinline__ void store_pair(float* place, float one, float two) {
    *reinterpret_cast<float2*>(place) = make_float2(one, two);
}

// Two neighbours in a row of the product, where they are there.
template <typename Out>
__device__ __forceinline__ void store_edge(Out* row, int column, int columns, float one, float two) {
    if (columns % 2 == 0 && column < columns) {
        store_pair(row + column, one, two);
    } else {
        if (column < columns) store(row + column, one);
        if (column + 1 < columns) store(row + column + 1, two);
    }
}
