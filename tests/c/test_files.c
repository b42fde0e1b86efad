/* Model files: round trips, every refusal, failing writes, truncation at every byte, random damage.
 *
 *     cc -Iinclude -Isrc/core tests/c/test_files.c src/core/{common,json,modelfile,modelfile_write}.c && ./a.out
 *
 * Exits with 1 and says what failed. Made to run under -fsanitize=address,undefined as well. A refusal must name its
 * own cause, so that no attack passes because of another check. safetensors itself is met in test_modelfile.py. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <stdbool.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRAPH "{\"format\":\"seqcore\"}"
#define GRAPH_BYTES (sizeof GRAPH - 1)

static char folder[] = "/tmp/seqcore-test-XXXXXX", path[256];

/* ---- Files ----------------------------------------------------------------------------------------- */

static void write_raw(const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, count, file) == count && fclose(file) == 0, "%s", path);
}

static char *read_raw(size_t *count)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0, "%s", path);
    *count = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*count + 1);
    CHECK(bytes != NULL && fread(bytes, 1, *count, file) == *count && fclose(file) == 0, "%s", path);
    return bytes;
}

static void refuses(const char *cause)
{
    sc_error error = {0};
    sc_file *file = (sc_file *)&error;
    sc_status status = sc_file_open(path, &file, &error);
    CHECK(status == SC_BAD_FILE && error.status == status && file == NULL, "%d, expected \"%s\"", (int)status, cause);
    check_message(&error, cause);
    CHECK(sc_file_open(path, &file, NULL) == status, "%s", cause);
}

/* A file of this header, padded so that the data starts at a multiple of 8, and GRAPH before `zeros` zero bytes. */
static void build(const char *header, size_t zeros)
{
    size_t length = strlen(header), padded = (length + 7) / 8 * 8;
    char *bytes = calloc(1, 8 + padded + GRAPH_BYTES + zeros);
    CHECK(bytes != NULL, "memory");
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (char)(padded >> (8 * i));
    }
    memset(bytes + 8, ' ', padded);
    memcpy(bytes + 8, header, length);
    memcpy(bytes + 8 + padded, GRAPH, GRAPH_BYTES);
    write_raw(bytes, 8 + padded + GRAPH_BYTES + zeros);
    free(bytes);
}

#define NO_GRAPH "{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}"

