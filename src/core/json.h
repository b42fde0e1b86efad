/* A strict reader of small JSON documents (RFC 8259), for graphs and safetensors headers.
 *
 * The document is one allocation of values and one of string bytes. Refused, with a message: anything that is not
 * JSON, duplicate keys, more than SC_JSON_MAX_DEPTH levels, more than SC_JSON_MAX_BYTES of text, trailing text,
 * invalid UTF-8, numbers that are not finite. */
#ifndef SC_JSON_H
#define SC_JSON_H

#include "common.h"

#define SC_JSON_MAX_DEPTH 64
#define SC_JSON_MAX_BYTES ((size_t)100 << 20)

typedef enum sc_json_type {
    SC_JSON_NULL, SC_JSON_BOOL, SC_JSON_NUMBER, SC_JSON_STRING, SC_JSON_ARRAY, SC_JSON_OBJECT
} sc_json_type;

typedef struct sc_json sc_json;
struct sc_json {
    sc_json_type type;
    const char *key;    /* the member's name inside an object, else NULL */
    const char *string; /* UTF-8, NUL-terminated; a string with an embedded NUL is refused */
    double number;      /* BOOL: 0 or 1. NUMBER: correctly rounded, whatever the locale */
    size_t count;       /* ARRAY, OBJECT: members */
    const sc_json *child; /* first member */
    const sc_json *next;  /* next sibling */
};

typedef struct sc_json_document sc_json_document;

/* Parses `text`; `what` names it in messages ("the graph", "header of model.safetensors"). */
sc_status sc_json_parse(const char *text, size_t bytes, const char *what, const sc_allocator *allocator,
                        sc_json_document **document, sc_error *error);
const sc_json *sc_json_root(const sc_json_document *document);
void sc_json_free(sc_json_document *document); /* NULL is allowed */

/* The member of an object, or NULL when it is absent (or `object` is no object). */
const sc_json *sc_json_get(const sc_json *object, const char *key);
/* true and the value when `value` is a whole number within 0..2^53. */
bool sc_json_size(const sc_json *value, size_t *result);

#endif
