/* Samples of threads by the CPU time that they use: a timer of each thread's CPU clock sends SIGPROF to it, and the
 * handler, on the thread itself, puts its frames into a ring of the thread's own. Linux with 64 bits alone.
 *
 * But for what says otherwise, the caller holds the GIL. */
#ifndef OTLPFAST_CPU_H
#define OTLPFAST_CPU_H

#include "_sampler/frames.h"
#include "_sampler/labels.h"

enum {
    OTLPFAST_THREADS = 4096, /* as many are watched at a time */
    OTLPFAST_DEEPEST = 512,  /* frames; of more, the outermost are left out */
};

/* In place of a number of frames. */
enum { OTLPFAST_NATIVE = -1, OTLPFAST_UNREADABLE = -2, OTLPFAST_UNUSED = -3 };

/* Labels of a sample: none, those that were last written into the ring, or others, behind the frames. */
enum { OTLPFAST_BARE, OTLPFAST_LAST, OTLPFAST_OTHERS };

/* What lies in a ring, one after the other. */
typedef struct {
    uint32_t size;  /* of all of it, in bytes */
    uint32_t ticks; /* of the timer, each a period of CPU time; once they are taken, no more are added */
    int32_t depth;  /* frames follow, or it is one of the above */
    uint32_t labels;
    otlpfast_frame frames[];
} otlpfast_sample;

static inline const otlpfast_labels *otlpfast_labels_of(const otlpfast_sample *sample) {
    return (const otlpfast_labels *)(sample->frames + (sample->depth > 0 ? sample->depth : 0));
}

typedef struct otlpfast_ring otlpfast_ring;

/* A place for a thread; free while serial is 0. */
typedef struct {
    uint32_t serial; /* differs for each thread that is watched */
    uint32_t busy;   /* a handler is at work, or about to see that there is nothing to do */
    uint32_t turn;   /* of the look that saw the thread last */
    uint32_t name;   /* whatever the caller wants to know the thread by */
    uint32_t labels; /* and the labels that were last taken out of the ring */
    uint64_t state;  /* id of its PyThreadState */
    unsigned long ident;
    int32_t tid, timer;
    uint64_t lost;  /* ticks for which there was no room */
    uint64_t taken; /* all ticks */
    uint64_t begin, first; /* what the CPU clock said, and how much later the first tick was due */
    otlpfast_ring *ring;
} otlpfast_watched;

extern otlpfast_watched otlpfast_threads[OTLPFAST_THREADS];
extern uint32_t otlpfast_in_use; /* of those places: the others have never been used */
extern otlpfast_codes otlpfast_known;

/* Whether this can work here: 0, or an errno. */
int otlpfast_cpu_probe(void);

/* From now on there are samples of the threads that get watched. 0, or an errno. */
int otlpfast_cpu_start(uint64_t period, int with_labels);
/* When no thread is watched any more. False if others had taken the signal meanwhile. Needs no GIL. */
int otlpfast_cpu_stop(void);
/* In a child of fork(): it has none of its parent's timers. */
void otlpfast_cpu_forget(void);

/* Whether the timer of the calling thread stands still. */
void otlpfast_cpu_pause(PyThreadState *thread, int paused);

/* The place of a thread that is watched; NULL if it is not. */
otlpfast_watched *otlpfast_cpu_find(const PyThreadState *thread);
/* Whether it has another thread id than it had. A thread that is about to begin has, before CPython 3.12, that of
 * the thread which starts it. */
int otlpfast_cpu_has_moved(const otlpfast_watched *watched, const PyThreadState *thread);
/* Another place with the same thread id: of a thread that has ended, or is about to begin. */
otlpfast_watched *otlpfast_cpu_find_other(const PyThreadState *thread);
/* Watches a thread that the interpreter knows, unless it is; the place, or NULL: it can't be, errno says why. ESRCH:
 * it can't be yet, or no longer. */
otlpfast_watched *otlpfast_cpu_watch(PyThreadState *thread);
/* The next look at all threads begins. */
void otlpfast_cpu_turn(void);
/* Whether the place is of a thread that the look did not see. */
int otlpfast_cpu_is_over(const otlpfast_watched *watched);
/* No more samples of that thread; those there are can be read until the place is freed. The answer: how many ticks
 * its clock says are missing. The kernel looks for them some hundred times a second, and the thread may have ended
 * before it was looked at, or have blocked the signal. */
uint32_t otlpfast_cpu_unwatch(otlpfast_watched *watched);
/* The sample of a thread that was written last, which has been read; NULL if there is none. */
const otlpfast_sample *otlpfast_cpu_last(const otlpfast_watched *watched);
void otlpfast_cpu_free(otlpfast_watched *watched);

/* A sample of the calling thread, whose place it is, as the next tick would have it. */
void otlpfast_cpu_tick(otlpfast_watched *watched);

/* The next sample, and its ticks; NULL if there is none. It stays readable until the next is asked for. */
const otlpfast_sample *otlpfast_cpu_next(otlpfast_watched *watched, uint32_t *ticks);
int otlpfast_cpu_has_next(const otlpfast_watched *watched);
/* How many samples were put into rings since the process began. */
uint64_t otlpfast_cpu_written(void);

#endif
