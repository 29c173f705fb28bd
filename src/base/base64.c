/* Base64: see base64.h. */
#include "base/base64.h"

#include <string.h>

static int value_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+' || c == '-' ? 62
           : c == '/' || c == '_' ? 63
                                  : -1;
}

bool pn_base64_decode(const char *text, size_t len, struct pn_buf *out)
{
    uint32_t word = 0;
    int have = 0, padding = 0;
    size_t digits = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] && strchr(" \t\r\n", text[i]))
            continue;
        if (text[i] == '=') {
            padding++;
            continue;
        }
        int v = value_of(text[i]);
        if (v < 0 || padding)
            return false;
        digits++;
        word = word << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            pn_buf_putc(out, (char)(word >> have));
        }
    }
    return digits % 4 != 1 && padding <= 2;
}

void pn_base64_encode(const void *bytes, size_t n, struct pn_buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i < 3 ? n - i : 3;
        uint32_t word = (uint32_t)b[i] << 16 | (left > 1 ? (uint32_t)b[i + 1] << 8 : 0) | (left > 2 ? b[i + 2] : 0);
        for (size_t k = 0; k < 4; k++)
            pn_buf_putc(out, k <= left ? digits[word >> (18 - 6 * k) & 63] : '=');
    }
}
