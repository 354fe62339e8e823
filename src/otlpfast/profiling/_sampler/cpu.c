#include "cpu.h"
#include "peek.h"

#include <errno.h>

otlpfast_watched otlpfast_threads[OTLPFAST_THREADS];
uint32_t otlpfast_in_use;
otlpfast_codes otlpfast_known;

#if defined(__linux__) && __SIZEOF_POINTER__ == 8
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef sigev_notify_thread_id
#  define sigev_notify_thread_id _sigev_un._tid
#endif

enum { RING = 1 << 17, TAKEN = 1 << 30 };

/* All of it is the handler's, but for `tail` and `reading`, and the ticks of samples. */
struct otlpfast_ring {
    uint32_t head, tail; /* bytes ever written and read; the ring has them modulo its size */
    uint32_t reading;    /* the end of what is being read */
    otlpfast_sample *last;
    otlpfast_window window;
    otlpfast_glance glance;
    otlpfast_labels labels, last_labels; /* as read, and as written last */
    otlpfast_frame frames[OTLPFAST_DEEPEST];
    _Alignas(16) unsigned char bytes[RING];
};

static const uint64_t MARK = 0x0F75ULL << 48; /* no address that a timer of others could carry */
static uint64_t period, chance;
static PyInterpreterState *interpreter;
static struct sigaction before;
static int is_installed, reads_labels;
static uint32_t serials, turn, hint;
static uint64_t written;
static pid_t owner; /* a child of fork() has its parent's places until it is told to forget them */

/* The handler. */

static int is_same(const otlpfast_sample *last, const otlpfast_frame *frames, int depth, uint32_t labels) {
    if (last == NULL || last->depth != depth) return 0;
    if (labels == OTLPFAST_OTHERS || (labels == OTLPFAST_BARE) != (last->labels == OTLPFAST_BARE)) return 0;
    for (int i = 0; i < depth; i++)
        if (last->frames[i].code != frames[i].code || last->frames[i].instruction != frames[i].instruction) return 0;
    return 1;
}

