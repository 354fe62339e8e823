# 64-bit counters that no two processor cores fight over: a cache line each, a stripe for each few threads.

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(_MSC_VER)
    #  include <malloc.h>
    #  include <intrin.h>
    #  define otlpfast_aligned(size) _aligned_malloc((size), 64)
    #  define otlpfast_aligned_free(p) _aligned_free(p)
    #  define otlpfast_atomic_add(p, n) ((void)_InterlockedExchangeAdd64((volatile long long *)(p), (n)))
    #  define otlpfast_atomic_load(p) (*(volatile int64_t *)(p))
    #else
    static inline void *otlpfast_aligned(size_t size) {
        void *p = NULL;
        return posix_memalign(&p, 64, size) ? NULL : p;
    }
    #  define otlpfast_aligned_free(p) free(p)
    #  define otlpfast_atomic_add(p, n) ((void)__atomic_fetch_add((p), (n), __ATOMIC_RELAXED))
    #  define otlpfast_atomic_load(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #endif
    #if defined(Py_GIL_DISABLED)
    #  define otlpfast_held_add(p, n) otlpfast_atomic_add((p), (n))
    #else
    #  define otlpfast_held_add(p, n) ((void)(*(p) += (n)))
    #endif
    """
    void otlpfast_held_add(int64_t *p, int64_t n) nogil
    void *otlpfast_aligned(size_t size) nogil
    void otlpfast_aligned_free(void *p) nogil
    void otlpfast_atomic_add(int64_t *p, int64_t n) nogil
    int64_t otlpfast_atomic_load(int64_t *p) nogil

cdef extern from "pythread.h":
    unsigned long thread_ident "PyThread_get_thread_ident"() nogil

cdef char *_int64_format = b"q"


@cython.final
cdef class PaddedCounters:
    """Named 64-bit counters, 64-byte aligned, one cache line a counter, striped over threads.

    Args:
        names: the counters' names, strings in order; at least one, no two alike.
        stripes: how many copies of each counter threads are spread over; a power of two from 1 to 1024.
        padded: False packs the counters side by side; only good for showing what padding is for.

    The buffer protocol gives all of it without a copy, read-only, int64: ``(stripes, len(names), words)``,
    the count in word 0 and padding in the 7 others (``words`` is 1 without padding).
    ``numpy.asarray(counters.view())[..., 0].sum(axis=0)`` are the totals.

    Raises:
        TypeError, ValueError: names that are no strings, no names, a name twice, stripes out of range.
    """

    cdef int64_t *cells
    cdef readonly tuple names
    cdef dict index
    cdef readonly Py_ssize_t stripes
    cdef Py_ssize_t words
    cdef Py_ssize_t length
    cdef Py_ssize_t shape[3]
    cdef Py_ssize_t strides[3]

    def __cinit__(self, names, stripes=8, bint padded=True):
        self.names = counter_names(names)
        self.index = {name: i for i, name in enumerate(self.names)}
        self.length = len(self.names)
        self.stripes = stripe_count(stripes)
        self.words = 8 if padded else 1
        self.shape[:] = [self.stripes, self.length, self.words]
        self.strides[:] = [self.length * self.words * 8, self.words * 8, 8]
        self.cells = <int64_t *> otlpfast_aligned(self.nbytes())
        if self.cells == NULL:
            raise MemoryError
        self.reset()

    def __dealloc__(self):
        if self.cells != NULL:
            otlpfast_aligned_free(self.cells)

    cdef inline Py_ssize_t nbytes(self) noexcept nogil:
        return self.stripes * self.length * self.words * 8

    cdef inline int64_t *cell(self, Py_ssize_t stripe, Py_ssize_t i) noexcept nogil:
        return &self.cells[(stripe * self.length + i) * self.words]

    cdef inline void bump(self, Py_ssize_t i, int64_t n) noexcept nogil:
        # An identifier is an address here and a small number there: a multiplication spreads either.
        cdef uint64_t mixed = <uint64_t> thread_ident() * 0x9E3779B97F4A7C15ULL
        otlpfast_atomic_add(self.cell((mixed >> 32) & (self.stripes - 1), i), n)

    cdef inline void count(self, Py_ssize_t i) noexcept:
        # As bump() by one where the GIL keeps other threads away, without a locked instruction.
        otlpfast_held_add(self.cell(0, i), 1)

    cdef inline int64_t total(self, Py_ssize_t i) noexcept nogil:
        cdef uint64_t total = 0
        cdef Py_ssize_t stripe
        for stripe in range(self.stripes):
            total += <uint64_t> otlpfast_atomic_load(self.cell(stripe, i))
        return <int64_t> total

    cdef Py_ssize_t find(self, name) except -1:
        found = self.index.get(name)
        if found is None:
            raise KeyError(f"{name!r}: the counters are {', '.join(self.names)}")
        return found

    def add(self, name, n=1):
        """Adds ``n``, an int of 64 bits, to the counter; KeyError where there is none of that name."""
        self.bump(self.find(name), PyNumber_Index(n))

    def get(self, name):
        """The counter's total over all stripes; KeyError where there is none of that name."""
        return self.total(self.find(name))

    def snapshot(self):
        """All totals as a dict, in the order of the names."""
        return {name: self.total(i) for i, name in enumerate(self.names)}

    def reset(self):
        """Sets every counter to zero."""
        memset(self.cells, 0, self.nbytes())

    def spin(self, name, times, stripe=0):
        """Adds 1 to one stripe's counter ``times`` times without the GIL.

        It is what a benchmark of false sharing runs in two threads. Raises KeyError for an unknown name and
        ValueError for a stripe out of range.
        """
        cdef int64_t *cell = self.cell(whole_number("stripe", stripe, 0, self.stripes - 1), self.find(name))
        cdef int64_t i, n = PyNumber_Index(times)
        with nogil:
            for i in range(n):
                otlpfast_atomic_add(cell, 1)

    def view(self):
        """All of it without a copy, as a read-only memoryview: what the buffer protocol gives."""
        return memoryview(self)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("the counters are read-only")
        view.buf = self.cells
        view.obj = self
        view.len = self.nbytes()
        view.itemsize = 8
        view.readonly = 1
        view.ndim = 3
        view.format = _int64_format if flags & PyBUF_FORMAT else NULL
        view.shape = self.shape
        view.strides = self.strides
        view.suboffsets = NULL
        view.internal = NULL
