# The memory that Python's allocators hand out, sampled.

cdef extern from "_sampler/heap.h":
    ctypedef struct HeapBlock "otlpfast_block":
        uintptr_t address
        uint64_t size
        uint32_t stack
    ctypedef struct HeapSum "otlpfast_sum":
        double objects, bytes
    ctypedef struct Heap "otlpfast_heap":
        uint64_t mean
        uint32_t (*number)(void *table, PyThreadState *thread) noexcept
        void *table
        uint32_t stacks
        HeapSum *allocated
        HeapBlock *blocks
        size_t mask, used
        uint64_t lost
    int otlpfast_heap_open(Heap *heap) noexcept
    void otlpfast_heap_close(Heap *heap) noexcept
    int otlpfast_heap_start(Heap *heap) noexcept
    void otlpfast_heap_stop() noexcept
    int otlpfast_heap_rehook() noexcept
    void otlpfast_heap_reseed() noexcept
    HeapSum otlpfast_heap_weigh(uint64_t mean, uint64_t size) noexcept

cdef HeapSampler _heap_on = None
# Not on the stack, of which a thread that allocates may have little left.
cdef Place[MOST_FRAMES] _heap_places


cdef uint32_t _heap_number(void *table, PyThreadState *thread) noexcept:
    cdef int depth = otlpfast_walk(thread, _heap_places, MOST_FRAMES)
    cdef int kept = 0
    cdef int i
    for i in range(depth):
        # CPython 3.11 frees a function's last code object while its frame is still there.
        if Py_REFCNT(_heap_places[i].code) > 0:
            _heap_places[kept] = _heap_places[i]
            kept += 1
    return (<StackTable> table).intern(_heap_places, kept)


@cython.final
cdef class HeapSampler:
    """Samples of what is allocated, and of what of that is in use. One can be on in a process.

    Args:
        sample_bytes: as many bytes lie between two samples, on average. 1: each block is a sample.
        most_stacks: as many different stacks are kept.
    """

    cdef:
        Heap heap
        StackTable table
        readonly bint was_unhooked
        """Whether frees may have been missed, since another tool took the hook out."""

    def __cinit__(self, uint64_t sample_bytes=1 << 19, uint32_t most_stacks=1 << 16):
        if not 0 < sample_bytes <= 1 << 40:
            raise ValueError(f"sample_bytes={sample_bytes}: from 1 to {1 << 40}")
        self.table = StackTable(most_stacks)
        self.heap.mean = sample_bytes
        self.heap.number = _heap_number
        self.heap.table = <void *> self.table
        self.heap.stacks = most_stacks
        if otlpfast_heap_open(&self.heap):
            raise MemoryError

    def __dealloc__(self):
        otlpfast_heap_close(&self.heap)

    def start(self) -> None:
        """From now on. RuntimeError where one is on."""
        global _heap_on
        if _heap_on is not None:
            raise RuntimeError("a HeapSampler is on")
        if otlpfast_heap_start(&self.heap):
            raise MemoryError
        _heap_on = self

    def stop(self) -> None:
        """Not any more; what was found stays."""
        global _heap_on
        if _heap_on is self:
            self._see_hook()
            otlpfast_heap_stop()
            _heap_on = None

    cdef void _see_hook(self) noexcept:
        if not otlpfast_heap_rehook():
            self.was_unhooked = True

    @property
    def lost(self) -> int:
        """Samples that are in no ``inuse``, since there was no room for them."""
        return self.heap.lost

    def rows(self) -> list:
        """What was found, by stack: (its number, alloc_objects, alloc_space, inuse_objects, inuse_space)."""
        cdef uint32_t count, i
        cdef size_t size
        cdef HeapSum *allocated
        if _heap_on is self:
            self._see_hook()
        # Copied before there is a Python object made: that may be sampled.
        count = self.table.stacks_used + 1
        size = count * sizeof(HeapSum)
        allocated = <HeapSum *> calloc(2 * count, sizeof(HeapSum))
        if allocated == NULL:
            raise MemoryError
        memcpy(allocated, self.heap.allocated, size)
        self._sum_used(allocated + count)
        try:
            return [
                (
                    i,
                    llround(allocated[i].objects),
                    llround(allocated[i].bytes),
                    llround(allocated[count + i].objects),
                    llround(allocated[count + i].bytes),
                )
                for i in range(count)
                if allocated[i].objects
            ]
        finally:
            free(allocated)

    cdef void _sum_used(self, HeapSum *used) noexcept:
        cdef HeapBlock *block
        cdef HeapSum sum
        cdef size_t i
        for i in range(self.heap.mask + 1):
            block = &self.heap.blocks[i]
            if block.address:
                sum = otlpfast_heap_weigh(self.heap.mean, block.size)
                used[block.stack].objects += sum.objects
                used[block.stack].bytes += sum.bytes

    def frames(self, uint32_t number) -> tuple:
        """The frames of a stack, as ``StackTable.frames()`` has them."""
        return self.table.frames(number)


def reseed_heap() -> None:
    """Other random numbers than the parent's, in a forked child."""
    otlpfast_heap_reseed()
