# What the encoder reads of CPython's own objects, without running Python code and without making an object.
#
# Everything here is a leaf: it may be called while a span is half written, because nothing in it can start
# the garbage collector, a finaliser, a signal handler or another thread.
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* The attribute, as a new reference, or NULL where there is none or its look-up failed; no exception is
       left. For the plain classes it is used on, a miss makes no exception object. */
    static inline PyObject *otlpfast_attribute(PyObject *owner, PyObject *name) {
        PyObject *found = NULL;
    #if PY_VERSION_HEX >= 0x030D0000
        if (PyObject_GetOptionalAttr(owner, name, &found) < 0) PyErr_Clear();
    #else
        if (_PyObject_LookupAttr(owner, name, &found) < 0) PyErr_Clear();
    #endif
        return found;
    }

    #if PY_VERSION_HEX >= 0x030C0000
    #  define OTLPFAST_DIGITS(o) (((PyLongObject *)(o))->long_value.ob_digit)
    #  define OTLPFAST_NDIGITS(o) ((Py_ssize_t)(((PyLongObject *)(o))->long_value.lv_tag >> 3))
    #  define OTLPFAST_NEGATIVE(o) ((((PyLongObject *)(o))->long_value.lv_tag & 3) == 2)
    #else
    #  define OTLPFAST_DIGITS(o) (((PyLongObject *)(o))->ob_digit)
    #  define OTLPFAST_NDIGITS(o) (Py_SIZE(o) < 0 ? -Py_SIZE(o) : Py_SIZE(o))
    #  define OTLPFAST_NEGATIVE(o) (Py_SIZE(o) < 0)
    #endif

    /* The magnitude of an int as hi:lo. Returns 0 where it does not fit 128 bits. */
    static inline int otlpfast_magnitude(PyObject *number, uint64_t *hi, uint64_t *lo) {
        uint64_t high = 0, low = 0;
        Py_ssize_t i = OTLPFAST_NDIGITS(number);
        if (i > 128 / PyLong_SHIFT + 1) return 0;
        while (i-- > 0) {
            if (high >> (64 - PyLong_SHIFT)) return 0;
            high = (high << PyLong_SHIFT) | (low >> (64 - PyLong_SHIFT));
            low = (low << PyLong_SHIFT) | OTLPFAST_DIGITS(number)[i];
        }
        *hi = high;
        *lo = low;
        return 1;
    }

    /* An int as int64. Returns 0 where it does not fit. */
    static inline int otlpfast_int64(PyObject *number, int64_t *out) {
        uint64_t hi, lo;
        Py_ssize_t n = OTLPFAST_NDIGITS(number);
        if (n <= 1) {
            int64_t small = n ? (int64_t)OTLPFAST_DIGITS(number)[0] : 0;
            *out = OTLPFAST_NEGATIVE(number) ? -small : small;
            return 1;
        }
        if (!otlpfast_magnitude(number, &hi, &lo) || hi) return 0;
        if (OTLPFAST_NEGATIVE(number)) {
            if (lo > ((uint64_t)1 << 63)) return 0;
            *out = (int64_t)(0 - lo);
        } else {
            if (lo >> 63) return 0;
            *out = (int64_t)lo;
        }
        return 1;
    }

    /* An int that is a time: nanoseconds since the epoch. Returns 0, and writes nothing, where it is none. */
    static inline int otlpfast_nanoseconds(PyObject *number, int64_t *out) {
        int64_t found;
        if (OTLPFAST_NEGATIVE(number) || !otlpfast_int64(number, &found)) return 0;
        *out = found;
        return 1;
    }

    /* An int as uint64. Returns 0 where it does not fit. */
    static inline int otlpfast_uint64(PyObject *number, uint64_t *out) {
        uint64_t hi;
        return !OTLPFAST_NEGATIVE(number) && otlpfast_magnitude(number, &hi, out) && !hi;
    }

    /* Whether a string takes as many bytes as characters, and less than 120 of them; and where they are. */
    #define OTLPFAST_SHORT(o) (PyUnicode_IS_COMPACT_ASCII(o) && PyUnicode_GET_LENGTH(o) < 120)
    #define OTLPFAST_HASH(o) (((PyASCIIObject *)(o))->hash)  /* -1: not known yet */
    #define OTLPFAST_ASCII(o) ((const void *)((PyASCIIObject *)(o) + 1))

    #if PY_VERSION_HEX >= 0x030C0000
    #  define OTLPFAST_READY(o) 1
    #else
    #  define OTLPFAST_READY(o) (PyUnicode_READY(o) == 0 || (PyErr_Clear(), 0))
    #endif

    /* UTF-8 of a string whose storage is known, written to out (at least 4 bytes a character); surrogates
       become U+FFFD. Returns the number of bytes. */
    static size_t otlpfast_utf8(PyObject *text, uint8_t *out) {
        const int kind = PyUnicode_KIND(text);
        const void *data = PyUnicode_DATA(text);
        const Py_ssize_t n = PyUnicode_GET_LENGTH(text);
        uint8_t *p = out;
        for (Py_ssize_t i = 0; i < n; i++) {
            Py_UCS4 c = PyUnicode_READ(kind, data, i);
            if (c < 0x80) { *p++ = (uint8_t)c; continue; }
            if (c >= 0xD800 && c <= 0xDFFF) c = 0xFFFD;
            if (c < 0x800) {
                *p++ = (uint8_t)(0xC0 | (c >> 6));
                *p++ = (uint8_t)(0x80 | (c & 0x3F));
                continue;
            }
            if (c < 0x10000) {
                *p++ = (uint8_t)(0xE0 | (c >> 12));
            } else {
                *p++ = (uint8_t)(0xF0 | (c >> 18));
                *p++ = (uint8_t)(0x80 | ((c >> 12) & 0x3F));
            }
            *p++ = (uint8_t)(0x80 | ((c >> 6) & 0x3F));
            *p++ = (uint8_t)(0x80 | (c & 0x3F));
        }
        return (size_t)(p - out);
    }

    /* Whether these bytes are the UTF-8 of a text, as Python decodes it. */
    static int otlpfast_is_utf8(const uint8_t *p, Py_ssize_t n) {
        const uint8_t *end = p + n;
        while (p < end) {
            uint8_t c = *p++, low = 0x80, high = 0xBF;
            int more = c < 0x80 ? 0 : c < 0xC2 ? -1 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : c < 0xF5 ? 3 : -1;
            if (more < 0 || end - p < more) return 0;
            if (c == 0xE0) low = 0xA0;
            if (c == 0xED) high = 0x9F;
            if (c == 0xF0) low = 0x90;
            if (c == 0xF4) high = 0x8F;
            for (; more; more--, low = 0x80, high = 0xBF)
                if (*p < low || *p++ > high) return 0;
        }
        return 1;
    }

    /* The most bytes that one character of this string takes in UTF-8. */
    static inline Py_ssize_t otlpfast_widest(PyObject *text) {
        switch (PyUnicode_KIND(text)) { case 1: return 2; case 2: return 3; default: return 4; }
    }

    /* Whether two exact strings have the same characters. */
    static inline int otlpfast_same_text(PyObject *a, PyObject *b) {
        Py_ssize_t n = PyUnicode_GET_LENGTH(a);
        return n == PyUnicode_GET_LENGTH(b) && PyUnicode_KIND(a) == PyUnicode_KIND(b) &&
            memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), (size_t)n * PyUnicode_KIND(a)) == 0;
    }

    /* 128 bits as an int. */
    static inline PyObject *otlpfast_int128(uint64_t hi, uint64_t lo) {
        unsigned char bytes[16];
        for (int i = 0; i < 8; i++) {
            bytes[i] = (unsigned char)(lo >> (8 * i));
            bytes[8 + i] = (unsigned char)(hi >> (8 * i));
        }
    #if PY_VERSION_HEX >= 0x030D0000
        return PyLong_FromUnsignedNativeBytes(bytes, 16, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
    #else
        return _PyLong_FromByteArray(bytes, 16, 1, 0);
    #endif
    }

    static inline double otlpfast_half(const void *at) {
        uint16_t bits; memcpy(&bits, at, 2);
        int exponent = (bits >> 10) & 0x1F;
        double value, mantissa = (double)(bits & 0x3FF);
        if (exponent == 31) value = mantissa ? Py_NAN : Py_HUGE_VAL;
        else if (exponent) value = (1.0 + mantissa / 1024.0) * (double)(1 << exponent) / 32768.0;
        else value = mantissa / 1024.0 / 16384.0;
        return bits >> 15 ? -value : value;
    }
    """
    PyObject *otlpfast_attribute(PyObject *owner, PyObject *name) noexcept
    bint otlpfast_magnitude(PyObject *number, uint64_t *hi, uint64_t *lo) noexcept nogil
    bint otlpfast_int64(PyObject *number, int64_t *out) noexcept nogil
    bint otlpfast_nanoseconds(PyObject *number, int64_t *out) noexcept nogil
    bint otlpfast_uint64(PyObject *number, uint64_t *out) noexcept nogil
    bint otlpfast_negative "OTLPFAST_NEGATIVE"(PyObject *number) noexcept nogil
    bint otlpfast_ready "OTLPFAST_READY"(PyObject *text) noexcept
    size_t otlpfast_utf8(PyObject *text, uint8_t *out) noexcept nogil
    bint otlpfast_is_utf8(const uint8_t *data, Py_ssize_t n) noexcept nogil
    Py_ssize_t otlpfast_widest(PyObject *text) noexcept nogil
    double otlpfast_half(const void *at) noexcept nogil
    bint otlpfast_same_text(PyObject *a, PyObject *b) noexcept
    object otlpfast_int128(uint64_t hi, uint64_t lo)

cdef extern from "Python.h":
    bint is_ascii "PyUnicode_IS_COMPACT_ASCII"(PyObject *) noexcept nogil
    bint is_short_ascii "OTLPFAST_SHORT"(PyObject *) noexcept nogil
    const void *ascii_data "OTLPFAST_ASCII"(PyObject *) noexcept nogil
    Py_hash_t text_hash "OTLPFAST_HASH"(PyObject *) noexcept nogil
    Py_hash_t PyObject_Hash(PyObject *) noexcept
    const void *text_data "PyUnicode_DATA"(PyObject *) noexcept nogil
    Py_ssize_t text_length "PyUnicode_GET_LENGTH"(PyObject *) noexcept nogil
    bint is_str "PyUnicode_Check"(PyObject *) noexcept nogil
    bint is_int "PyLong_Check"(PyObject *) noexcept nogil
    bint is_bool "PyBool_Check"(PyObject *) noexcept nogil
    bint is_float "PyFloat_Check"(PyObject *) noexcept nogil
    bint is_bytes "PyBytes_Check"(PyObject *) noexcept nogil
    bint is_exact_tuple "PyTuple_CheckExact"(PyObject *) noexcept nogil
    bint is_exact_list "PyList_CheckExact"(PyObject *) noexcept nogil
    bint is_exact_dict "PyDict_CheckExact"(PyObject *) noexcept nogil
    bint is_exact_memoryview "PyMemoryView_Check"(PyObject *) noexcept nogil
    bint is_tuple "PyTuple_Check"(PyObject *) noexcept nogil
    double float_value "PyFloat_AS_DOUBLE"(PyObject *) noexcept nogil
    const char *bytes_data "PyBytes_AS_STRING"(PyObject *) noexcept nogil
    Py_ssize_t bytes_length "PyBytes_GET_SIZE"(PyObject *) noexcept nogil
    Py_ssize_t tuple_length "PyTuple_GET_SIZE"(PyObject *) noexcept nogil
    PyObject *tuple_item "PyTuple_GET_ITEM"(PyObject *, Py_ssize_t) noexcept nogil
    Py_ssize_t list_length "PyList_GET_SIZE"(PyObject *) noexcept nogil
    PyObject *list_item "PyList_GET_ITEM"(PyObject *, Py_ssize_t) noexcept nogil
    Py_ssize_t dict_length "PyDict_GET_SIZE"(PyObject *) noexcept
    bint dict_next "PyDict_Next"(PyObject *, Py_ssize_t *, PyObject **, PyObject **) noexcept
    Py_buffer *memoryview_buffer "PyMemoryView_GET_BUFFER"(PyObject *) noexcept nogil
    Py_ssize_t sequence_length "PySequence_Size"(PyObject *) noexcept
    PyObject *sequence_item "PySequence_GetItem"(PyObject *, Py_ssize_t) noexcept
    PyObject *type_of "(PyObject *)Py_TYPE"(PyObject *) noexcept nogil
    PyObject *py_true "Py_True"
    PyObject *py_none "Py_None"
    PyObject *py_str_type "(PyObject *)&PyUnicode_Type"
    PyObject *py_int_type "(PyObject *)&PyLong_Type"
    PyObject *py_bool_type "(PyObject *)&PyBool_Type"
    PyObject *py_float_type "(PyObject *)&PyFloat_Type"
    PyObject *py_bytes_type "(PyObject *)&PyBytes_Type"
    Py_ssize_t reference_count "Py_REFCNT"(PyObject *) noexcept
    object PyList_AsTuple(object)
    char *PyOS_double_to_string(double value, char code, int precision, int flags, int *kind) noexcept
    int Py_DTSF_ADD_DOT_0
    void PyMem_Free(void *) noexcept
    void PyErr_Clear() noexcept
    void keep "Py_XINCREF"(PyObject *) noexcept
    void drop "Py_XDECREF"(PyObject *) noexcept
