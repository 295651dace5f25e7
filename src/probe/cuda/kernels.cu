// Kernels of the CUDA probe: streams through memory, a pointer chase, random contents, nothing at all.
//
// scripts/kernels.sh makes kernels.ptx of this with clang alone: no header and no library of CUDA is needed. All of them may run again on
// the same arguments without changing the result, so a measurement can repeat them.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef u64 pair __attribute__((ext_vector_type(2)));
typedef float four __attribute__((ext_vector_type(4)));

#define KERNEL extern "C" __attribute__((global)) void
#define DEVICE static __attribute__((device)) inline

DEVICE u64 first() {
    return (u64)__nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x();
}

DEVICE u64 all() {
    return (u64)__nvvm_read_ptx_sreg_nctaid_x() * __nvvm_read_ptx_sreg_ntid_x();
}

KERNEL orrery_nop() {}

// Word i becomes a hash of seed and i, with some bits kept and some set: random numbers of any format that lie near 1.
KERNEL orrery_fill(u64 *words, u64 count, u64 seed, u64 keep, u64 set) {
    for (u64 i = first(); i < count; i += all()) {
        u64 x = seed + (i + 1) * 0x9e3779b97f4a7c15ull;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
        words[i] = ((x ^ (x >> 31)) & keep) | set;
    }
}

// Streams keep four words of every thread on their way. By Little's law 8 TB/s at 0.7 us need 5.6 MB on their way, and one word of all threads of
// 148 units is 4.9 MB; an H200 (4.8 TB/s) shows the same rate either way.
#define STREAM(get, put)                                                                   \
    for (u32 pass = 0; pass < passes; pass++) {                                            \
        const u64 step = all();                                                            \
        u64 i = first();                                                                   \
        for (; i + 3 * step < count; i += 4 * step) {                                      \
            auto w0 = get(i), w1 = get(i + step), w2 = get(i + 2 * step), w3 = get(i + 3 * step); \
            put(i, w0), put(i + step, w1), put(i + 2 * step, w2), put(i + 3 * step, w3);   \
        }                                                                                  \
        for (; i < count; i += step) put(i, get(i));                                       \
    }

KERNEL orrery_copy(pair *to, const pair *from, u64 count, u32 passes) {
#define GET(i) from[i]
#define PUT(i, w) to[i] = (w)
    STREAM(GET, PUT)
#undef GET
}

KERNEL orrery_scale(four *to, const four *from, float s, u64 count, u32 passes) {
#define GET(i) (s * from[i])
    STREAM(GET, PUT)
#undef GET
#undef PUT
}

KERNEL orrery_triad(four *a, const four *b, const four *c, float s, u64 count, u32 passes) {
#define GET(i) (b[i] + s * c[i])
#define PUT(i, w) a[i] = (w)
    STREAM(GET, PUT)
#undef GET
#undef PUT
}

// The exclusive or of all words, once for every pass: an odd number of passes leaves that of one.
KERNEL orrery_read(const pair *from, u64 count, u32 passes, u64 *result) {
    pair bits = {0, 0};
#define GET(i) from[i]
#define PUT(i, w) bits ^= (w)
    STREAM(GET, PUT)
    __atomic_fetch_xor(result, bits.x ^ bits.y, __ATOMIC_RELAXED);
}

// Line j of 128 bytes points to line (5 j + 12345) of a power of two of them: one circle through all lines.
KERNEL orrery_circle(u32 *lines, u32 count) {
    for (u64 j = first(); j < count; j += all()) lines[32 * j] = (u32)((j * 5 + 12345) & (count - 1)) * 32;
}

// From a line on: each run goes where the last one ended, else it would find its lines in the cache.
KERNEL orrery_chase(const u32 *lines, u32 start, u32 steps, u32 *end) {
    u32 at = 32 * start;
    for (u32 i = 0; i < steps; i++) at = lines[at];
    *end = at;
}

// Holds a stream until the host has queued what is measured; gives up after so many ticks, so that nothing can hang.
KERNEL orrery_hold(volatile u32 *go, u64 ticks) {
    u64 start = __nvvm_read_ptx_sreg_clock64();
    while (*go == 0 && __nvvm_read_ptx_sreg_clock64() - start < ticks) {
    }
}
