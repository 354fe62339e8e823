/* What is inside Python's own objects, by glances alone: they may be gone, or half changed.
 *
 * insides.c and texts.c alone know how CPython lays them out, for each version they are compiled with. All
 * answer 1 and give what was found, or answer 0: there is none, or it can't be told. Whether there still is
 * an object where they say so is for the next of them to see. */
#ifndef OTLPFAST_INSIDES_H
#define OTLPFAST_INSIDES_H

#include <Python.h>
#include "_sampler/glance.h"

enum { OTLPFAST_TEXT = 128 };

/* The classes of a context's variables: CPython does not export them. */
typedef struct {
    PyTypeObject *map, *bitmap, *array, *collision;
} otlpfast_map_types;

/* The type of an object. */
int otlpfast_see_type(otlpfast_glance *glance, const PyObject *object, PyTypeObject **type);

/* Whether a type is a base, or one of the next few classes above it. */
int otlpfast_see_base(otlpfast_glance *glance, const PyTypeObject *type, const PyTypeObject *base);

/* The value of that very key in a dict of that very type. */
int otlpfast_see_item(
    otlpfast_glance *glance, const PyObject *dict, const PyTypeObject *type, const PyObject *key,
    PyObject **value
);

/* An attribute of an instance of a class written in Python, and the field it is in; the name is interned. */
int otlpfast_see_attribute(
    otlpfast_glance *glance, const PyObject *object, const PyObject *name, PyObject *const **field,
    PyObject **value
);

/* The value of a variable in a context; the hash is the variable's own. */
int otlpfast_see_variable(
    otlpfast_glance *glance, const PyObject *context, const otlpfast_map_types *types,
    const PyObject *variable, Py_hash_t hash, PyObject **value
);

/* An int that is not negative, as big-endian bytes. */
int otlpfast_see_number(otlpfast_glance *glance, const PyObject *number, uint8_t *bytes, int size);

/* The str that a field of an object holds, as UTF-8 with a 0 at its end; what is too long ends in "…". */
int otlpfast_see_text(otlpfast_glance *glance, PyObject *const *field, char text[OTLPFAST_TEXT]);

#endif