/* A thread that stays where it is needs no more room, however long nobody reads. */
static int add_to_last(otlpfast_sample *last, uint32_t ticks) {
    uint32_t had = __atomic_load_n(&last->ticks, __ATOMIC_RELAXED);
    while (had + ticks < TAKEN)
        if (__atomic_compare_exchange_n(&last->ticks, &had, had + ticks, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return 1;
    return 0;
}

/* Room for a sample, and in *end what head will be; NULL if there is none. */
static otlpfast_sample *reserve(otlpfast_ring *ring, uint32_t size, uint32_t *end) {
    uint32_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
    uint32_t at = ring->head % RING, skipped = at + size > RING ? RING - at : 0;
    if (RING - (ring->head - tail) < skipped + size) return NULL;
    if (skipped) {
        otlpfast_sample *rest = (otlpfast_sample *)(ring->bytes + at);
        rest->size = skipped;
        rest->depth = OTLPFAST_UNUSED;
        rest->ticks = 0;
        at = 0;
    }
    *end = ring->head + skipped + size;
    return (otlpfast_sample *)(ring->bytes + at);
}

static uint32_t read_labels(otlpfast_ring *ring, PyThreadState *thread) {
    if (!reads_labels || thread == NULL) return OTLPFAST_BARE;
    otlpfast_look(&ring->glance);
    otlpfast_read_labels(&ring->glance, thread, &ring->labels);
    if (otlpfast_is_bare(&ring->labels)) return OTLPFAST_BARE;
    return otlpfast_are_same(&ring->labels, &ring->last_labels) ? OTLPFAST_LAST : OTLPFAST_OTHERS;
}

static void write_sample(otlpfast_watched *watched, int depth, uint32_t labels, uint32_t ticks) {
    otlpfast_ring *ring = watched->ring;
    uint32_t size = sizeof(otlpfast_sample), end;
    if (is_same(ring->last, ring->frames, depth, labels) && add_to_last(ring->last, ticks)) return;
    if (depth > 0) size += (uint32_t)depth * sizeof(otlpfast_frame);
    if (labels == OTLPFAST_OTHERS) size += sizeof(otlpfast_labels);
    size = (size + 15) & ~15u; /* a header has room at the end of the ring */
    otlpfast_sample *sample = reserve(ring, size, &end);
    if (sample == NULL) {
        __atomic_fetch_add(&watched->lost, ticks, __ATOMIC_RELAXED);
        return;
    }
    sample->size = size;
    sample->depth = depth;
    sample->labels = labels;
    if (depth > 0) memcpy(sample->frames, ring->frames, (size_t)depth * sizeof(otlpfast_frame));
    if (labels == OTLPFAST_OTHERS) {
        memcpy((void *)otlpfast_labels_of(sample), &ring->labels, sizeof ring->labels);
        ring->last_labels = ring->labels;
    }
    __atomic_store_n(&sample->ticks, ticks, __ATOMIC_RELEASE);
    ring->last = sample;
    __atomic_store_n(&ring->head, end, __ATOMIC_RELEASE);
    __atomic_fetch_add(&written, 1, __ATOMIC_RELEASE);
}

static void take_sample(otlpfast_watched *watched, uint32_t ticks) {
    otlpfast_ring *ring = watched->ring;
    PyThreadState *thread = PyGILState_GetThisThreadState(); /* what pthread_getspecific() knows */
    int depth = 0;
    __atomic_fetch_add(&watched->taken, ticks, __ATOMIC_RELAXED);
    if (thread != NULL)
        depth = otlpfast_walk_unsure(
            thread, interpreter, &otlpfast_known, &ring->window, ring->frames, OTLPFAST_DEEPEST
        );
    if (depth <= 0) depth = depth < 0 ? OTLPFAST_UNREADABLE : OTLPFAST_NATIVE;
    write_sample(watched, depth, read_labels(ring, thread), ticks);
}

/* A signal that is not ours gets what it would have got. */
static void pass_on(int number, siginfo_t *info, void *context) {
    if (before.sa_flags & SA_SIGINFO) {
        before.sa_sigaction(number, info, context);
    } else if (before.sa_handler == SIG_DFL) {
        struct sigaction end = {.sa_handler = SIG_DFL};
        sigaction(number, &end, NULL);
        raise(number); /* comes when this handler has returned */
    } else if (before.sa_handler != SIG_IGN) {
        before.sa_handler(number);
    }
}

static void on_signal(int number, siginfo_t *info, void *context) {
    int kept = errno;
    uint64_t cookie = (uint64_t)(uintptr_t)info->si_value.sival_ptr;
    if (info->si_code == SI_TIMER && (cookie & 0xFFFFULL << 48) == MARK) {
        otlpfast_watched *watched = &otlpfast_threads[(cookie >> 32 & 0xFFFF) % OTLPFAST_THREADS];
        __atomic_fetch_add(&watched->busy, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&watched->serial, __ATOMIC_SEQ_CST) == (uint32_t)cookie)
            take_sample(watched, 1 + (uint32_t)(info->si_overrun > 0 ? info->si_overrun : 0));
        __atomic_fetch_sub(&watched->busy, 1, __ATOMIC_SEQ_CST);
    } else {
        pass_on(number, info, context);
    }
    errno = kept;
}

void otlpfast_cpu_tick(otlpfast_watched *watched) {
    sigset_t ours, kept;
    sigemptyset(&ours);
    sigaddset(&ours, SIGPROF);
    if (pthread_sigmask(SIG_BLOCK, &ours, &kept)) return;
    take_sample(watched, 1);
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
}

/* Timers. Glibc's own calls would do, but before 2.34 in a library of their own. */

/* How Linux names the CPU clock of a thread. */
static clockid_t clock_of(const otlpfast_watched *watched) {
    return (clockid_t)(~(unsigned)watched->tid << 3 | 6);
}

static uint64_t read_clock(clockid_t clock) {
    struct timespec now;
    return clock_gettime(clock, &now) ? 0 : (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int make_timer(otlpfast_watched *watched) {
    uint64_t place = (uint64_t)(watched - otlpfast_threads);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
    event.sigev_value.sival_ptr = (void *)(uintptr_t)(MARK | place << 32 | watched->serial);
    event.sigev_notify_thread_id = watched->tid;
    if (syscall(SYS_timer_create, clock_of(watched), &event, &watched->timer) < 0) return -1;
    /* The first tick comes anywhere in a period: of threads too short for one, as many get one as should. */
    chance = chance * 6364136223846793005ULL + 1442695040888963407ULL;
    uint64_t first = 1 + (chance >> 11) % period;
    watched->first = first;
    watched->begin = read_clock(clock_of(watched));
    struct itimerspec times = {
        {(time_t)(period / 1000000000), (long)(period % 1000000000)},
        {(time_t)(first / 1000000000), (long)(first % 1000000000)},
    };
    if (syscall(SYS_timer_settime, watched->timer, 0, &times, NULL) == 0) return 0;
    int error = errno;
    syscall(SYS_timer_delete, watched->timer);
    errno = error;
    return -1;
}

static int tid_of(const PyThreadState *thread) {
#if PY_VERSION_HEX >= 0x030B0000
    return (int)thread->native_thread_id;
#else
    clockid_t clock;
    _Alignas(64) char around[1024]; /* more than glibc looks at; a thread that ended without telling Python has it no more */
    if (!otlpfast_peek(around, (void *)thread->thread_id, sizeof around)) return 0;
    return pthread_getcpuclockid((pthread_t)around, &clock) ? 0 : (int)~(clock >> 3);
#endif
}

otlpfast_watched *otlpfast_cpu_find(const PyThreadState *thread) {
    for (uint32_t i = 0; i < otlpfast_in_use; i++) {
        uint32_t at = (hint + i) % otlpfast_in_use;
        if (otlpfast_threads[at].serial && otlpfast_threads[at].state == thread->id) {
            hint = at + 1; /* the list of threads is walked in the same order each time */
            return &otlpfast_threads[at];
        }
    }
    return NULL;
}

int otlpfast_cpu_has_moved(const otlpfast_watched *watched, const PyThreadState *thread) {
    return watched->tid != tid_of(thread);
}

otlpfast_watched *otlpfast_cpu_find_other(const PyThreadState *thread) {
    const int tid = tid_of(thread);
    for (uint32_t at = 0; at < otlpfast_in_use; at++) {
        otlpfast_watched *watched = &otlpfast_threads[at];
        if (watched->serial && watched->tid == tid && watched->state != thread->id) return watched;
    }
    return NULL;
}

static otlpfast_watched *find_free(void) {
    for (uint32_t at = 0; at < OTLPFAST_THREADS; at++) {
        otlpfast_watched *watched = &otlpfast_threads[at];
        if (watched->ring == NULL && !__atomic_load_n(&watched->busy, __ATOMIC_SEQ_CST)) {
            if (at >= otlpfast_in_use) otlpfast_in_use = at + 1;
            return watched;
        }
    }
    errno = EAGAIN;
    return NULL;
}

otlpfast_watched *otlpfast_cpu_watch(PyThreadState *thread) {
    if (getpid() != owner) {
        errno = ESRCH;
        return NULL;
    }
    otlpfast_watched *watched = otlpfast_cpu_find(thread);
    if (watched == NULL) {
        int tid = tid_of(thread);
        if (tid <= 0 || otlpfast_cpu_find_other(thread) != NULL) {
            errno = ESRCH;
            return NULL;
        }
        if ((watched = find_free()) == NULL) return NULL;
        void *ring = mmap(NULL, sizeof *watched->ring, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (ring == MAP_FAILED) return NULL;
        watched->ring = ring;
        watched->state = thread->id;
        watched->ident = thread->thread_id;
        watched->tid = tid;
        watched->name = watched->labels = 0;
        watched->lost = watched->taken = 0;
        __atomic_store_n(&watched->serial, ++serials ? serials : ++serials, __ATOMIC_SEQ_CST);
        if (make_timer(watched) < 0) {
            watched->timer = -1;
            int error = errno;
            otlpfast_cpu_unwatch(watched);
            otlpfast_cpu_free(watched);
            errno = error;
            return NULL;
        }
    }
    watched->turn = turn;
    return watched;
}

/* A fork that takes longer than a period would never end on older kernels, which begin it anew at each signal. */
void otlpfast_cpu_pause(PyThreadState *thread, int paused) {
    const otlpfast_watched *watched = getpid() == owner ? otlpfast_cpu_find(thread) : NULL;
    struct itimerspec times = {{0, 0}, {0, 0}};
    if (watched == NULL || watched->timer < 0) return;
    if (!paused) {
        times.it_interval.tv_sec = (time_t)(period / 1000000000);
        times.it_interval.tv_nsec = (long)(period % 1000000000);
        times.it_value = times.it_interval;
    }
    syscall(SYS_timer_settime, watched->timer, 0, &times, NULL);
}

void otlpfast_cpu_turn(void) {
    turn++;
    hint = 0;
}

int otlpfast_cpu_is_over(const otlpfast_watched *watched) {
    return watched->serial != 0 && watched->turn != turn;
}

/* A handler that saw the serial before it was 0 is on its way. */
static void wait_for_handler(const otlpfast_watched *watched) {
    const struct timespec moment = {0, 20000};
    while (__atomic_load_n(&watched->busy, __ATOMIC_SEQ_CST)) nanosleep(&moment, NULL);
}

uint32_t otlpfast_cpu_unwatch(otlpfast_watched *watched) {
    if (watched->serial == 0) return 0;
    uint64_t used = read_clock(clock_of(watched)) - watched->begin;
    __atomic_store_n(&watched->serial, 0, __ATOMIC_SEQ_CST);
    wait_for_handler(watched);
    if (watched->timer < 0) return 0;
    syscall(SYS_timer_delete, watched->timer);
    uint64_t taken = watched->taken;
    if ((int64_t)used < (int64_t)watched->first) return 0; /* also if the thread, and its clock, are gone */
    uint64_t due = (used - watched->first) / period + 1;
    return due > taken && due - taken < TAKEN ? (uint32_t)(due - taken) : 0;
}

void otlpfast_cpu_free(otlpfast_watched *watched) {
    wait_for_handler(watched);
    munmap(watched->ring, sizeof *watched->ring);
    watched->ring = NULL;
}

/* Starting and stopping. */

int otlpfast_cpu_probe(void) {
    struct sigaction now;
    if (!otlpfast_can_peek()) return EPERM;
    if (sigaction(SIGPROF, NULL, &now) < 0) return errno;
    /* Someone took the signal while we had it, and may hand it on to us: we would hand it back. */
    return is_installed && now.sa_sigaction != on_signal ? EBUSY : 0;
}

int otlpfast_cpu_start(uint64_t period_, int with_labels) {
    struct sigaction ours = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    struct timespec now;
    int error = otlpfast_cpu_probe();
    if (error) return error;
    clock_gettime(CLOCK_MONOTONIC, &now);
    chance ^= (uint64_t)now.tv_nsec << 32 ^ (uint64_t)getpid();
    interpreter = PyInterpreterState_Get();
    owner = getpid();
    period = period_;
    reads_labels = with_labels;
    /* A handler of others that jumped out of ours would leave it at work for ever. */
    sigfillset(&ours.sa_mask);
    sigdelset(&ours.sa_mask, SIGSEGV), sigdelset(&ours.sa_mask, SIGBUS);
    sigdelset(&ours.sa_mask, SIGILL), sigdelset(&ours.sa_mask, SIGFPE);
    if (is_installed) return 0;
    if (sigaction(SIGPROF, NULL, &before) < 0 || sigaction(SIGPROF, &ours, NULL) < 0) return errno;
    is_installed = 1;
    return 0;
}

static void restore_signal(void) {
    struct sigaction now, ignoring = {.sa_handler = SIG_IGN};
    if (!is_installed || sigaction(SIGPROF, NULL, &now) < 0 || now.sa_sigaction != on_signal) return;
    /* A tick that waits for a thread to run would kill the process, were it to meet the default action. Ignoring a
     * signal discards it wherever it is pending, and the timers are gone. */
    sigaction(SIGPROF, &ignoring, NULL);
    sigaction(SIGPROF, &before, NULL);
    is_installed = 0;
}

int otlpfast_cpu_stop(void) {
    for (uint32_t at = 0; at < otlpfast_in_use; at++) wait_for_handler(&otlpfast_threads[at]);
    restore_signal();
    return !is_installed;
}

void otlpfast_cpu_forget(void) {
    for (uint32_t at = 0; at < otlpfast_in_use; at++) {
        otlpfast_watched *watched = &otlpfast_threads[at];
        watched->serial = watched->busy = 0;
        if (watched->ring != NULL) otlpfast_cpu_free(watched);
    }
    otlpfast_in_use = 0;
    restore_signal();
}

/* Reading. */

const otlpfast_sample *otlpfast_cpu_next(otlpfast_watched *watched, uint32_t *ticks) {
    otlpfast_ring *ring = watched->ring;
    if (ring == NULL) return NULL;
    __atomic_store_n(&ring->tail, ring->reading, __ATOMIC_RELEASE);
    while (ring->reading != __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE)) {
        otlpfast_sample *sample = (otlpfast_sample *)(ring->bytes + ring->reading % RING);
        ring->reading += sample->size;
        if (sample->depth == OTLPFAST_UNUSED) continue;
        *ticks = __atomic_exchange_n(&sample->ticks, TAKEN, __ATOMIC_ACQ_REL);
        return sample;
    }
    return NULL;
}

const otlpfast_sample *otlpfast_cpu_last(const otlpfast_watched *watched) {
    return watched->ring != NULL ? watched->ring->last : NULL;
}

int otlpfast_cpu_has_next(const otlpfast_watched *watched) {
    const otlpfast_ring *ring = watched->ring;
    return ring != NULL && ring->reading != __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
}

uint64_t otlpfast_cpu_written(void) {
    return __atomic_load_n(&written, __ATOMIC_ACQUIRE);
}
#else
int otlpfast_cpu_probe(void) {
    return ENOSYS;
}

int otlpfast_cpu_start(uint64_t period, int with_labels) {
    (void)period, (void)with_labels;
    return ENOSYS;
}

int otlpfast_cpu_stop(void) {
    return 1;
}

void otlpfast_cpu_forget(void) {}

otlpfast_watched *otlpfast_cpu_find(const PyThreadState *thread) {
    (void)thread;
    return NULL;
}

otlpfast_watched *otlpfast_cpu_watch(PyThreadState *thread) {
    (void)thread;
    return NULL;
}

void otlpfast_cpu_pause(PyThreadState *thread, int paused) {
    (void)thread, (void)paused;
}

void otlpfast_cpu_turn(void) {}

int otlpfast_cpu_is_over(const otlpfast_watched *watched) {
    (void)watched;
    return 0;
}

uint32_t otlpfast_cpu_unwatch(otlpfast_watched *watched) {
    (void)watched;
    return 0;
}

void otlpfast_cpu_free(otlpfast_watched *watched) {
    (void)watched;
}

void otlpfast_cpu_tick(otlpfast_watched *watched) {
    (void)watched;
}

const otlpfast_sample *otlpfast_cpu_next(otlpfast_watched *watched, uint32_t *ticks) {
    (void)watched, (void)ticks;
    return NULL;
}

const otlpfast_sample *otlpfast_cpu_last(const otlpfast_watched *watched) {
    (void)watched;
    return NULL;
}

int otlpfast_cpu_has_moved(const otlpfast_watched *watched, const PyThreadState *thread) {
    (void)watched, (void)thread;
    return 0;
}

otlpfast_watched *otlpfast_cpu_find_other(const PyThreadState *thread) {
    (void)thread;
    return NULL;
}

int otlpfast_cpu_has_next(const otlpfast_watched *watched) {
    (void)watched;
    return 0;
}

uint64_t otlpfast_cpu_written(void) {
    return 0;
}
#endif
