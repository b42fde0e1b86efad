/* The JSON reader: a recursive descent of at most SC_JSON_MAX_DEPTH levels over two arenas.
 *
 * The arenas never move, so nodes and strings point into them. The values' arena is counted beforehand: a value is the
 * root or comes right after a '[', '{' or ',' outside strings. The strings' arena is as large as the text, because a
 * decoded string with its NUL is never longer than its source with its quotes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strtod_l */
#endif
#include "json.h"
#include "text.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#if defined(__APPLE__) || defined(__FreeBSD__)
#include <xlocale.h>
#endif

/* Caps beyond those of json.h. They bound memory (about 60 MB of values) and the time of one number's conversion; 767
 * significant digits decide the rounding of any double. */
#define MAX_VALUES ((size_t)1 << 20)
#define MAX_NUMBER_BYTES 1024

struct sc_json_document {
    sc_allocator allocator;
    sc_json *values;
    char *strings;
};

typedef struct reader {
    const unsigned char *text;
    size_t bytes, at;
    size_t depth;
    sc_json *next_value;
    char *next_string;
    char number[MAX_NUMBER_BYTES + 1]; /* here, not on the stack of every level */
    const sc_json **members; /* scratch of refuse_duplicates: room for every value */
    locale_t locale;
    const char *what;
    sc_error *error;
} reader;

static sc_status fail(reader *r, const char *problem)
{
    return sc_fail(r->error, SC_BAD_GRAPH, "%s: not valid JSON at byte %zu: %s", r->what, r->at, problem);
}

/* The byte at hand; 0, which is in no JSON text, at the end. */
static unsigned char peek(const reader *r)
{
    return r->at < r->bytes ? r->text[r->at] : 0;
}

static bool accept(reader *r, unsigned char c)
{
    if (peek(r) != c) {
        return false;
    }
    r->at++;
    return true;
}

static void skip_space(reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\n' || peek(r) == '\r') {
        r->at++;
    }
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

/* ---- Strings ------------------------------------------------------------------------------------ */

/* Four hexadecimal digits; -1 when they are not. */
static long parse_hex4(reader *r)
{
    long code = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        unsigned char c = peek(r);
        if (is_digit(c)) {
            code = code * 16 + (c - '0');
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            code = code * 16 + ((c | 0x20) - 'a' + 10);
        } else {
            return -1;
        }
    }
    return code;
}

static char *put_utf8(char *out, long code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xC0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *out++ = (char)(0xE0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    } else {
        *out++ = (char)(0xF0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3F));
        *out++ = (char)(0x80 | (code >> 6 & 0x3F));
        *out++ = (char)(0x80 | (code & 0x3F));
    }
    return out;
}

/* What follows the 'u' of an escape: a code point, or two halves of one. */
static sc_status parse_unicode_escape(reader *r, char **out)
{
    long code = parse_hex4(r);
    if (code < 0) {
        return fail(r, "\\u needs four hexadecimal digits");
    }
    if (code == 0) {
        return fail(r, "a string with an embedded NUL");
    }
    if (code >= 0xD800 && code <= 0xDFFF) {
        long low = code < 0xDC00 && accept(r, '\\') && accept(r, 'u') ? parse_hex4(r) : -1;
        if (low < 0xDC00 || low > 0xDFFF) {
            return fail(r, "half of a surrogate pair");
        }
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    *out = put_utf8(*out, code);
    return SC_OK;
}

static sc_status parse_escape(reader *r, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    unsigned char c = peek(r);
    const char *found = c != 0 ? strchr(from, c) : NULL;
    if (found != NULL) {
        r->at++;
        *(*out)++ = to[found - from];
        return SC_OK;
    }
    return accept(r, 'u') ? parse_unicode_escape(r, out) : fail(r, "an unknown escape in a string");
}

static sc_status parse_string(reader *r, const char **string)
{
    char *out = r->next_string;
    r->at++; /* the opening quote */
    while (!accept(r, '"')) {
        if (r->at == r->bytes) {
            return fail(r, "a string without an end");
        }
        if (accept(r, '\\')) {
            sc_status status = parse_escape(r, &out);
            if (status != SC_OK) {
                return status;
            }
            continue;
        }
        const unsigned char *s = r->text + r->at;
        size_t length = sc_utf8_length(s, r->bytes - r->at);
        if (length == 0) {
            return fail(r, "invalid UTF-8");
        }
        if (*s < 0x20) {
            return fail(r, *s == 0 ? "a string with an embedded NUL" : "a control character in a string");
        }
        memcpy(out, s, length);
        out += length;
        r->at += length;
    }
    *out++ = '\0';
    *string = r->next_string;
    r->next_string = out;
    return SC_OK;
}

/* ---- Numbers and names -------------------------------------------------------------------------- */

static bool skip_digits(reader *r)
{
    size_t start = r->at;
    while (is_digit(peek(r))) {
        r->at++;
    }
    return r->at > start;
}

/* -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static bool skip_number(reader *r)
{
    accept(r, '-');
    if (!accept(r, '0') && !skip_digits(r)) {
        return false;
    }
    if (accept(r, '.') && !skip_digits(r)) {
        return false;
    }
    if (accept(r, 'e') || accept(r, 'E')) {
        if (!accept(r, '+')) {
            accept(r, '-');
        }
        return skip_digits(r);
    }
    return true;
}

static sc_status parse_number(reader *r, sc_json *value)
{
    size_t start = r->at;
    if (!skip_number(r)) {
        return fail(r, "a number lacks digits");
    }
    size_t length = r->at - start;
    if (length > MAX_NUMBER_BYTES) {
        return fail(r, "a number of more than 1024 characters");
    }
    memcpy(r->number, r->text + start, length);
    r->number[length] = '\0';
    value->type = SC_JSON_NUMBER;
    value->number = strtod_l(r->number, NULL, r->locale);
    /* The grammar has no inf or nan, so only an overflow is not finite. */
    return value->number - value->number == 0 ? SC_OK : fail(r, "a number beyond the range of a double");
}

