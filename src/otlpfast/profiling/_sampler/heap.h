/* Samples what Python's allocators `mem` and `obj` hand out, by bytes. (Not `raw`: `obj` takes large blocks from
 * it, which would count twice, and it is called without the GIL.)
 *
 * A Poisson process along the bytes allocated: a block of s bytes is sampled with 1 - exp(-s / mean), whatever
 * came before, and then stands for 1 / (1 - exp(-s / mean)) blocks. Realloc frees a block and allocates another,
 * in place or not: what is in use then has the chance of its present size.
 *
 * All is called with the GIL of the interpreter that started it. The hooks themselves also run in interpreters
 * with a GIL of their own, which they only pass through. */
#ifndef OTLPFAST_HEAP_H
#define OTLPFAST_HEAP_H

#include <Python.h>
#include <stdint.h>

typedef struct {
    uintptr_t address; /* 0: nothing here */
    uint64_t size;
    uint32_t stack;
} otlpfast_block;

/* Of blocks, what they stand for. */
typedef struct {
    double objects, bytes;
} otlpfast_sum;

typedef struct {
    uint64_t mean;
    /* The number of a thread's stack, at most `stacks`. Runs inside the allocator: makes no Python object. */
    uint32_t (*number)(void *table, PyThreadState *thread);
    void *table;
    uint32_t stacks;
    otlpfast_sum *allocated; /* by number of stack, 0 to `stacks` */
    otlpfast_block *blocks;  /* sampled and not freed: open addressing */
    size_t mask, used;
    uint64_t lost; /* sampled, but there was no room to remember the block */
} otlpfast_heap;

/* Memory for it, -1 if there is none. `mean`, `number`, `table` and `stacks` are set. */
int otlpfast_heap_open(otlpfast_heap *heap);
void otlpfast_heap_close(otlpfast_heap *heap);

/* From now on blocks go into `heap`, which stays where it is. -1: there is no memory for the hook. */
int otlpfast_heap_start(otlpfast_heap *heap);
/* Not any more. The hook is taken out where it is the outermost; where another tool has wrapped it, it passes on. */
void otlpfast_heap_stop(void);
/* Whether the hook was there all the time. Another tool that ended may have put back what it had found: then it
 * is put in again. */
int otlpfast_heap_rehook(void);

void otlpfast_heap_reseed(void);

/* What one block of that size stands for. */
otlpfast_sum otlpfast_heap_weigh(uint64_t mean, uint64_t size);

#endif
