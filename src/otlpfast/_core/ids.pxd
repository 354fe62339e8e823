# Random trace and span ids: xoshiro256++ (https://prng.di.unimi.it/). The GIL guards the one generator; where
# there is none, each thread has its own.
#
# A generator is seeded from the operating system where it is first used, and again in each forked child.
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #if !defined(Py_GIL_DISABLED)
    #  define OTLPFAST_THREAD_LOCAL
    #elif defined(_MSC_VER)
    #  define OTLPFAST_THREAD_LOCAL __declspec(thread)
    #else
    #  define OTLPFAST_THREAD_LOCAL __thread
    #endif
    typedef struct { uint64_t s[4]; int forks; int seeded; } otlpfast_generator;
    static OTLPFAST_THREAD_LOCAL otlpfast_generator otlpfast_ids;

    static inline uint64_t otlpfast_turned(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

    static inline uint64_t otlpfast_random(otlpfast_generator *g) {
        uint64_t *s = g->s, result = otlpfast_turned(s[0] + s[3], 23) + s[0], t = s[1] << 17;
        s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3];
        s[2] ^= t; s[3] = otlpfast_turned(s[3], 45);
        return result;
    }

    /* NULL where the generator of this thread has to be seeded first. */
    static inline otlpfast_generator *otlpfast_seeded(void) {
        otlpfast_generator *g = &otlpfast_ids;
        return g->seeded && g->forks == otlpfast_forks ? g : NULL;
    }

    static otlpfast_generator *otlpfast_seed(const char *bytes) {
        otlpfast_generator *g = &otlpfast_ids;
        memcpy(g->s, bytes, sizeof(g->s));
        g->s[0] |= 1;  /* all zeros would stay all zeros */
        g->forks = otlpfast_forks;
        g->seeded = 1;
        return g;
    }
    """
    ctypedef struct Generator "otlpfast_generator":
        pass
    Generator *seeded "otlpfast_seeded"() noexcept nogil
    Generator *seed "otlpfast_seed"(const char *bytes) noexcept nogil
    uint64_t random_bits "otlpfast_random"(Generator *generator) noexcept nogil
