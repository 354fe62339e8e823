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
    glance->counts[glance->turn] = 0;
    glance->next = 0;
}

/* The copy that was made beforehand, or NULL. What is read twice was fetched twice, in that order. */
static const void *find(otlpfast_glance *glance, const char *from, size_t size) {
    const otlpfast_region *before = glance->regions[!glance->turn];
    for (int i = glance->next; i < glance->counts[!glance->turn]; i++)
        if (before[i].from == from && before[i].size == size) {
            glance->next = i + 1;
            return glance->copies + before[i].at;
        }
    return NULL;
}

static void note(otlpfast_glance *glance, const char *from, size_t size) {
    int *count = &glance->counts[glance->turn];
    otlpfast_region *now = glance->regions[glance->turn];
    uint32_t at = *count ? now[*count - 1].at + now[*count - 1].size : 0;
    if (*count < OTLPFAST_REGIONS && at + size <= AT_ONCE)
        now[(*count)++] = (otlpfast_region){from, (uint32_t)size, at};
}

const void *otlpfast_see(otlpfast_glance *glance, const void *from, size_t size) {
    const size_t word = sizeof(void *);
    unsigned char *copy = glance->copies + glance->used;
    const void *found;
    if (from == NULL || (uintptr_t)from % word || size > OTLPFAST_GLANCE_ROOM) return NULL; /* no object is there */
    size = (size + word - 1) / word * word; /* so that copies are aligned; never reaches another page */
    found = find(glance, from, size);
    if (found == NULL) {
        if (size > OTLPFAST_GLANCE_ROOM - glance->used || !otlpfast_peek(copy, from, size)) return NULL;
        glance->used += (uint32_t)size;
        found = copy;
    }
    note(glance, from, size);
    return found;
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
    const otlpfast_region regions[] = {{field, (uint32_t)word, 0}, {from, (uint32_t)size, 0}, {field, (uint32_t)word, 0}};
    unsigned char *copy = glance->copies + glance->used;
    size_t whole = size + 2 * word;
    if (size > OTLPFAST_GLANCE_ROOM || whole + word > OTLPFAST_GLANCE_ROOM - glance->used) return NULL;
    if (peek_all(copy, whole, regions, 3) != whole) return NULL;
    glance->used += (uint32_t)((whole + word - 1) / word * word);
    return memcmp(copy, &held, word) || memcmp(copy + word + size, &held, word) ? NULL : copy + word;
}
