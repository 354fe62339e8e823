#define Py_BUILD_CORE 1
#include "insides.h"

#include "internal/pycore_context.h"
#if PY_VERSION_HEX >= 0x030B0000
#  include "internal/pycore_dict.h"
#endif
#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030D0000
#  include "internal/pycore_object.h"
#endif
#include <string.h>

enum {
    MOST_ENTRIES = 4096, /* of a dict are looked through; a thread has one for each threading.local */
    ENTRIES = 16,        /* at a time */
    MOST_BASES = 8,
    MOST_COLLIDING = 16,
    MAP_DEPTH = 8,
};

/* --- objects and types */

int otlpfast_see_type(otlpfast_glance *glance, const PyObject *object, PyTypeObject **type) {
    const PyObject *head = otlpfast_see(glance, object, sizeof *head);
    if (head == NULL) return 0;
    *type = head->ob_type;
    return 1;
}

int otlpfast_see_base(otlpfast_glance *glance, const PyTypeObject *type, const PyTypeObject *base) {
    for (int i = 0; i < MOST_BASES && type != NULL; i++) {
        if (type == base) return 1;
        PyTypeObject *const *above = otlpfast_see(glance, &type->tp_base, sizeof *above);
        type = above == NULL ? NULL : *above;
    }
    return 0;
}

static int see_pointer(otlpfast_glance *glance, const void *field, PyObject **value) {
    PyObject *const *seen = otlpfast_see(glance, field, sizeof *seen);
    if (seen == NULL || *seen == NULL) return 0;
    *value = *seen;
    return 1;
}

/* --- dicts */

#if PY_VERSION_HEX >= 0x030B0000
typedef PyDictKeysObject keys_head;
static inline size_t entries_offset(const keys_head *keys) {
    return offsetof(PyDictKeysObject, dk_indices) + ((size_t)1 << (keys->dk_log2_index_bytes & 31));
}
static inline size_t entry_size(const keys_head *keys) {
    return keys->dk_kind == DICT_KEYS_GENERAL ? sizeof(PyDictKeyEntry) : sizeof(PyDictUnicodeEntry);
}
static inline PyObject *const *value_field(const PyDictValues *values, Py_ssize_t index) {
    return (PyObject *const *)((const char *)values + offsetof(PyDictValues, values)) + index;
}
#else
typedef struct { /* as in CPython's own Objects/dict-common.h */
    Py_ssize_t dk_refcnt, dk_size;
    void *dk_lookup;
    Py_ssize_t dk_usable, dk_nentries;
} keys_head;
static inline size_t entries_offset(const keys_head *keys) {
    size_t size = (size_t)keys->dk_size;
    return sizeof(keys_head) + size * (size <= 0xff ? 1 : size <= 0xffff ? 2 : size <= 0xffffffff ? 4 : 8);
}
static inline size_t entry_size(const keys_head *keys) {
    (void)keys;
    return sizeof(Py_hash_t) + 2 * sizeof(PyObject *);
}
static inline PyObject *const *value_field(PyObject *const *values, Py_ssize_t index) {
    return values + index;
}
#endif

/* Which entry has that very key, -1 if none; its value, and where that is: an entry's last fields. */
static Py_ssize_t find_entry(
    otlpfast_glance *glance, const void *keys, const PyObject *key, PyObject *const **field, PyObject **value
) {
    size_t seen, size, offset;
    const char *copy = otlpfast_see_most(glance, keys, sizeof(keys_head), 256, &seen);
    const keys_head *head = (const keys_head *)copy;
    if (head == NULL || head->dk_nentries < 0 || head->dk_nentries > MOST_ENTRIES) return -1;
    size = entry_size(head);
    offset = entries_offset(head);
    for (Py_ssize_t first = 0; first < head->dk_nentries; first += ENTRIES, offset += ENTRIES * size) {
        Py_ssize_t count = head->dk_nentries - first < ENTRIES ? head->dk_nentries - first : ENTRIES;
        const char *entries = offset + (size_t)count * size <= seen
            ? copy + offset : otlpfast_see(glance, (const char *)keys + offset, (size_t)count * size);
        if (entries == NULL) return -1;
        for (Py_ssize_t i = 0; i < count; i++) {
            size_t end = (size_t)(i + 1) * size;
            PyObject *const *last = (PyObject *const *)(entries + end) - 1;
            if (last[-1] != key) continue;
            *value = last[0];
            *field = (PyObject *const *)((const char *)keys + offset + end) - 1;
            return first + i;
        }
    }
    return -1;
}

