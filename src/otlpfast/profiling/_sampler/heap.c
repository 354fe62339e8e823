#include "heap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define NEVER INT64_MAX

enum {
    MOST_BLOCKS = 1 << 21,
    FIRST_BLOCKS = 1 << 10,
    CELLS = 1 << 16,
};

/* How the hook reaches what it wraps. Each is written once and never freed: another tool may have kept it. */
typedef struct hook {
    PyMemAllocatorEx next;
    PyMemAllocatorDomain domain;
    struct hook *older;
} hook;

static const PyMemAllocatorDomain DOMAINS[] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
static hook *hooks;

static otlpfast_heap *on;              /* NULL: nothing is sampled */
static PyInterpreterState *sampled_in; /* the one interpreter */
static uint64_t state;                 /* of the random numbers */

/* Bytes until the next sample, less than 0 when it is due. Interpreters with GILs of their own may race for it:
 * a count gets lost then, no more. */
static int64_t left = NEVER;

/* How many sampled blocks have an address of this cell; 255 is many, for ever. A look here is all that free() of
 * another block costs. Neighbours in memory are neighbours here, and in the processor's cache. */
static uint8_t cells[CELLS];

/* Is the hook called where Python allocates? */
static struct {
    PyThreadState *thread;
    int is_seen;
} probe;

static inline int spend(size_t size) {
    int64_t after = __atomic_load_n(&left, __ATOMIC_RELAXED) - (int64_t)size;
    __atomic_store_n(&left, after, __ATOMIC_RELAXED);
    return after < 0;
}

static inline uint8_t *cell(uintptr_t address) {
    return &cells[(address >> 4 ^ address >> 20) & (CELLS - 1)];
}

/* --- chance */

static uint64_t draw(void) { /* splitmix64 */
    uint64_t word = state += 0x9E3779B97F4A7C15ULL;
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9ULL;
    word = (word ^ word >> 27) * 0x94D049BB133111EBULL;
    return word ^ word >> 31;
}

static int64_t distance(uint64_t mean) {
    if (mean == 1) return 0; /* each block */
    return (int64_t)(-log(((draw() >> 11) + 1) * 0x1p-53) * (double)mean);
}

