#define _GNU_SOURCE 1 /* process_vm_readv() */
#include "glance.h"
#include "peek.h"

#include <string.h>

enum {
    AT_ONCE = OTLPFAST_GLANCE_ROOM / 2, /* the other half is for what turns out to be read besides */
    PAGE = 4096,                        /* none is smaller */
};

#ifdef __linux__
/* How many bytes of these regions, one after the other, could be read. */
static size_t peek_all(void *to, size_t size, const otlpfast_region *regions, int count) {
    struct iovec here = {to, size}, there[OTLPFAST_REGIONS];
    for (int i = 0; i < count; i++) {
        there[i].iov_base = (void *)regions[i].from;
        there[i].iov_len = regions[i].size;
    }
    ssize_t done = process_vm_readv(getpid(), &here, 1, there, (unsigned long)count, 0);
    return done < 0 ? 0 : (size_t)done;
}
#else
static size_t peek_all(void *to, size_t size, const otlpfast_region *regions, int count) {
    (void)to, (void)size, (void)regions, (void)count;
    return 0;
}
#endif

void otlpfast_look(otlpfast_glance *glance) {
    otlpfast_region *before = glance->regions[glance->turn];
    int count = glance->counts[glance->turn];
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        before[i].at = (uint32_t)size;
        size += before[i].size;
    }
    glance->used = (uint32_t)size;
    if (count) size = peek_all(glance->copies, size, before, count);
    while (count && before[count - 1].at + before[count - 1].size > size) count--;
    glance->counts[glance->turn] = count;
    glance->turn = !glance->turn;
    glance->counts[glance->turn] = glance->next = 0;
    glance->size = 0;
}

static const otlpfast_region *find(const otlpfast_region *regions, int count, const char *from, size_t size) {
    for (int i = 0; i < count; i++)
        if (regions[i].from == from && regions[i].size == size) return &regions[i];
    return NULL;
}

static void note(otlpfast_glance *glance, const char *from, size_t size, size_t at) {
    int *count = &glance->counts[glance->turn];
    if (*count == OTLPFAST_REGIONS || glance->size + size > AT_ONCE) return;
    glance->regions[glance->turn][(*count)++] = (otlpfast_region){from, (uint32_t)size, (uint32_t)at};
    glance->size += (uint32_t)size;
}

const void *otlpfast_see(otlpfast_glance *glance, const void *from, size_t size) {
    const size_t word = sizeof(void *);
    const otlpfast_region *now = glance->regions[glance->turn], *found;
    const otlpfast_region *before = glance->regions[!glance->turn];
    if (from == NULL || (uintptr_t)from % word || size > OTLPFAST_GLANCE_ROOM) return NULL; /* no object's */
    size = (size + word - 1) / word * word; /* so that copies are aligned; never reaches another page */
    found = find(now, glance->counts[glance->turn], from, size);
    if (found != NULL) return glance->copies + found->at;
    found = find(before + glance->next, glance->counts[!glance->turn] - glance->next, from, size);
    if (found != NULL) {
        glance->next = (int)(found - before) + 1; /* where the next one is likely to be */
        note(glance, from, size, found->at);
        return glance->copies + found->at;
    }
    size_t at = glance->used;
    if (size > OTLPFAST_GLANCE_ROOM - at || !otlpfast_peek(glance->copies + at, from, size)) return NULL;
    glance->used += (uint32_t)size;
    note(glance, from, size, at);
    return glance->copies + at;
}

size_t otlpfast_sure(const void *from, size_t least, size_t most) {
    size_t page = PAGE - (uintptr_t)from % PAGE;
    return most <= page ? most : least > page ? least : page;
}

const void *otlpfast_see_most(
    otlpfast_glance *glance, const void *from, size_t least, size_t most, size_t *seen
) {
    *seen = otlpfast_sure(from, least, most);
    return otlpfast_see(glance, from, *seen);
}

const void *otlpfast_see_held(
    otlpfast_glance *glance, const void *from, size_t size, const void *field, const void *held
) {
    const size_t word = sizeof held;
    const otlpfast_region twice = {field, (uint32_t)word, 0};
    const otlpfast_region regions[] = {twice, {from, (uint32_t)size, 0}, twice};
    unsigned char *copy = glance->copies + glance->used;
    size_t whole = size + 2 * word;
    if (size > OTLPFAST_GLANCE_ROOM || whole + word > OTLPFAST_GLANCE_ROOM - glance->used) return NULL;
    if (peek_all(copy, whole, regions, 3) != whole) return NULL;
    glance->used += (uint32_t)((whole + word - 1) / word * word);
    return memcmp(copy, &held, word) || memcmp(copy + word + size, &held, word) ? NULL : copy + word;
}