static int find_item(
    otlpfast_glance *glance, const PyObject *dict, const PyTypeObject *type, const PyObject *key,
    PyObject *const **field, PyObject **value
) {
    const PyDictObject *head = otlpfast_see(glance, dict, sizeof *head);
    if (head == NULL || head->ob_base.ob_type != type || head->ma_used <= 0) return 0;
    Py_ssize_t index = find_entry(glance, head->ma_keys, key, field, value);
    if (index < 0 || head->ma_values == NULL) return index >= 0 && *value != NULL;
    *field = value_field(head->ma_values, index);
    return see_pointer(glance, *field, value);
}

int otlpfast_see_item(
    otlpfast_glance *glance, const PyObject *dict, const PyTypeObject *type, const PyObject *key,
    PyObject **value
) {
    PyObject *const *field;
    return find_item(glance, dict, type, key, &field, value);
}

/* --- attributes */

/* Where an instance keeps its __dict__; NULL if it has none, or at a place that is not fixed. */
static const void *dict_field(const PyObject *object, const PyTypeObject *type) {
#if PY_VERSION_HEX >= 0x030B0000
    if (type->tp_flags & Py_TPFLAGS_MANAGED_DICT) return (const char *)object - 3 * sizeof(PyObject *);
#endif
    return type->tp_dictoffset > 0 ? (const char *)object + type->tp_dictoffset : NULL;
}

/* Where it keeps the values that are in no dict, if it does. */
#if PY_VERSION_HEX >= 0x030D0000
static const PyDictValues *values_of(
    otlpfast_glance *glance, const PyObject *object, const PyTypeObject *type
) {
    const void *inside = (const char *)object + type->tp_basicsize;
    if (!(type->tp_flags & Py_TPFLAGS_INLINE_VALUES)) return NULL;
    const PyDictValues *head = otlpfast_see(glance, inside, sizeof *head);
    return head != NULL && head->valid ? inside : NULL;
}
#elif PY_VERSION_HEX >= 0x030C0000
static const PyDictValues *values_of(
    otlpfast_glance *glance, const PyObject *object, const PyTypeObject *type
) {
    if (!(type->tp_flags & Py_TPFLAGS_MANAGED_DICT)) return NULL;
    const PyDictOrValues *either = otlpfast_see(glance, dict_field(object, type), sizeof *either);
    return either != NULL && _PyDictOrValues_IsValues(*either) ? _PyDictOrValues_GetValues(*either) : NULL;
}
#elif PY_VERSION_HEX >= 0x030B0000
static const PyDictValues *values_of(
    otlpfast_glance *glance, const PyObject *object, const PyTypeObject *type
) {
    PyObject *values;
    if (!(type->tp_flags & Py_TPFLAGS_MANAGED_DICT)) return NULL;
    if (!see_pointer(glance, (PyObject *const *)object - 4, &values)) return NULL;
    return (const PyDictValues *)values;
}
#endif

