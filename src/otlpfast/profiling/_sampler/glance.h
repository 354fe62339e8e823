/* What one sample reads of memory that may be gone, or half changed.
 *
 * A sample reads much of what the one before it read. All that is fetched beforehand with one system call,
 * anew each time, since addresses alone say nothing: memory is used again. */
#ifndef OTLPFAST_GLANCE_H
#define OTLPFAST_GLANCE_H

#include <stddef.h>
#include <stdint.h>

enum {
    OTLPFAST_REGIONS = 48,        /* as many are fetched at once */
    OTLPFAST_GLANCE_ROOM = 16384, /* as many bytes are read for one sample */
};

typedef struct {
    const char *from;
    uint32_t size;
    uint32_t at; /* of the copy */
} otlpfast_region;

/* One for each thread; all zero at first. */
typedef struct {
    otlpfast_region regions[2][OTLPFAST_REGIONS]; /* of the sample before, and of this one: in turn */
    int counts[2], turn;
    int next;      /* region of the sample before that is likely to be asked for */
    uint32_t size; /* of the regions of this sample */
    uint32_t used; /* of the copies */
    _Alignas(16) unsigned char copies[OTLPFAST_GLANCE_ROOM];
} otlpfast_glance;

/* Begins a sample. Async-signal-safe as all here, but for errno, which the caller keeps. */
void otlpfast_look(otlpfast_glance *glance);

/* A copy of that memory, valid until the sample ends; NULL where it can't be read, or is too much. */
const void *otlpfast_see(otlpfast_glance *glance, const void *from, size_t size);

/* At most so many bytes from there on can be read for sure, if the first `least` can. */
size_t otlpfast_sure(const void *from, size_t least, size_t most);

/* A copy of that many bytes, *seen of them. */
const void *otlpfast_see_most(
    otlpfast_glance *glance, const void *from, size_t least, size_t most, size_t *seen
);

/* A copy of what another thread may free at any time; NULL unless a field held it both before and after. */
const void *otlpfast_see_held(
    otlpfast_glance *glance, const void *from, size_t size, const void *field, const void *held
);

#endif