static sc_status parse_name(reader *r, sc_json *value)
{
    static const struct {
        const char *name;
        sc_json_type type;
        double number;
    } names[] = {{"null", SC_JSON_NULL, 0}, {"false", SC_JSON_BOOL, 0}, {"true", SC_JSON_BOOL, 1}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t length = strlen(names[i].name);
        if (r->bytes - r->at >= length && memcmp(r->text + r->at, names[i].name, length) == 0) {
            r->at += length;
            value->type = names[i].type;
            value->number = names[i].number;
            return SC_OK;
        }
    }
    return fail(r, r->at == r->bytes ? "a value is missing at the end" : "expected a value");
}

/* ---- Arrays and objects ------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
    return strcmp((*(const sc_json *const *)a)->key, (*(const sc_json *const *)b)->key);
}

/* Sorting, not hashing: no file can choose keys that make it slow. */
static sc_status refuse_duplicates(reader *r, const sc_json *object)
{
    size_t count = 0;
    for (const sc_json *member = object->child; member != NULL; member = member->next) {
        r->members[count++] = member;
    }
    qsort(r->members, count, sizeof *r->members, compare_keys);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(r->members[i - 1]->key, r->members[i]->key) == 0) {
            return sc_fail(r->error, SC_BAD_GRAPH, "%s: duplicate key \"%s\" in the object that ends at byte %zu",
                           r->what, sc_label_of(r->members[i]->key).text, r->at);
        }
    }
    return SC_OK;
}

static sc_status parse_key(reader *r, const char **key)
{
    skip_space(r);
    if (peek(r) != '"') {
        return fail(r, "expected a key in double quotes");
    }
    sc_status status = parse_string(r, key);
    if (status != SC_OK) {
        return status;
    }
    skip_space(r);
    return accept(r, ':') ? SC_OK : fail(r, "expected ':' after a key");
}

static sc_status parse_value(reader *r, sc_json *value);

/* An array or object, at its opening bracket. */
static sc_status parse_members(reader *r, sc_json *parent)
{
    bool object = peek(r) == '{';
    unsigned char end = object ? '}' : ']';
    const sc_json **link = &parent->child;
    parent->type = object ? SC_JSON_OBJECT : SC_JSON_ARRAY;
    if (++r->depth > SC_JSON_MAX_DEPTH) {
        return fail(r, "nested too deeply (more than 64 levels)");
    }
    r->at++;
    skip_space(r);
    if (!accept(r, end)) {
        do {
            sc_json *member = r->next_value++;
            sc_status status = object ? parse_key(r, &member->key) : SC_OK;
            if (status == SC_OK) {
                status = parse_value(r, member);
            }
            if (status != SC_OK) {
                return status;
            }
            *link = member;
            link = &member->next;
            parent->count++;
            skip_space(r);
        } while (accept(r, ','));
        if (!accept(r, end)) {
            return fail(r, object ? "expected ',' or '}'" : "expected ',' or ']'");
        }
    }
    r->depth--;
    return object ? refuse_duplicates(r, parent) : SC_OK;
}

