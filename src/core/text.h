/* Text from outside: UTF-8 checked, and names and paths made fit for a one-line message.
 * Header only, shared by json.c and the model files. Nothing here allocates or fails. */
#ifndef SC_TEXT_H
#define SC_TEXT_H

#include <stddef.h>
#include <string.h>

/* Bytes of the well-formed UTF-8 sequence (Unicode table 3-7) that starts at s, of which `available` >= 1 bytes exist;
 * 0 when there is none: overlong forms, surrogates and code points past U+10FFFF are not well-formed. */
static inline size_t sc_utf8_length(const unsigned char *s, size_t available)
{
    size_t length;
    unsigned low = 0x80, high = 0xBF; /* range of the second byte */
    if (s[0] < 0x80) {
        return 1;
    } else if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        length = 2;
    } else if ((s[0] & 0xF0) == 0xE0) {
        length = 3;
        low = s[0] == 0xE0 ? 0xA0 : 0x80;
        high = s[0] == 0xED ? 0x9F : 0xBF;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        length = 4;
        low = s[0] == 0xF0 ? 0x90 : 0x80;
        high = s[0] == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 0;
    }
    if (available < length || s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return length;
}

#define SC_LABEL_BYTES 120 /* three labels and a sentence fit into sc_error */

typedef struct sc_label {
    char text[SC_LABEL_BYTES + 4];
} sc_label;

/* A name or path as a message may show it: valid UTF-8, no control characters ('?' stands for what is neither), and of
 * a long one only the end, which tells most about a path. */
static inline sc_label sc_label_of(const char *name)
{
    sc_label label;
    char *out = label.text;
    const unsigned char *s = (const unsigned char *)name;
    size_t left = strlen(name);
    if (left > SC_LABEL_BYTES) {
        s += left - SC_LABEL_BYTES;
        left = SC_LABEL_BYTES;
        for (; left > 0 && (*s & 0xC0) == 0x80; left--) { /* not from the middle of a character */
            s++;
        }
        memcpy(out, "...", 3);
        out += 3;
    }
    while (left > 0) {
        size_t length = sc_utf8_length(s, left);
        if (length == 0 || *s < 0x20 || *s == 0x7F) {
            *out++ = '?';
            length = 1;
        } else {
            memcpy(out, s, length);
            out += length;
        }
        s += length;
        left -= length;
    }
    *out = '\0';
    return label;
}

#endif