void otlpfast_heap_reseed(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    state ^= (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    state ^= (uint64_t)getpid() << 32 ^ (uint64_t)(uintptr_t)&now;
    draw();
}

otlpfast_sum otlpfast_heap_weigh(uint64_t mean, uint64_t size) {
    double objects = mean == 1 ? 1 : -1 / expm1(-(double)size / (double)mean);
    otlpfast_sum sum = {objects, objects * (double)size};
    return sum;
}

/* --- blocks that were sampled and are in use */

static inline size_t home(const otlpfast_heap *heap, uintptr_t address) {
    return (size_t)((uint64_t)address * 0x9E3779B97F4A7C15ULL >> 24) & heap->mask;
}

/* Where it is, or the place that is free for it. */
static otlpfast_block *find(const otlpfast_heap *heap, uintptr_t address) {
    size_t at = home(heap, address);
    while (heap->blocks[at].address && heap->blocks[at].address != address) at = (at + 1) & heap->mask;
    return &heap->blocks[at];
}

static int grow(otlpfast_heap *heap) {
    otlpfast_heap grown = *heap;
    grown.mask = heap->mask * 2 + 1;
    grown.blocks = grown.mask < MOST_BLOCKS ? calloc(grown.mask + 1, sizeof *grown.blocks) : NULL;
    if (grown.blocks == NULL) return 0;
    for (size_t i = 0; i <= heap->mask; i++)
        if (heap->blocks[i].address) *find(&grown, heap->blocks[i].address) = heap->blocks[i];
    free(heap->blocks);
    *heap = grown;
    return 1;
}

static void insert(otlpfast_heap *heap, otlpfast_block block) {
    otlpfast_block *place = find(heap, block.address);
    if (!place->address) {
        if (heap->used * 2 > heap->mask) {
            if (!grow(heap) && heap->used * 8 > heap->mask * 7) {
                heap->lost++;
                return;
            }
            place = find(heap, block.address);
        }
        heap->used++;
        uint8_t *count = cell(block.address);
        if (*count < UINT8_MAX) ++*count;
    }
    *place = block;
}

static void erase(otlpfast_heap *heap, uintptr_t address) {
    otlpfast_block *blocks = heap->blocks, *found = find(heap, address);
    if (!found->address) return;
    size_t gap = (size_t)(found - blocks);
    /* Those behind move up, as far as they still are where a search for them gets to. */
    for (size_t at = (gap + 1) & heap->mask; blocks[at].address; at = (at + 1) & heap->mask) {
        size_t from_home = (at - home(heap, blocks[at].address)) & heap->mask;
        if (from_home >= ((at - gap) & heap->mask)) {
            blocks[gap] = blocks[at];
            gap = at;
        }
    }
    blocks[gap].address = 0;
    heap->used--;
    uint8_t *count = cell(address);
    if (*count < UINT8_MAX) --*count;
}

/* --- the hook: most of the time the four functions at its end */

static inline PyThreadState *thread_here(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked();
#else
    return _PyThreadState_UncheckedGet();
#endif
}

/* What is sampled into, if this thread may touch it. An extension that forgot the GIL may not. */
static otlpfast_heap *heap_of(PyThreadState *thread) {
    if (thread == NULL || !PyGILState_Check()) return NULL;
    return PyThreadState_GetInterpreter(thread) == sampled_in ? on : NULL;
}

static void *sample(void *address, size_t size) {
    PyThreadState *thread = thread_here();
    if (thread != NULL && thread == probe.thread) {
        probe.is_seen = 1;
        return address;
    }
    otlpfast_heap *heap = heap_of(thread);
    if (heap == NULL) return address; /* the next block is sampled instead */
    __atomic_store_n(&left, distance(heap->mean), __ATOMIC_RELAXED);
    if (address == NULL || size == 0) return address;
    uint32_t stack = heap->number(heap->table, thread);
    otlpfast_sum sum = otlpfast_heap_weigh(heap->mean, size);
    heap->allocated[stack].objects += sum.objects;
    heap->allocated[stack].bytes += sum.bytes;
    insert(heap, (otlpfast_block){(uintptr_t)address, size, stack});
    return address;
}

static void forget(void *address) {
    otlpfast_heap *heap = heap_of(thread_here());
    if (heap != NULL) erase(heap, (uintptr_t)address);
}

/* The slow halves stand apart: calls in the hooks themselves, but for the last, would have them save registers. */

static __attribute__((noinline)) void *malloc_sampled(const PyMemAllocatorEx *next, size_t size) {
    return sample(next->malloc(next->ctx, size), size);
}

static __attribute__((noinline)) void *calloc_sampled(const PyMemAllocatorEx *next, size_t count, size_t size) {
    return sample(next->calloc(next->ctx, count, size), count * size);
}

static __attribute__((noinline)) void *realloc_sampled(const PyMemAllocatorEx *next, void *address, size_t size,
                                                       int is_due) {
    void *moved = next->realloc(next->ctx, address, size);
    if (moved == NULL) return NULL; /* and the block stays as it was */
    if (*cell((uintptr_t)address)) forget(address);
    return is_due ? sample(moved, size) : moved;
}

static __attribute__((noinline)) void free_sampled(const PyMemAllocatorEx *next, void *address) {
    forget(address);
    next->free(next->ctx, address);
}

static void *hook_malloc(void *context, size_t size) {
    const PyMemAllocatorEx *next = &((hook *)context)->next;
    if (UNLIKELY(spend(size))) return malloc_sampled(next, size);
    return next->malloc(next->ctx, size);
}

static void *hook_calloc(void *context, size_t count, size_t size) {
    const PyMemAllocatorEx *next = &((hook *)context)->next;
    if (UNLIKELY(spend(count * size))) return calloc_sampled(next, count, size);
    return next->calloc(next->ctx, count, size);
}

static void *hook_realloc(void *context, void *address, size_t size) {
    const PyMemAllocatorEx *next = &((hook *)context)->next;
    int is_due = spend(size);
    if (UNLIKELY(is_due | *cell((uintptr_t)address))) return realloc_sampled(next, address, size, is_due);
    return next->realloc(next->ctx, address, size);
}

static void hook_free(void *context, void *address) {
    const PyMemAllocatorEx *next = &((hook *)context)->next;
    if (UNLIKELY(*cell((uintptr_t)address))) free_sampled(next, address);
    else next->free(next->ctx, address);
}

/* --- putting it in and taking it out */

static int is_called(PyMemAllocatorDomain domain) {
    int64_t before = left;
    probe.thread = PyThreadState_Get();
    probe.is_seen = 0;
    for (int tries = 0; tries < 16 && !probe.is_seen; tries++) { /* another interpreter may spend in between */
        left = -1;
        if (domain == PYMEM_DOMAIN_MEM) PyMem_Free(PyMem_Malloc(1));
        else PyObject_Free(PyObject_Malloc(1));
    }
    left = before;
    probe.thread = NULL;
    return probe.is_seen;
}

static int is_same(const PyMemAllocatorEx *one, const PyMemAllocatorEx *other) {
    return one->ctx == other->ctx && one->malloc == other->malloc && one->calloc == other->calloc &&
           one->realloc == other->realloc && one->free == other->free;
}

/* One that wraps `next`: such as there was one, for a start and a stop to take no memory each time. */
static hook *hook_around(PyMemAllocatorDomain domain, const PyMemAllocatorEx *next) {
    for (hook *found = hooks; found != NULL; found = found->older)
        if (found->domain == domain && is_same(&found->next, next)) return found;
    hook *made = malloc(sizeof *made);
    if (made == NULL) return NULL;
    *made = (hook){*next, domain, hooks};
    return hooks = made;
}

static int put_in(PyMemAllocatorDomain domain) {
    PyMemAllocatorEx outermost;
    PyMem_GetAllocator(domain, &outermost);
    hook *here = hook_around(domain, &outermost);
    if (here == NULL) return -1;
    PyMemAllocatorEx ours = {here, hook_malloc, hook_calloc, hook_realloc, hook_free};
    PyMem_SetAllocator(domain, &ours);
    return 0;
}

static void take_out(PyMemAllocatorDomain domain) {
    PyMemAllocatorEx outermost;
    PyMem_GetAllocator(domain, &outermost);
    while (outermost.malloc == hook_malloc) {
        PyMem_SetAllocator(domain, &((hook *)outermost.ctx)->next);
        PyMem_GetAllocator(domain, &outermost);
    }
}

int otlpfast_heap_open(otlpfast_heap *heap) {
    heap->mask = FIRST_BLOCKS - 1;
    heap->blocks = calloc(FIRST_BLOCKS, sizeof *heap->blocks);
    heap->allocated = calloc((size_t)heap->stacks + 1, sizeof *heap->allocated);
    return heap->blocks != NULL && heap->allocated != NULL ? 0 : -1;
}

void otlpfast_heap_close(otlpfast_heap *heap) {
    free(heap->blocks);
    free(heap->allocated);
}

int otlpfast_heap_start(otlpfast_heap *heap) {
    sampled_in = PyThreadState_GetInterpreter(PyThreadState_Get());
    for (size_t i = 0; i < sizeof DOMAINS / sizeof *DOMAINS; i++)
        if (!is_called(DOMAINS[i]) && put_in(DOMAINS[i])) {
            otlpfast_heap_stop();
            return -1;
        }
    otlpfast_heap_reseed();
    on = heap;
    left = distance(heap->mean);
    return 0;
}

void otlpfast_heap_stop(void) {
    on = NULL;
    left = NEVER;
    memset(cells, 0, sizeof cells);
    for (size_t i = 0; i < sizeof DOMAINS / sizeof *DOMAINS; i++) take_out(DOMAINS[i]);
}

int otlpfast_heap_rehook(void) {
    int was_there = 1;
    for (size_t i = 0; i < sizeof DOMAINS / sizeof *DOMAINS; i++)
        if (!is_called(DOMAINS[i])) {
            was_there = 0;
            put_in(DOMAINS[i]);
        }
    return was_there;
}