static sc_status parse_value(reader *r, sc_json *value)
{
    skip_space(r);
    unsigned char c = peek(r);
    if (c == '{' || c == '[') {
        return parse_members(r, value);
    }
    if (c == '"') {
        value->type = SC_JSON_STRING;
        return parse_string(r, &value->string);
    }
    return c == '-' || is_digit(c) ? parse_number(r, value) : parse_name(r, value);
}

static sc_status parse_text(reader *r, sc_json *root)
{
    sc_status status = parse_value(r, root);
    if (status != SC_OK) {
        return status;
    }
    skip_space(r);
    return r->at == r->bytes ? SC_OK : fail(r, "text after the end of the document");
}

/* At least as many values as the text holds up to its first error; counting stops past MAX_VALUES. */
static size_t count_values(const unsigned char *text, size_t bytes)
{
    size_t count = 1;
    for (size_t i = 0; i < bytes && count <= MAX_VALUES; i++) {
        if (text[i] == '"') {
            for (i++; i < bytes && text[i] != '"'; i++) {
                i += text[i] == '\\';
            }
        } else {
            count += text[i] == '[' || text[i] == '{' || text[i] == ',';
        }
    }
    return count;
}

/* ---- The document ------------------------------------------------------------------------------- */

static sc_status parse_document(const char *text, size_t bytes, const char *what, sc_json_document *document,
                                sc_error *error)
{
    size_t values = count_values((const unsigned char *)text, bytes);
    if (values > MAX_VALUES) {
        return sc_fail(error, SC_BAD_GRAPH, "%s: more than %zu JSON values", what, MAX_VALUES);
    }
    sc_status status = SC_NO_MEMORY;
    const sc_allocator *allocator = &document->allocator;
    document->values = sc_allocate_zeros(allocator, values, sizeof *document->values);
    document->strings = sc_allocate(allocator, bytes);
    const sc_json **members = sc_allocate_zeros(allocator, values, sizeof *members);
    locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (document->values != NULL && document->strings != NULL && members != NULL && locale != (locale_t)0) {
        reader r = {.text = (const unsigned char *)text, .bytes = bytes, .members = members, .locale = locale,
                    .next_value = document->values + 1, .next_string = document->strings, .what = what,
                    .error = error};
        status = parse_text(&r, document->values);
    } else {
        sc_fail(error, status, "%s: not enough memory for %zu bytes of JSON", what, bytes);
    }
    if (locale != (locale_t)0) {
        freelocale(locale);
    }
    sc_release(allocator, members);
    return status;
}

sc_status sc_json_parse(const char *text, size_t bytes, const char *what, const sc_allocator *allocator,
                        sc_json_document **document, sc_error *error)
{
    *document = NULL;
    if (text == NULL && bytes > 0) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s: no text", what);
    }
    if (bytes > SC_JSON_MAX_BYTES) {
        return sc_fail(error, SC_BAD_GRAPH, "%s: %zu bytes of JSON; at most %zu are read", what, bytes,
                       SC_JSON_MAX_BYTES);
    }
    sc_json_document *made = sc_allocate_zeros(allocator, 1, sizeof *made);
    if (made == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "%s: not enough memory", what);
    }
    made->allocator = *allocator;
    sc_status status = parse_document(text, bytes, what, made, error);
    if (status != SC_OK) {
        sc_json_free(made);
        return status;
    }
    *document = made;
    return SC_OK;
}

const sc_json *sc_json_root(const sc_json_document *document)
{
    return document->values;
}

void sc_json_free(sc_json_document *document)
{
    if (document != NULL) {
        const sc_allocator allocator = document->allocator;
        sc_release(&allocator, document->values);
        sc_release(&allocator, document->strings);
        sc_release(&allocator, document);
    }
}

const sc_json *sc_json_get(const sc_json *object, const char *key)
{
    if (object == NULL || object->type != SC_JSON_OBJECT) {
        return NULL;
    }
    const sc_json *member = object->child;
    while (member != NULL && strcmp(member->key, key) != 0) {
        member = member->next;
    }
    return member;
}

bool sc_json_size(const sc_json *value, size_t *result)
{
    const double most = 9007199254740992; /* 2^53 */
    if (value == NULL || value->type != SC_JSON_NUMBER || value->number < 0 || value->number > most) {
        return false;
    }
    uint64_t whole = (uint64_t)value->number;
    if ((double)whole != value->number || whole > SIZE_MAX) {
        return false;
    }
    *result = (size_t)whole;
    return true;
}