/* In headers: the graph at 0 .. 20, then other tensors. */
#define G "{\"__graph__\":{\"dtype\":\"U8\",\"shape\":[20],\"data_offsets\":[0,20]}"
#define T(name, dtype, shape, begin, end) \
    ",\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void test_headers(void)
{
    static const struct {
        const char *header;
        size_t zeros;
        const char *cause; /* NULL: accepted */
    } cases[] = {
        {G "}", 0, NULL},
        {G T("a", "F32", "[3]", 20, 32) T("b", "F32", "[0,5]", 20, 20) T("c", "F32", "[]", 32, 36) "}", 16, NULL},
        {G ",\"__metadata__\":{\"format\":\"seqcore\"}}", 0, NULL},
        {G T("a", "F32", "[2]", 20, 28) T("b", "F32", "[2]", 24, 32) "}", 12,
         "\"b\": data begins at 24, expected 28 (overlap)"},
        {G T("a", "F32", "[2]", 20, 28) T("b", "F32", "[2]", 20, 28) "}", 8, "overlap"},
        {G T("a", "F32", "[5]", 0, 20) "}", 0, "overlap"},
        {G T("a", "F32", "[1]", 24, 28) "}", 8, "\"a\": data begins at 24, expected 20 (gap)"},
        {G T("a", "F32", "[1]", 20, 24) "}", 8, "belongs to no tensor"},
        {G "}", 1, "belongs to no tensor"},
        {G T("a", "F32", "[3]", 20, 32) "}", 8, "truncated"},
        {G T("a", "F32", "[1000000000]", 20, 4000000020) "}", 8, "truncated"},
        {G T("a", "F32", "[2251799813685243]", 20, 9007199254740992) "}", 8, "truncated"},
        {G T("a", "F32", "[2]", 20, 24) "}", 4, "its shape needs 8 bytes, its data_offsets span 4"},
        {G T("a", "F32", "[1]", 20, 28) "}", 8, "its shape needs 4 bytes, its data_offsets span 8"},
        {G T("a", "F32", "[1]", 24, 20) "}", 4, "begin <= end"},
        {G T("a", "F32", "[1]", -4, 0) "}", 4, "whole numbers"},
        {G T("a", "F32", "[1]", 20.5, 24.5) "}", 4, "whole numbers"},
        {G T("a", "F32", "[1]", 20, 1e300) "}", 4, "whole numbers"},
        {G T("a", "F32", "[1]", 18446744073709551612, 18446744073709551616) "}", 4, "whole numbers"},
        {G T("a", "F32", "[1]", 20, 1e400) "}", 4, "range of a double"},
        {G T("a", "F32", "[1]", 20, "24") "}", 4, "whole numbers"},
        {G T("a", "F32", "[1]", 20, null) "}", 4, "whole numbers"},
        {G ",\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[20,24,24]}}", 4, "whole numbers"},
        {G ",\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[20]}}", 4, "whole numbers"},
        {G ",\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":{\"a\":20,\"b\":24}}}", 4, "whole numbers"},
        {G T("a", "F32", "[-1]", 20, 24) "}", 4, "a size in the shape"},
        {G T("a", "F32", "[1.5]", 20, 24) "}", 4, "a size in the shape"},
        {G T("a", "F32", "[[1]]", 20, 24) "}", 4, "a size in the shape"},
        {G T("a", "F32", "[\"1\"]", 20, 24) "}", 4, "a size in the shape"},
        {G T("a", "F32", "1", 20, 24) "}", 4, "expected a shape"},
        {G T("a", "F32", "[1,1,1,1,1,1,1]", 20, 24) "}", 4, "rank 7; at most 6"},
        {G T("a", "F32", "[4294967296,4294967296]", 20, 20) "}", 0, "too large for this machine"},
        {G T("a", "F32", "[4294967296,1073741824]", 20, 20) "}", 0, "too large for this machine"},
        {G T("a", "F32", "[0,9007199254740992,9007199254740992]", 20, 20) "}", 0, "too large for this machine"},
        {G T("a", "F32", "[9007199254740992,9007199254740992,0]", 20, 20) "}", 0, "too large for this machine"},
        {G T("a", "F16", "[2]", 20, 24) "}", 4, "dtype \"F16\""},
        {G T("a", "U8", "[4]", 20, 24) "}", 4, "dtype \"U8\""},
        {G T("a", "f32", "[1]", 20, 24) "}", 4, "dtype \"f32\""},
        {G ",\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[20,24]}}", 4, "expected a dtype"},
        {G ",\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[20,24],\"x\":0}}", 4,
         "expected an object of dtype"},
        {G ",\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"offsets\":[20,24]}}", 4, "expected data_offsets"},
        {G ",\"a\":{\"dtype\":\"F32\",\"data_offsets\":[20,24]}}", 4, "expected an object of dtype"},
        {G ",\"a\":{}}", 0, "expected an object of dtype"},
        {G ",\"a\":[]}", 0, "expected an object of dtype"},
        {G ",\"a\":null}", 0, "expected an object of dtype"},
        {G T("a", "I64", "[1]", 20, 28) "}", 8, "\"a\": misaligned"},
        {G T("a", "F32", "[1]", 20, 24) T("a", "F32", "[1]", 24, 28) "}", 8, "duplicate key \"a\""},
        {G T("__graph__", "U8", "[20]", 20, 40) "}", 20, "duplicate key \"__graph__\""},
        {G T("a", "F32", "[1]", 20, 24) T("\\u0061", "F32", "[1]", 24, 28) "}", 8, "duplicate key \"a\""},
        {"{\"__graph__\":{\"dtype\":\"I8\",\"shape\":[20],\"data_offsets\":[0,20]}}", 0, "expected dtype U8"},
        {"{\"__graph__\":{\"dtype\":\"U8\",\"shape\":[19],\"data_offsets\":[0,19]}" T("a", "F32", "[0]", 19, 19) "}", 0,
         "\"a\": misaligned"},
        {"{\"__graph__\":{\"dtype\":\"U8\",\"shape\":[19],\"data_offsets\":[0,19]}}", 0, "belongs to no tensor"},
        {"{\"__graph__\":{\"dtype\":\"U8\",\"shape\":[21],\"data_offsets\":[0,21]}}", 1, "graph: not valid JSON"},
        {"{\"__graph__\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}" T("a", "F32", "[5]", 0, 20) "}", 0,
         "graph: not valid JSON"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]}}", 0, "no tensor \"__graph__\""},
        {NO_GRAPH T("__assets__", "U8", "[4]", 20, 24) "}", 4, "no tensor \"__graph__\""},
        {NO_GRAPH T("__graph__.a", "U8", "[4]", 20, 24) "}", 4, "no tensor \"__graph__\""},
        {G T("__assets__", "U8", "[3]", 20, 23) "}", 3, NULL}, /* any bytes */
        {G T("__assets__", "U8", "[0]", 20, 20) T("a", "F32", "[]", 20, 24) "}", 4, NULL},
        {G T("__assets__", "F32", "[1]", 20, 24) "}", 4, "\"__assets__\": expected dtype U8"},
        {G T("__assets__", "U8", "[3]", 20, 23) T("__assets__", "U8", "[3]", 23, 26) "}", 6,
         "duplicate key \"__assets__\""},
        {G T("__assets__", "U8", "[268435456]", 20, 268435476) "}", 8, "truncated"},
        {G T("__assets__", "U8", "[268435457]", 20, 268435477) "}", 8, "268435457 bytes; at most 268435456"},
        {G T("__assets", "U8", "[4]", 20, 24) "}", 4, "dtype \"U8\""},
        {G T("__assets__.a", "U8", "[4]", 20, 24) "}", 4, "dtype \"U8\""},
        {G T("__graph__a", "U8", "[4]", 20, 24) "}", 4, "dtype \"U8\""},
        {G T("__graph__.a", "U8", "[4]", 20, 24) "}", 4, "graph \"a\": not valid JSON"},
        {G T("__graph__.a", "F32", "[1]", 20, 24) "}", 4, "\"__graph__.a\": expected dtype U8"},
        {G T("__graph__.", "U8", "[4]", 20, 24) "}", 4, "letters, digits and _"},
        {G T("__graph__.a.b", "U8", "[4]", 20, 24) "}", 4, "letters, digits and _"},
        {G T("__graph__.\xC3\xA9", "U8", "[4]", 20, 24) "}", 4, "letters, digits and _"},
        {G T("__graph__.a", "U8", "[20]", 0, 20) "}", 0, "overlap"},
        {"{\"__metadata__\":{}}", 0, "belongs to no tensor"},
        {G ",\"__metadata__\":{\"format\":1}}", 0, "__metadata__: expected an object of strings"},
        {G ",\"__metadata__\":\"x\"}", 0, "__metadata__: expected an object of strings"},
        {G ",\"__metadata__\":{\"a\":\"x\",\"a\":\"y\"}}", 0, "duplicate key \"a\""},
        {G T("a\xFF", "F32", "[1]", 20, 24) "}", 4, "invalid UTF-8"},
        {G T("a\\u0000b", "F32", "[1]", 20, 24) "}", 4, "embedded NUL"},
        {G T("a\\nb", "F32", "[2]", 20, 24) "}", 4, "tensor \"a?b\""},
        {G "", 0, "header: not valid JSON"}, {G "}}", 0, "after the end"}, {"", 0, "does not begin with '{'"},
        {" " G "}", 0, "does not begin with '{'"}, {"[]", 0, "does not begin with '{'"}, {"{]", 0, "not valid JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        build(cases[i].header, cases[i].zeros);
        if (cases[i].cause != NULL) {
            refuses(cases[i].cause);
        } else {
            sc_file *file;
            sc_error error;
            CHECK(sc_file_open(path, &file, &error) == SC_OK, "%s: %s", cases[i].header, error.message);
            sc_file_close(file);
        }
    }
}

