# SHA-256 (FIPS 180-4) and HMAC (RFC 2104) with a key whose part is done beforehand.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef struct { uint32_t inner[8], outer[8]; } otlpfast_hmac;

    /* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
    static const uint32_t otlpfast_sha_rounds[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
    };

    /* Those of the square roots of the first 8. */
    static const uint32_t otlpfast_sha_start[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
    };

    #define OTLPFAST_TURNED(x, n) ((x) >> (n) | (x) << (32 - (n)))

    static void otlpfast_sha_block(uint32_t state[8], const uint8_t *at) {
        uint32_t w[64], s[8];
        for (int i = 0; i < 16; i++, at += 4)
            w[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
        for (int i = 16; i < 64; i++) {
            uint32_t a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + w[i - 7] + (OTLPFAST_TURNED(a, 7) ^ OTLPFAST_TURNED(a, 18) ^ a >> 3) +
                (OTLPFAST_TURNED(b, 17) ^ OTLPFAST_TURNED(b, 19) ^ b >> 10);
        }
        memcpy(s, state, sizeof s);
        for (int i = 0; i < 64; i++) {
            uint32_t a = s[0], e = s[4];
            uint32_t t = s[7] + (OTLPFAST_TURNED(e, 6) ^ OTLPFAST_TURNED(e, 11) ^ OTLPFAST_TURNED(e, 25)) +
                ((e & s[5]) ^ (~e & s[6])) + otlpfast_sha_rounds[i] + w[i];
            uint32_t u = (OTLPFAST_TURNED(a, 2) ^ OTLPFAST_TURNED(a, 13) ^ OTLPFAST_TURNED(a, 22)) +
                ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof *s);
            s[4] += t;
            s[0] = t + u;
        }
        for (int i = 0; i < 8; i++) state[i] += s[i];
    }

    /* The rest of a message of which `before` bytes, whole blocks, are in the state already. */
    static void otlpfast_sha_rest(
        uint32_t state[8], const uint8_t *at, size_t n, uint64_t before, uint8_t out[32]
    ) {
        uint64_t bits = (before + n) * 8;
        uint8_t last[128] = {0};
        size_t size;
        for (; n >= 64; n -= 64, at += 64) otlpfast_sha_block(state, at);
        if (n) memcpy(last, at, n);
        last[n] = 0x80;
        size = n < 56 ? 64 : 128;
        for (int i = 0; i < 8; i++) last[size - 1 - i] = (uint8_t)(bits >> (8 * i));
        for (size_t i = 0; i < size; i += 64) otlpfast_sha_block(state, last + i);
        for (int i = 0; i < 32; i++) out[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    }

    static void otlpfast_hmac_key(otlpfast_hmac *made, const uint8_t *key, size_t n) {
        uint8_t padded[64] = {0}, hashed[32];
        uint32_t state[8];
        if (n > 64) {
            memcpy(state, otlpfast_sha_start, sizeof state);
            otlpfast_sha_rest(state, key, n, 0, hashed);
            key = hashed;
            n = 32;
        }
        if (n) memcpy(padded, key, n);
        for (int i = 0; i < 64; i++) padded[i] ^= 0x36;
        memcpy(made->inner, otlpfast_sha_start, sizeof made->inner);
        otlpfast_sha_block(made->inner, padded);
        for (int i = 0; i < 64; i++) padded[i] ^= 0x36 ^ 0x5c;
        memcpy(made->outer, otlpfast_sha_start, sizeof made->outer);
        otlpfast_sha_block(made->outer, padded);
    }

    static void otlpfast_hmac_of(const otlpfast_hmac *key, const uint8_t *data, size_t n, uint8_t out[32]) {
        uint32_t state[8];
        uint8_t inner[32];
        memcpy(state, key->inner, sizeof state);
        otlpfast_sha_rest(state, data, n, 64, inner);
        memcpy(state, key->outer, sizeof state);
        otlpfast_sha_rest(state, inner, 32, 64, out);
    }
    """
    ctypedef struct Hmac "otlpfast_hmac":
        pass
    void hmac_key "otlpfast_hmac_key"(Hmac *made, const uint8_t *key, size_t n) noexcept nogil
    void hmac_of "otlpfast_hmac_of"(const Hmac *key, const uint8_t *at, size_t n, uint8_t *out) noexcept nogil
