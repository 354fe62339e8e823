#include "insides.h"

#include <string.h>

#if PY_VERSION_HEX >= 0x030C0000
#  define DIGITS offsetof(PyLongObject, long_value.ob_digit)
#  define COUNT(number) ((size_t)((number)->long_value.lv_tag >> 3))
#  define IS_NEGATIVE(number) (((number)->long_value.lv_tag & 3) == 2)
#else
#  define DIGITS offsetof(PyLongObject, ob_digit)
#  define COUNT(number) ((size_t)Py_SIZE(number))
#  define IS_NEGATIVE(number) (Py_SIZE(number) < 0)
#endif

int otlpfast_see_number(otlpfast_glance *glance, const PyObject *number, uint8_t *bytes, int size) {
    size_t seen, count;
    uint64_t pending = 0;
    int bits = 0, at = size;
    const PyLongObject *head = otlpfast_see_most(glance, number, sizeof *head, 64, &seen);
    if (head == NULL || ((const PyObject *)head)->ob_type != &PyLong_Type || IS_NEGATIVE(head)) return 0;
    count = COUNT(head);
    if (count > ((size_t)size * 8 + PyLong_SHIFT - 1) / PyLong_SHIFT) return 0;
    const char *copy = DIGITS + count * sizeof(digit) <= seen
        ? (const char *)head : otlpfast_see(glance, number, DIGITS + count * sizeof(digit));
    if (copy == NULL) return 0;
    for (size_t i = 0; i < count; i++, bits += PyLong_SHIFT) {
        for (; bits >= 8; bits -= 8, pending >>= 8) bytes[--at] = (uint8_t)pending;
        pending |= (uint64_t)((const digit *)(copy + DIGITS))[i] << bits;
    }
    for (; pending && at; pending >>= 8) bytes[--at] = (uint8_t)pending;
    memset(bytes, 0, (size_t)at);
    return pending == 0;
}

/* A character as UTF-8; half a surrogate pair becomes U+FFFD. */
static int put(char *to, uint32_t c) {
    if (c >= 0xD800 && c <= 0xDFFF) c = 0xFFFD;
    static const uint8_t leads[] = {0, 0xC0, 0xE0, 0xF0};
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    to[0] = (char)(leads[more] | (c >> (6 * more) & 0x7F));
    for (int i = 1; i <= more; i++) to[i] = (char)(0x80 | (c >> (6 * (more - i)) & 0x3F));
    return more + 1;
}

static void put_all(char *text, const void *characters, int kind, size_t count) {
    static const char more[] = "\xE2\x80\xA6";
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (used + 4 + sizeof more > OTLPFAST_TEXT) {
            memcpy(text + used, more, sizeof more);
            return;
        }
        used += (size_t)put(
            text + used, kind == 1 ? ((const uint8_t *)characters)[i]
                : kind == 2 ? ((const uint16_t *)characters)[i] : ((const uint32_t *)characters)[i]
        );
    }
    text[used] = 0;
}

/* Where the characters of a str are, whose type need not be str itself; NULL if it is none. */
static const char *characters_of(otlpfast_glance *glance, const PyObject *string, const PyASCIIObject *head) {
    const char *at = (const char *)string;
    const PyTypeObject *type = head->ob_base.ob_type;
    if (type != &PyUnicode_Type) {
        const unsigned long *flags = otlpfast_see(glance, &type->tp_flags, sizeof *flags);
        if (flags == NULL || !(*flags & Py_TPFLAGS_UNICODE_SUBCLASS)) return NULL;
    }
    if (head->state.compact)
        return at + (head->state.ascii ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject));
    const char *const *data = otlpfast_see(glance, at + offsetof(PyUnicodeObject, data), sizeof *data);
    return data == NULL ? NULL : *data;
}

int otlpfast_see_text(otlpfast_glance *glance, PyObject *const *field, char text[OTLPFAST_TEXT]) {
    PyObject *const *held = otlpfast_see(glance, field, sizeof *held);
    text[0] = 0;
    if (held == NULL || *held == NULL) return 0;
    const char *string = (const char *)*held;
    size_t seen = otlpfast_sure(string, sizeof(PyASCIIObject), sizeof(PyASCIIObject) + 64);
    /* Where this thread has not the GIL, another one may put something else there. */
    const PyASCIIObject *head = otlpfast_see_held(glance, string, seen, field, string);
    if (head == NULL || head->length < 0) return 0;
    int kind = (int)head->state.kind;
    if (kind != 1 && kind != 2 && kind != 4) return 0;
    const char *at = characters_of(glance, (const PyObject *)string, head);
    if (at == NULL) return 0;
    size_t count = head->length < OTLPFAST_TEXT ? (size_t)head->length : OTLPFAST_TEXT;
    size_t start = (size_t)(at - string), size = count * (size_t)kind;
    const void *characters = start < seen && start + size <= seen
        ? (const char *)head + start : otlpfast_see_held(glance, at, size, field, string);
    if (characters == NULL) return 0;
    put_all(text, characters, kind, count);
    return 1;
}