static void test_long_headers(void)
{
    static const struct {
        const char *before, *unit;
        size_t times;
        const char *after, *cause;
    } cases[] = {
        {G ",\"", "n", 1 << 20, "\":0}", "...nnnn"}, /* a name of 1 MB, shown by its end */
        {G ",\"", "\xE2\x82\xAC", 1 << 20, "\":0}", "...\xE2\x82\xAC"},
        {G ",\"a\":", "[", 1000000, "", "nested too deeply"},
        {G ",\"a\":", "{\"a\":", 1000000, "", "nested too deeply"},
        {G ",\"a\":[", "[],", 2000000, "0]}", "more than 1048576 JSON values"},
        {G ",\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,0],\"shape\":[0", ",0", 100000, "]}}", "rank 100001"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t bytes;
        char *middle = repeat(cases[i].unit, cases[i].times, &bytes), *header = malloc(bytes + 200);
        CHECK(header != NULL, "memory");
        middle[bytes] = '\0';
        sprintf(header, "%s%s%s", cases[i].before, middle, cases[i].after);
        build(header, 0);
        refuses(cases[i].cause);
        free(middle);
        free(header);
    }
}

static void set_length(char *bytes, uint64_t length)
{
    for (int i = 0; i < 8; i++) {
        bytes[i] = (char)(length >> (8 * i) & 0xFF);
    }
}

static void test_header_lengths(void)
{
    static const uint64_t lies[] = {0, 1, 2, 64, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 100000001, 1000000};
    size_t count;
    build(G T("a", "F32", "[1]", 20, 24) "}", 4);
    char *bytes = read_raw(&count);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        set_length(bytes, lies[i]);
        write_raw(bytes, count);
        refuses(lies[i] > count ? "a header of" : lies[i] == 0 ? "does not begin" : "not valid JSON");
    }
    set_length(bytes, count - 8); /* the data is taken for header */
    write_raw(bytes, count);
    refuses("after the end");
    set_length(bytes, count - 7);
    write_raw(bytes, count);
    refuses("a header of");
    free(bytes);
}

