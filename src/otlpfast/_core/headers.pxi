# Headers as carriers have them, and the characters of W3C trace context and baggage.

cdef extern from *:
    """
    enum {
        OTLPFAST_STATE_KEY = 1, OTLPFAST_STATE_VALUE = 2,
        OTLPFAST_BAGGAGE_KEY = 4, OTLPFAST_BAGGAGE_VALUE = 8, OTLPFAST_PLAIN = 16
    };
    static uint8_t otlpfast_classes[256];  /* of each character, what it may be part of */

    static void otlpfast_classify(const char *members, int class) {
        for (; *members; members++) otlpfast_classes[(uint8_t)*members] |= class;
    }

    /* How many characters from `at` are of the class. */
    static inline Py_ssize_t otlpfast_span(const uint8_t *at, const uint8_t *end, int class) {
        const uint8_t *p = at;
        while (p < end && otlpfast_classes[*p] & class) p++;
        return p - at;
    }

    static uint8_t otlpfast_digits[256];  /* of each character, its value as a lowercase digit; 16: none */
    static uint8_t otlpfast_pairs[512];   /* each byte as two such digits */

    static void otlpfast_make_digits(void) {
        const char *digits = "0123456789abcdef";
        memset(otlpfast_digits, 16, sizeof otlpfast_digits);
        for (int i = 0; i < 16; i++) otlpfast_digits[(uint8_t)digits[i]] = (uint8_t)i;
        for (int i = 0; i < 256; i++) {
            otlpfast_pairs[2 * i] = (uint8_t)digits[i >> 4];
            otlpfast_pairs[2 * i + 1] = (uint8_t)digits[i & 15];
        }
    }

    /* Lowercase hexadecimal digits as a number; 0 where there are others. */
    static inline int otlpfast_hex(const uint8_t *at, int digits, uint64_t *number) {
        uint64_t found = 0;
        uint8_t seen = 0;
        for (int i = 0; i < digits; i++) {
            seen |= otlpfast_digits[at[i]];
            found = found << 4 | (otlpfast_digits[at[i]] & 15);
        }
        *number = found;
        return seen < 16;
    }

    /* Two hexadecimal digits of either case; 0 where there are others. */
    static inline int otlpfast_any_hex(const uint8_t *at, uint64_t *number) {
        uint8_t lower[2];
        for (int i = 0; i < 2; i++) lower[i] = at[i] >= 'A' && at[i] <= 'F' ? at[i] + 32 : at[i];
        return otlpfast_hex(lower, 2, number);
    }

    static inline uint8_t *otlpfast_put_hex(uint8_t *at, int digits, uint64_t number) {
        for (int i = digits - 2; i >= 0; i -= 2, number >>= 8) {
            memcpy(at + i, otlpfast_pairs + 2 * (number & 255), 2);
        }
        return at + digits;
    }

    /* An ASCII text of so many characters, to be written at its data. */
    static inline PyObject *otlpfast_blank(Py_ssize_t length) { return PyUnicode_New(length, 127); }

    static inline uint8_t *otlpfast_percent(uint8_t *out, uint8_t byte) {
        *out++ = '%';
        *out++ = (uint8_t)"0123456789ABCDEF"[byte >> 4];
        *out++ = (uint8_t)"0123456789ABCDEF"[byte & 15];
        return out;
    }

    /* A text as quote_plus() of urllib gives it. Returns the end; NULL where it needs more than `most` bytes
       or has a surrogate. */
    static uint8_t *otlpfast_quote(PyObject *text, uint8_t *out, Py_ssize_t most) {
        const int kind = PyUnicode_KIND(text);
        const void *data = PyUnicode_DATA(text);
        const Py_ssize_t n = PyUnicode_GET_LENGTH(text);
        const uint8_t *end = out + most;
        for (Py_ssize_t i = 0; i < n; i++) {
            Py_UCS4 c = PyUnicode_READ(kind, data, i);
            if (end - out < 12) return NULL;
            if (c < 0x80) {
                if (otlpfast_classes[c] & OTLPFAST_PLAIN) *out++ = (uint8_t)c;
                else if (c == ' ') *out++ = '+';
                else out = otlpfast_percent(out, (uint8_t)c);
                continue;
            }
            if (c >= 0xD800 && c <= 0xDFFF) return NULL;
            if (c < 0x800) {
                out = otlpfast_percent(out, (uint8_t)(0xC0 | (c >> 6)));
            } else {
                if (c < 0x10000) {
                    out = otlpfast_percent(out, (uint8_t)(0xE0 | (c >> 12)));
                } else {
                    out = otlpfast_percent(out, (uint8_t)(0xF0 | (c >> 18)));
                    out = otlpfast_percent(out, (uint8_t)(0x80 | ((c >> 12) & 0x3F)));
                }
                out = otlpfast_percent(out, (uint8_t)(0x80 | ((c >> 6) & 0x3F)));
            }
            out = otlpfast_percent(out, (uint8_t)(0x80 | (c & 0x3F)));
        }
        return out;
    }
    """
    enum:
        STATE_KEY "OTLPFAST_STATE_KEY"
        STATE_VALUE "OTLPFAST_STATE_VALUE"
        BAGGAGE_KEY "OTLPFAST_BAGGAGE_KEY"
        BAGGAGE_VALUE "OTLPFAST_BAGGAGE_VALUE"
        PLAIN "OTLPFAST_PLAIN"
    void make_digits "otlpfast_make_digits"()
    void classify "otlpfast_classify"(const char *members, int kind)
    Py_ssize_t length_of "otlpfast_span"(const uint8_t *at, const uint8_t *end, int kind) noexcept
    bint read_hex "otlpfast_hex"(const uint8_t *at, int digits, uint64_t *number) noexcept
    bint read_any_hex "otlpfast_any_hex"(const uint8_t *at, uint64_t *number) noexcept
    uint8_t *put_hex "otlpfast_put_hex"(uint8_t *at, int digits, uint64_t number) noexcept
    object blank_text "otlpfast_blank"(Py_ssize_t length)
    uint8_t *quote "otlpfast_quote"(PyObject *text, uint8_t *out, Py_ssize_t most) noexcept

