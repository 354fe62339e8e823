# 64-bit counters that no two processor cores fight over: one cache line each, one stripe for each few threads.

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(_MSC_VER)
    #  include <malloc.h>
    #  include <intrin.h>
    #  define otlpfast_aligned(size) _aligned_malloc((size), 64)
    #  define otlpfast_aligned_free(p) _aligned_free(p)
    #  define otlpfast_atomic_add(p, n) ((void)_InterlockedExchangeAdd64((volatile long long *)(p), (n)))
    #else
    static inline void *otlpfast_aligned(size_t size) {
        void *p = NULL;
        return posix_memalign(&p, 64, size) ? NULL : p;
    }
    #  define otlpfast_aligned_free(p) free(p)
    #  define otlpfast_atomic_add(p, n) ((void)__atomic_fetch_add((p), (n), __ATOMIC_RELAXED))
    #endif
    """
    void *otlpfast_aligned(size_t size) nogil
    void otlpfast_aligned_free(void *p) nogil
    void otlpfast_atomic_add(int64_t *p, int64_t n) nogil

cdef extern from "pythread.h":
    unsigned long thread_ident "PyThread_get_thread_ident"() nogil

cdef char *_int64_format = b"q"


@cython.final
cdef class PaddedCounters:
    """Named 64-bit counters, 64-byte aligned, one cache line a counter, striped over threads.

    Args:
        names: the counters' names, in order; at least one, no two alike.
        stripes: how many copies of each counter threads are spread over; a power of two from 1 to 1024.
        padded: False packs the counters side by side; only good for showing what padding is for.

    The buffer protocol gives all of it without a copy, read-only, int64: ``(stripes, len(names), words)``, the count in word 0
    and padding in the 7 others (``words`` is 1 without padding). ``numpy.asarray(counters)[..., 0].sum(axis=0)`` are the totals.

    Raises:
        ValueError: no names, a name twice, or stripes out of range.
    """

    cdef int64_t *cells
    cdef readonly tuple names
    cdef dict index
    cdef readonly int stripes
    cdef int words
    cdef int length
    cdef Py_ssize_t shape[3]
    cdef Py_ssize_t strides[3]

    def __cinit__(self, names, int stripes=8, bint padded=True):
        self.names = tuple(names)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.length = len(self.names)
        if not self.length or len(self.index) != self.length:
            raise ValueError(f"names={self.names!r}: at least one name, no two alike")
        if not 1 <= stripes <= 1024 or stripes & (stripes - 1):
            raise ValueError(f"stripes={stripes!r}: a power of two from 1 to 1024")
        self.stripes = stripes
        self.words = 8 if padded else 1
        self.shape[:] = [stripes, self.length, self.words]
        self.strides[:] = [self.length * self.words * 8, self.words * 8, 8]
        self.cells = <int64_t *> otlpfast_aligned(stripes * self.length * self.words * 8)
        if self.cells == NULL:
            raise MemoryError
        self.reset()

    def __dealloc__(self):
        if self.cells != NULL:
            otlpfast_aligned_free(self.cells)

    cdef inline int64_t *cell(self, int stripe, int i) noexcept nogil:
        return &self.cells[(stripe * self.length + i) * self.words]

    cdef inline void bump(self, int i, int64_t n) noexcept nogil:
        # The low bits of a thread's identifier are its address's alignment, so they are shifted out.
        otlpfast_atomic_add(self.cell((thread_ident() >> 12) & (self.stripes - 1), i), n)

    cdef inline int64_t total(self, int i) noexcept nogil:
        cdef int64_t total = 0
        cdef int stripe
        for stripe in range(self.stripes):
            total += self.cell(stripe, i)[0]
        return total

    cdef int find(self, name) except -1:
        found = self.index.get(name)
        if found is None:
            raise KeyError(f"{name!r}: the counters are {', '.join(self.names)}")
        return found

    def add(self, name, int64_t n=1):
        """Adds ``n`` to the counter; KeyError where there is none of that name."""
        self.bump(self.find(name), n)

    def get(self, name):
        """The counter's total over all stripes; KeyError where there is none of that name."""
        return self.total(self.find(name))

    def snapshot(self):
        """All totals as a dict, in the order of the names."""
        return {name: self.total(i) for i, name in enumerate(self.names)}

    def reset(self):
        """Sets every counter to zero."""
        memset(self.cells, 0, self.stripes * self.length * self.words * 8)

    def spin(self, name, int64_t times, int stripe=0):
        """Adds 1 to one stripe's counter ``times`` times without the GIL: what a benchmark of false sharing runs in two threads.

        Raises KeyError for an unknown name and ValueError for a stripe out of range.
        """
        if not 0 <= stripe < self.stripes:
            raise ValueError(f"stripe={stripe!r}: from 0 to {self.stripes - 1}")
        cdef int64_t *cell = self.cell(stripe, self.find(name))
        cdef int64_t i
        with nogil:
            for i in range(times):
                otlpfast_atomic_add(cell, 1)

    def view(self):
        """All of it without a copy, as a read-only memoryview: what the buffer protocol gives."""
        return memoryview(self)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("the counters are read-only")
        view.buf = self.cells
        view.obj = self
        view.len = self.stripes * self.length * self.words * 8
        view.itemsize = 8
        view.readonly = 1
        view.ndim = 3
        view.format = _int64_format if flags & PyBUF_FORMAT else NULL
        view.shape = self.shape
        view.strides = self.strides
        view.suboffsets = NULL
        view.internal = NULL