static void test_paths(void)
{
    sc_file *file;
    sc_error error;
    unlink(path);
    refuses("cannot be opened");
    CHECK(mkfifo(path, 0600) == 0, "mkfifo");
    refuses("not a regular file");
    CHECK(sc_file_write(path, GRAPH, GRAPH_BYTES, NULL, 0, &error) == SC_BAD_FILE, "a FIFO was replaced");
    unlink(path);
    CHECK(sc_file_open(folder, &file, &error) == SC_BAD_FILE && file == NULL, "folder");
    check_message(&error, "not a regular file");
    CHECK(sc_file_write(folder, GRAPH, GRAPH_BYTES, NULL, 0, &error) == SC_BAD_FILE, "folder");
    check_message(&error, "directory");
    CHECK(sc_file_open("/dev/zero", &file, &error) == SC_BAD_FILE, "/dev/zero");
    check_message(&error, "not a regular file");
    CHECK(sc_file_open(NULL, &file, &error) == SC_BAD_ARGUMENT && sc_file_open(path, NULL, &error) == SC_BAD_ARGUMENT,
          "NULL");
    CHECK(sc_file_open("/absent\n\xFF", &file, &error) == SC_BAD_FILE, "absent");
    check_message(&error, "/absent??: cannot be opened");
    sc_file_close(NULL);
}