int otlpfast_see_attribute(
    otlpfast_glance *glance, const PyObject *object, const PyObject *name, PyObject *const **field,
    PyObject **value
) {
    PyTypeObject *type;
    PyObject *own;
    if (!otlpfast_see_type(glance, object, &type)) return 0;
    const PyHeapTypeObject *heap = otlpfast_see(glance, type, sizeof *heap);
    if (heap == NULL || !(heap->ht_type.tp_flags & Py_TPFLAGS_HEAPTYPE)) return 0;
#if PY_VERSION_HEX >= 0x030B0000
    const PyDictValues *values = values_of(glance, object, &heap->ht_type);
    if (values != NULL) {
        Py_ssize_t index = find_entry(glance, heap->ht_cached_keys, name, field, value);
        if (index >= 0) *field = value_field(values, index);
        return index >= 0 && see_pointer(glance, *field, value);
    }
#endif
    return see_pointer(glance, dict_field(object, &heap->ht_type), &own)
        && find_item(glance, own, &PyDict_Type, name, field, value);
}

/* --- contexts: a tree, by five bits of the hash a level; see "hash array mapped trie" */

typedef struct { /* these as in CPython's own Python/hamt.c */
    PyObject_VAR_HEAD
    uint32_t bits;
    PyObject *pairs[];
} bitmap_node;
typedef struct {
    PyObject_HEAD
    PyObject *children[32];
} array_node;
typedef struct {
    PyObject_VAR_HEAD
    int32_t hash;
    PyObject *pairs[];
} collision_node;

static int see_pair(otlpfast_glance *glance, const void *pair, PyObject **key, PyObject **value) {
    PyObject *const *seen = otlpfast_see(glance, pair, 2 * sizeof *seen);
    if (seen == NULL) return 0;
    *key = seen[0], *value = seen[1];
    return *value != NULL;
}

static int see_colliding(
    otlpfast_glance *glance, const collision_node *node, Py_ssize_t words, const PyObject *variable,
    PyObject **value
) {
    PyObject *key;
    for (Py_ssize_t i = 0; i + 1 < words && i < 2 * MOST_COLLIDING; i += 2)
        if (see_pair(glance, &node->pairs[i], &key, value) && key == variable) return 1;
    return 0;
}

static int see_in_map(
    otlpfast_glance *glance, const void *node, const otlpfast_map_types *types, const PyObject *variable,
    uint32_t hash, PyObject **value
) {
    PyObject *key;
    for (int depth = 0; depth < MAP_DEPTH; depth++, hash >>= 5) {
        const bitmap_node *head = otlpfast_see(glance, node, sizeof *head);
        if (head == NULL) return 0;
        PyTypeObject *type = head->ob_base.ob_base.ob_type;
        if (type == types->collision)
            return see_colliding(glance, node, head->ob_base.ob_size, variable, value);
        if (type == types->array) {
            if (!see_pointer(glance, &((const array_node *)node)->children[hash & 31], value)) return 0;
        } else if (type == types->bitmap) {
            uint32_t bit = (uint32_t)1 << (hash & 31);
            int before = __builtin_popcount(head->bits & (bit - 1));
            if (!(head->bits & bit)) return 0;
            if (!see_pair(glance, &((const bitmap_node *)node)->pairs[2 * before], &key, value)) return 0;
            if (key != NULL) return key == variable;
        } else {
            return 0;
        }
        node = *value;
    }
    return 0;
}

int otlpfast_see_variable(
    otlpfast_glance *glance, const PyObject *context, const otlpfast_map_types *types,
    const PyObject *variable, Py_hash_t hash, PyObject **value
) {
    const PyContext *head = otlpfast_see(glance, context, sizeof *head);
    if (head == NULL || head->ob_base.ob_type != &PyContext_Type) return 0;
    const PyHamtObject *map = otlpfast_see(glance, head->ctx_vars, sizeof *map);
    if (map == NULL || map->ob_base.ob_type != types->map) return 0;
#if SIZEOF_PY_HASH_T > 4
    uint32_t folded = (uint32_t)hash ^ (uint32_t)((uint64_t)hash >> 32);
    if (folded == (uint32_t)-1) folded = (uint32_t)-2;
#else
    uint32_t folded = (uint32_t)hash;
#endif
    return see_in_map(glance, map->h_root, types, variable, folded, value);
}