cdef extern from "Python.h":
    object PyUnicode_Substring(object text, Py_ssize_t start, Py_ssize_t end)
    object PyUnicode_DecodeUTF8(const char *bytes, Py_ssize_t size, const char *errors)

cdef object _odd = object()  # in place of what only the API's code understands

cdef enum:
    MAX_HEADER = 8192  # of tracestate as of baggage

make_digits()
classify(b"abcdefghijklmnopqrstuvwxyz0123456789_-*/", STATE_KEY)
classify(bytes(c for c in range(0x20, 0x7F) if c not in b",="), STATE_VALUE)
classify(bytes(c for c in range(0x21, 0x7F) if c not in b'"(),/:;<=>?@[\\]{}'), BAGGAGE_KEY)
classify(bytes(c for c in range(0x21, 0x7F) if c not in b'",;\\'), BAGGAGE_VALUE)
classify(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~", PLAIN)


cdef object plain_header(object carrier, object getter, object name):
    # The one value of a header; None where it is not there, _odd for all that is not one exact str.
    cdef PyObject *found
    if type(getter) is DefaultGetter and is_exact_dict(<PyObject *> carrier):
        found = PyDict_GetItemWithError(carrier, name)
        values = None if found == NULL else <object> found
        if type(values) is str:
            return values
    else:
        values = getter.get(carrier, name)
    if values is None or type(values) is list and not list_length(<PyObject *> values):
        return None
    if type(values) is list and list_length(<PyObject *> values) == 1:
        found = list_item(<PyObject *> values, 0)
        if type_of(found) == py_str_type:
            return <object> found
    return _odd


cdef int set_header(object carrier, object setter, object name, object header) except -1:
    if type(setter) is DefaultSetter and is_exact_dict(<PyObject *> carrier):
        PyDict_SetItem(carrier, name, header)
    else:
        setter.set(carrier, name, header)
    return 0


cdef inline bint is_blank(uint8_t character) noexcept:
    return character == c" " or character == c"\t"


cdef inline void trim(const uint8_t **start, const uint8_t **end) noexcept:
    while start[0] < end[0] and is_blank(start[0][0]):
        start[0] += 1
    while start[0] < end[0] and is_blank((end[0] - 1)[0]):
        end[0] -= 1


cdef inline const uint8_t *end_of_member(const uint8_t *at, const uint8_t *end) noexcept:
    while at < end and at[0] != c",":
        at += 1
    return at