/* ---- Writing --------------------------------------------------------------------------------------- */

static const float floats[6] = {0, -0.0f, 1.5f, -2.25f, 1e-45f, 3e38f};
static const int64_t integers[2] = {INT64_MIN, 7};
static const sc_tensor samples[] = {
    {.name = "W", .dtype = SC_F32, .rank = 2, .shape = {2, 3}, .data = floats},
    {.name = "ids", .dtype = SC_I64, .rank = 1, .shape = {2}, .data = integers},
    {.name = "empty", .dtype = SC_F32, .rank = 3, .shape = {4, 0, 2}, .data = NULL},
    {.name = "scalar \"\\\n\x01\xC3\xA9", .dtype = SC_F32, .rank = 0, .shape = {0}, .data = floats + 2},
    {.name = "", .dtype = SC_F32, .rank = 6, .shape = {1, 1, 1, 1, 1, 5}, .data = floats + 1},
};
#define SAMPLES (sizeof samples / sizeof *samples)

#define PART "{\"a\": [1, 2]}"
static const sc_named_text texts[] = {
    {"__graph__.encoder_2", PART, sizeof PART - 1},
    {"__graph__", GRAPH, GRAPH_BYTES},
    {"__assets__", "\0\xFF{", 3}, /* nobody reads them here */
};
#define TEXTS (sizeof texts / sizeof *texts)

static void write_samples(void)
{
    sc_error error = {0};
    CHECK(sc_file_write_texts(path, texts, TEXTS, samples, SAMPLES, &error) == SC_OK, "%s", error.message);
}

static void check_texts(const sc_file *file)
{
    size_t count, bytes = 1;
    const sc_named_text *found = sc_file_texts(file, &count);
    CHECK(count == TEXTS, "%zu", count);
    for (size_t i = 0; i < TEXTS; i++) {
        CHECK(strcmp(found[i].name, texts[i].name) == 0 && found[i].bytes == texts[i].bytes, "%s", found[i].name);
        CHECK(memcmp(found[i].text, texts[i].text, texts[i].bytes) == 0, "%s", found[i].name);
        CHECK(sc_file_text(file, texts[i].name, &bytes) == found[i].text && bytes == texts[i].bytes, "%s", texts[i].name);
    }
    CHECK(sc_file_graph(file, NULL) == found[1].text, "graph");
    CHECK(sc_file_text(file, "__graph__.encoder", &bytes) == NULL && bytes == 0, "a part that is not there");
    CHECK(sc_file_text(file, "W", NULL) == NULL && sc_file_text(file, NULL, NULL) == NULL, "no text");
}

static void test_round_trip(void)
{
    static const size_t order[SAMPLES] = {1, 0, 2, 3, 4}; /* I64 first, else as given */
    sc_error error;
    sc_file *file;
    size_t count, bytes, first, second;
    unlink(path);
    write_samples();
    CHECK(sc_file_open(path, &file, &error) == SC_OK, "%s", error.message);
    CHECK(memcmp(sc_file_graph(file, &bytes), GRAPH, GRAPH_BYTES) == 0 && bytes == GRAPH_BYTES, "graph");
    check_texts(file);
    const sc_tensor *tensors = sc_file_tensors(file, &count);
    CHECK(count == SAMPLES, "%zu", count);
    for (size_t i = 0; i < SAMPLES; i++) {
        const sc_tensor *found = &tensors[i], *expected = &samples[order[i]];
        size_t elements = 1;
        for (size_t k = 0; k < expected->rank; k++) {
            elements *= expected->shape[k];
        }
        CHECK(strcmp(found->name, expected->name) == 0, "%s", found->name);
        CHECK(found->dtype == expected->dtype && found->rank == expected->rank, "%s", found->name);
        CHECK(memcmp(found->shape, expected->shape, expected->rank * sizeof(size_t)) == 0, "%s", found->name);
        size_t element = found->dtype == SC_I64 ? 8 : 4;
        CHECK((uintptr_t)found->data % element == 0, "%s", found->name);
        CHECK(elements == 0 || memcmp(found->data, expected->data, elements * element) == 0, "%s", found->name);
    }
    char *before = read_raw(&first);
    write_samples(); /* over a file that is open: what was read stays */
    char *after = read_raw(&second);
    CHECK(first == second && memcmp(before, after, first) == 0, "the same input gave other bytes");
    CHECK((8 + (unsigned char)before[0] + 256 * (unsigned char)before[1]) % 64 == 0, "the data is not aligned");
    CHECK(truncate(path, 100) == 0, "truncate"); /* in place, under the reader */
    CHECK(memcmp(tensors[1].data, floats, sizeof floats) == 0, "what was read changed");
    sc_file_close(file);
    free(before);
    free(after);
    CHECK(sc_file_write(path, GRAPH, GRAPH_BYTES, NULL, 0, &error) == SC_OK, "no tensors: %s", error.message);
    CHECK(sc_file_open(path, &file, &error) == SC_OK, "%s", error.message);
    sc_file_tensors(file, &count);
    CHECK(count == 0, "%zu", count);
    sc_file_close(file);
}

static size_t files_in_folder(void)
{
    size_t count = 0;
    DIR *listing = opendir(folder);
    CHECK(listing != NULL, "%s", folder);
    for (struct dirent *item; (item = readdir(listing)) != NULL;) {
        count += strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0;
    }
    closedir(listing);
    return count;
}

/* A write that fails leaves the old file and nothing else. */
static void write_texts_refuses(const sc_named_text *given, size_t n_texts, const sc_tensor *tensors, size_t count,
                                sc_status expected, const char *cause)
{
    size_t before, after;
    sc_error error = {0};
    char *old = read_raw(&before);
    CHECK(sc_file_write_texts(path, given, n_texts, tensors, count, &error) == expected, "expected \"%s\"", cause);
    check_message(&error, cause);
    CHECK(error.status == expected, "%d", (int)error.status);
    char *now = read_raw(&after);
    CHECK(before == after && memcmp(old, now, before) == 0 && files_in_folder() == 1, "%s", cause);
    free(old);
    free(now);
}

static void write_refuses(const sc_tensor *tensors, size_t count, const char *graph, sc_status expected,
                          const char *cause)
{
    const sc_named_text text = {"__graph__", graph, graph == NULL ? 0 : strlen(graph)};
    sc_error error = {0};
    write_texts_refuses(&text, 1, tensors, count, expected, cause);
    CHECK(sc_file_write(path, graph, text.bytes, tensors, count, &error) == expected, "expected \"%s\"", cause);
    check_message(&error, cause);
}

static void test_text_refusals(void)
{
    static const struct {
        sc_named_text second;
        const char *cause;
    } cases[] = {
        {{"__graph__", GRAPH, GRAPH_BYTES}, "duplicate key \"__graph__\""},
        {{"W", GRAPH, GRAPH_BYTES}, "duplicate key \"W\""},
        {{"words", GRAPH, GRAPH_BYTES}, "\"words\": dtype \"U8\""},
        {{"__metadata__", GRAPH, GRAPH_BYTES}, "__metadata__: expected"},
        {{"__graph__.", GRAPH, GRAPH_BYTES}, "letters, digits and _"},
        {{"__graph__.a-b", GRAPH, GRAPH_BYTES}, "letters, digits and _"},
        {{"__graph__.a", GRAPH, GRAPH_BYTES - 1}, "graph \"a\": not valid JSON"},
        {{"__graph__.a", "[]", 2}, "graph \"a\": expected a JSON object"},
        {{"__assets__", GRAPH, ((size_t)1 << 28) + 1}, "at most 268435456"},
        {{"__assets__", GRAPH, SIZE_MAX}, "too many bytes"},
        {{"__assets__", NULL, 0}, "must not be NULL"},
        {{NULL, GRAPH, GRAPH_BYTES}, "must not be NULL"},
    };
    write_samples();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const sc_named_text pair[2] = {texts[1], cases[i].second};
        write_texts_refuses(pair, 2, samples, SAMPLES, SC_BAD_ARGUMENT, cases[i].cause);
    }
    write_texts_refuses(&texts[2], 1, samples, SAMPLES, SC_BAD_ARGUMENT, "no tensor \"__graph__\"");
    write_texts_refuses(NULL, 0, samples, SAMPLES, SC_BAD_ARGUMENT, "no tensor \"__graph__\"");
    write_texts_refuses(NULL, 0, NULL, 0, SC_BAD_ARGUMENT, "no tensor \"__graph__\"");
    write_texts_refuses(NULL, 1, samples, SAMPLES, SC_BAD_ARGUMENT, "must not be NULL");
}

static void test_write_refusals(void)
{
    const sc_tensor good = samples[0];
    sc_tensor pair[2] = {good, good};
    write_samples();
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "duplicate key \"W\"");
    pair[1].name = "__graph__";
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "duplicate key \"__graph__\"");
    pair[1].name = "__metadata__";
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "__metadata__");
    pair[1].name = "a\xFF";
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "invalid UTF-8");
    pair[1].name = NULL;
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "tensor 1 has no name");
    pair[1] = good;
    pair[1].name = "b";
    pair[1].rank = SC_MAX_RANK + 1;
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "\"b\": expected a rank");
    pair[1].rank = 2;
    pair[1].dtype = (sc_dtype)2;
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "\"b\": expected dtype");
    pair[1].dtype = SC_F32;
    pair[1].shape[0] = SIZE_MAX / 2;
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "too large");
    pair[1].shape[0] = SIZE_MAX / 16;
    pair[1].shape[1] = 4;
    pair[0].shape[0] = SIZE_MAX / 16;
    pair[0].shape[1] = 4;
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "too many bytes");
    pair[1] = good;
    pair[1].data = NULL;
    write_refuses(pair, 2, GRAPH, SC_BAD_ARGUMENT, "data is NULL");
    write_refuses(&good, 1, "{", SC_BAD_ARGUMENT, "graph: not valid JSON");
    write_refuses(&good, 1, "", SC_BAD_ARGUMENT, "graph: not valid JSON");
    write_refuses(&good, 1, "[]", SC_BAD_ARGUMENT, "graph: expected a JSON object");
    write_refuses(&good, 1, NULL, SC_BAD_ARGUMENT, "must not be NULL");
    write_refuses(NULL, 1, GRAPH, SC_BAD_ARGUMENT, "must not be NULL");
    sc_error error;
    CHECK(sc_file_write(NULL, GRAPH, GRAPH_BYTES, NULL, 0, &error) == SC_BAD_ARGUMENT, "NULL");
    CHECK(sc_file_write("/absent/folder/x", GRAPH, GRAPH_BYTES, NULL, 0, &error) == SC_BAD_FILE, "folder");
    check_message(&error, "/absent/folder/x: cannot be written");

    struct rlimit limit, small; /* a disk that fills up in the middle */
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0 && signal(SIGXFSZ, SIG_IGN) != SIG_ERR, "limit");
    small = limit;
    small.rlim_cur = 500; /* less than the samples need */
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0, "limit");
    write_refuses(samples, SAMPLES, GRAPH, SC_BAD_FILE, "cannot be written");
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "limit");
}

static mode_t mode_of_path(void)
{
    struct stat facts;
    CHECK(stat(path, &facts) == 0, "%s", path);
    return facts.st_mode & 07777;
}

static void test_permissions(void)
{
    mode_t mask = umask(027);
    unlink(path);
    write_samples();
    CHECK(mode_of_path() == 0640, "%o", (unsigned)mode_of_path());
    CHECK(chmod(path, 0606) == 0, "chmod");
    write_samples(); /* the old file's bits, whatever the umask */
    CHECK(mode_of_path() == 0606, "%o", (unsigned)mode_of_path());
    umask(mask);
}

/* ---- Damage ---------------------------------------------------------------------------------------- */

static void test_truncation(void)
{
    size_t count;
    write_samples();
    char *bytes = read_raw(&count);
    for (size_t kept = 0; kept < count; kept++) {
        write_raw(bytes, kept);
        refuses(kept < 8 ? "truncated: " : "truncated");
    }
    free(bytes);
}

/* What opens is consistent: tensors and texts are all of the data, and every byte of them is there. */
static bool opens_consistently(const char *bytes, size_t file_bytes)
{
    sc_file *file;
    sc_error error = {0};
    sc_status status = sc_file_open(path, &file, &error);
    if (status != SC_OK) {
        CHECK(status == SC_BAD_FILE && error.message[0] != '\0', "%d %s", (int)status, error.message);
        return false;
    }
    size_t count, n_texts, sum = 0, header = 0;
    for (int i = 7; i >= 0; i--) {
        header = header << 8 | (unsigned char)bytes[i];
    }
    volatile unsigned char seen = 0;
    const char *first = sc_file_graph(file, NULL), *end = first;
    const sc_tensor *tensors = sc_file_tensors(file, &count);
    const sc_named_text *found = sc_file_texts(file, &n_texts);
    for (size_t i = 0; i < n_texts; i++) {
        for (size_t k = 0; k < found[i].bytes; k++) {
            seen ^= (unsigned char)found[i].text[k];
        }
        first = found[i].text < first ? found[i].text : first;
        end = found[i].text + found[i].bytes > end ? found[i].text + found[i].bytes : end;
        sum += found[i].bytes;
        seen ^= (unsigned char)strlen(found[i].name);
    }
    for (size_t i = 0; i < count; i++) {
        size_t size = tensors[i].dtype == SC_I64 ? 8 : 4;
        for (size_t k = 0; k < tensors[i].rank; k++) {
            size *= tensors[i].shape[k];
        }
        const char *data = tensors[i].data;
        for (size_t k = 0; k < size; k++) {
            seen ^= (unsigned char)data[k];
        }
        first = data < first ? data : first;
        end = data + size > end ? data + size : end;
        sum += size;
        seen ^= (unsigned char)strlen(tensors[i].name);
    }
    CHECK(sum == (size_t)(end - first) && sum == file_bytes - 8 - header, "%zu of %zu", sum, file_bytes);
    (void)seen;
    sc_file_close(file);
    return true;
}

static void test_random_files(void)
{
    size_t count, opened = 0;
    write_samples();
    char *bytes = read_raw(&count), *work = malloc(count + 128);
    CHECK(work != NULL, "memory");
    for (int i = 0; i < 6000; i++) {
        memcpy(work, bytes, count);
        size_t made = damage(work, count);
        write_raw(work, made);
        opened += opens_consistently(work, made);
    }
    CHECK(opened > 100 && opened < 5900, "%zu of 6000 damaged files opened: the damage tests nothing", opened);
    free(bytes);
    free(work);
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL, "%s", folder);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    test_headers();
    test_long_headers();
    test_header_lengths();
    test_paths();
    test_round_trip();
    test_write_refusals();
    test_text_refusals();
    test_permissions();
    test_truncation();
    test_random_files();
    CHECK(unlink(path) == 0 && rmdir(folder) == 0, "%s", folder);
    printf("test_files: all passed\n");
    return 0;
}
