/* Model files, read: safetensors that hold F32 and I64 tensors, and texts, which are U8 tensors: the graph, JSON, is "__graph__";
 * further ones may be "__graph__.<part>" (letters, digits and _), and "__assets__" is not read here.
 *
 *     u64 little-endian n | n bytes of JSON header, spaces at its end | data, contiguous, in the order of offsets
 *
 * Stricter than safetensors: data lies at a multiple of its element's size in the file, hence in memory, or the file is
 * refused. A file is read, unless the caller wants it mapped: whoever truncates a mapped file kills the process that
 * reads it (SIGBUS), and whoever writes into it changes a model that is in use. What tensors mean is not known here. */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#include "modelfile.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define METADATA_NAME "__metadata__"
#define READ_BYTES ((size_t)1 << 30) /* of one call: Linux reads no more than 2 GiB at once */

struct sc_file {
    sc_allocator allocator;
    unsigned char *memory;      /* the whole file, or NULL when somebody else owns it */
    const unsigned char *start; /* of the whole file */
    bool mapped;
    size_t bytes, header_bytes;
    sc_json_document *header; /* owns the tensors' names */
    sc_tensor *tensors;
    size_t count;
    sc_named_text *texts;
    size_t n_texts;
};

const struct sc_element sc_elements[SC_DTYPES] = {[SC_F32] = {"F32", 4}, [SC_I64] = {"I64", 8}};

bool sc_little_endian(void)
{
    const uint16_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first == 1;
}

bool sc_tensor_bytes(const size_t *shape, size_t rank, size_t element, size_t *bytes)
{
    bool empty = false;
    size_t product = element;
    for (size_t i = 0; i < rank; i++) {
        empty |= shape[i] == 0;
        if (!sc_mul(product, shape[i] == 0 ? 1 : shape[i], &product)) {
            return false;
        }
    }
    *bytes = empty ? 0 : product;
    return true;
}

/* ---- Checking a header ---------------------------------------------------------------------------- */

static sc_status bad_tensor(const char *file, const sc_json *json, const char *problem, sc_error *error)
{
    return sc_fail(error, SC_BAD_FILE, "%s: tensor \"%s\": %s", file, sc_label_of(json->key).text, problem);
}

static sc_status check_metadata(const char *file, const sc_json *json, sc_error *error)
{
    bool strings = json->type == SC_JSON_OBJECT;
    for (const sc_json *member = json->child; strings && member != NULL; member = member->next) {
        strings = member->type == SC_JSON_STRING;
    }
    return strings ? SC_OK
                   : sc_fail(error, SC_BAD_FILE, "%s: %s: expected an object of strings", file, METADATA_NAME);
}

/* What stands behind the prefix of a further graph's name; NULL in any other name. */
static const char *part_of(const char *name)
{
    const size_t prefix = sizeof SC_PART_PREFIX - 1;
    return strncmp(name, SC_PART_PREFIX, prefix) == 0 ? name + prefix : NULL;
}

static bool is_part_name(const char *part)
{
    const size_t length = strlen(part);
    return length > 0 &&
           strspn(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == length;
}

static sc_status check_text_name(const char *file, const sc_json *json, sc_entry *made, sc_error *error)
{
    const char *part = part_of(json->key);
    made->is_text = part != NULL || strcmp(json->key, SC_GRAPH_NAME) == 0 || strcmp(json->key, SC_ASSETS_NAME) == 0;
    return part == NULL || is_part_name(part)
               ? SC_OK
               : bad_tensor(file, json, "the name of a further graph has letters, digits and _ alone", error);
}

static sc_status read_dtype(const char *file, const sc_json *json, sc_entry *made, size_t *element, sc_error *error)
{
    const sc_json *dtype = sc_json_get(json, "dtype");
    if (dtype == NULL || dtype->type != SC_JSON_STRING) {
        return bad_tensor(file, json, "expected a dtype", error);
    }
    if (made->is_text) {
        *element = 1;
        return strcmp(dtype->string, "U8") == 0 ? SC_OK : bad_tensor(file, json, "expected dtype U8", error);
    }
    for (size_t i = 0; i < SC_DTYPES; i++) {
        if (strcmp(dtype->string, sc_elements[i].name) == 0) {
            made->tensor.dtype = (sc_dtype)i;
            *element = sc_elements[i].bytes;
            return SC_OK;
        }
    }
    return sc_fail(error, SC_BAD_FILE, "%s: tensor \"%s\": dtype \"%s\"; a model file holds F32 and I64", file,
                   sc_label_of(json->key).text, sc_label_of(dtype->string).text);
}

static sc_status read_shape(const char *file, const sc_json *json, sc_entry *made, sc_error *error)
{
    const sc_json *shape = sc_json_get(json, "shape");
    if (shape == NULL || shape->type != SC_JSON_ARRAY) {
        return bad_tensor(file, json, "expected a shape", error);
    }
    if (shape->count > SC_MAX_RANK) {
        return sc_fail(error, SC_BAD_FILE, "%s: tensor \"%s\": rank %zu; at most %d", file,
                       sc_label_of(json->key).text, shape->count, SC_MAX_RANK);
    }
    for (const sc_json *axis = shape->child; axis != NULL; axis = axis->next) {
        if (!sc_json_size(axis, &made->tensor.shape[made->tensor.rank++])) {
            return bad_tensor(file, json, "a size in the shape is no whole number from 0 to 2^53", error);
        }
    }
    return SC_OK;
}

static sc_status read_offsets(const char *file, const sc_json *json, sc_entry *made, sc_error *error)
{
    const sc_json *offsets = sc_json_get(json, "data_offsets");
    if (offsets == NULL || offsets->type != SC_JSON_ARRAY || offsets->count != 2 ||
        !sc_json_size(offsets->child, &made->begin) || !sc_json_size(offsets->child->next, &made->end) ||
        made->begin > made->end) {
        return bad_tensor(file, json, "expected data_offsets [begin, end], whole numbers, begin <= end", error);
    }
    return SC_OK;
}

static sc_status check_tensor(const char *file, const sc_json *json, size_t data_start, sc_entry *made, sc_error *error)
{
    size_t element = 0, bytes;
    sc_status status;
    made->tensor.name = json->key;
    if (json->type != SC_JSON_OBJECT || json->count != 3) {
        return bad_tensor(file, json, "expected an object of dtype, shape and data_offsets", error);
    }
    if ((status = check_text_name(file, json, made, error)) != SC_OK ||
        (status = read_dtype(file, json, made, &element, error)) != SC_OK ||
        (status = read_shape(file, json, made, error)) != SC_OK ||
        (status = read_offsets(file, json, made, error)) != SC_OK) {
        return status;
    }
    if (!sc_tensor_bytes(made->tensor.shape, made->tensor.rank, element, &bytes)) {
        return bad_tensor(file, json, "its shape is too large for this machine", error);
    }
    if (bytes != made->end - made->begin) {
        return sc_fail(error, SC_BAD_FILE, "%s: tensor \"%s\": its shape needs %zu bytes, its data_offsets span %zu",
                       file, sc_label_of(json->key).text, bytes, made->end - made->begin);
    }
    if (strcmp(json->key, SC_ASSETS_NAME) == 0 && bytes > SC_MAX_ASSETS_BYTES) {
        return sc_fail(error, SC_BAD_FILE, "%s: tensor \"%s\": %zu bytes; at most %zu", file, SC_ASSETS_NAME, bytes,
                       SC_MAX_ASSETS_BYTES);
    }
    if ((data_start % element + made->begin % element) % element != 0) {
        return sc_fail(error, SC_BAD_FILE, "%s: tensor \"%s\": misaligned, data at byte %zu after a start at %zu", file,
                       sc_label_of(json->key).text, made->begin, data_start);
    }
    return SC_OK;
}

static int compare_entries(const void *left, const void *right)
{
    const sc_entry *a = left, *b = right;
    if (a->begin != b->begin) {
        return a->begin < b->begin ? -1 : 1;
    }
    if (a->end != b->end) {
        return a->end < b->end ? -1 : 1;
    }
    return a->place < b->place ? -1 : a->place > b->place;
}

/* The data is covered exactly once, and there is a graph (two of one name are no JSON that we read). */
static sc_status check_coverage(const char *file, sc_entries *all, size_t data_bytes, sc_error *error)
{
    size_t at = 0;
    bool graph = false;
    qsort(all->list, all->count, sizeof *all->list, compare_entries);
    for (size_t i = 0; i < all->count; i++) {
        const sc_entry *e = &all->list[i];
        if (e->begin != at) {
            return sc_fail(error, SC_BAD_FILE, "%s: tensor \"%s\": data begins at %zu, expected %zu (%s)", file,
                           sc_label_of(e->tensor.name).text, e->begin, at, e->begin < at ? "overlap" : "gap");
        }
        at = e->end;
        graph |= strcmp(e->tensor.name, SC_GRAPH_NAME) == 0;
    }
    if (at != data_bytes) {
        return sc_fail(error, SC_BAD_FILE, "%s: %s: the tensors need %zu bytes of data, the file has %zu", file,
                       at > data_bytes ? "truncated" : "data that belongs to no tensor", at, data_bytes);
    }
    return graph ? SC_OK
                 : sc_fail(error, SC_BAD_FILE, "%s: no tensor \"%s\": not a seqcore model file", file, SC_GRAPH_NAME);
}

static sc_status parse_json(const char *file, const char *name, const char *text, size_t bytes,
                            const sc_allocator *allocator, sc_json_document **document, sc_error *error)
{
    char what[2 * sizeof(sc_label) + 32];
    snprintf(what, sizeof what, "%s: %s", file, name);
    sc_status status = sc_json_parse(text, bytes, what, allocator, document, error);
    if (status == SC_OK && sc_json_root(*document)->type != SC_JSON_OBJECT) {
        sc_json_free(*document);
        *document = NULL;
        status = sc_fail(error, SC_BAD_FILE, "%s: expected a JSON object", what);
    }
    if (status == SC_OK || status == SC_NO_MEMORY) {
        return status;
    }
    if (error != NULL) {
        error->status = SC_BAD_FILE;
    }
    return SC_BAD_FILE;
}

sc_status sc_check_header(const char *file, const char *text, size_t bytes, size_t data_bytes, sc_entries *all,
                              sc_error *error)
{
    if (bytes == 0 || text[0] != '{') {
        return sc_fail(error, SC_BAD_FILE, "%s: not a safetensors file: its header does not begin with '{'", file);
    }
    sc_status status = parse_json(file, "header", text, bytes, all->allocator, &all->document, error);
    if (status != SC_OK) {
        return status;
    }
    const sc_json *root = sc_json_root(all->document);
    all->list = sc_allocate_zeros(all->allocator, root->count, sizeof *all->list);
    if (all->list == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "%s: not enough memory for %zu tensors", file, root->count);
    }
    for (const sc_json *json = root->child; json != NULL; json = json->next) {
        if (strcmp(json->key, METADATA_NAME) == 0) {
            status = check_metadata(file, json, error);
        } else {
            sc_entry *made = &all->list[all->count];
            made->place = all->count++;
            status = check_tensor(file, json, SC_LENGTH_BYTES + bytes, made, error);
        }
        if (status != SC_OK) {
            return status;
        }
    }
    return check_coverage(file, all, data_bytes, error);
}

void sc_free_entries(sc_entries *all)
{
    sc_json_free(all->document);
    sc_release(all->allocator, all->list);
}

sc_status sc_check_text(const char *file, const sc_named_text *text, const sc_allocator *allocator, sc_error *error)
{
    if (strcmp(text->name, SC_ASSETS_NAME) == 0) {
        return SC_OK;
    }
    char name[sizeof(sc_label) + 16] = "graph";
    const char *part = part_of(text->name);
    if (part != NULL) {
        snprintf(name, sizeof name, "graph \"%s\"", sc_label_of(part).text);
    }
    sc_json_document *document;
    const sc_status status = parse_json(file, name, text->text, text->bytes, allocator, &document, error);
    sc_json_free(document);
    return status;
}

/* ---- Reading -------------------------------------------------------------------------------------- */

sc_status sc_system_failure(const char *file, const char *doing, int code, sc_error *error)
{
    return sc_fail(error, SC_BAD_FILE, "%s: %s: %s", file, doing, sc_label_of(strerror(code)).text);
}

/* `count` bytes, however many calls that takes; fewer when the file ends before. */
static bool read_all(int descriptor, unsigned char *to, size_t count)
{
    while (count > 0) {
        const ssize_t done = read(descriptor, to, count < READ_BYTES ? count : READ_BYTES);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            errno = done == 0 ? 0 : errno;
            return false;
        }
        to += done;
        count -= (size_t)done;
    }
    return true;
}

static sc_status read_failure(const char *label, sc_error *error)
{
    return errno != 0 ? sc_system_failure(label, "cannot be read", errno, error)
                      : sc_fail(error, SC_BAD_FILE, "%s: truncated while it was read", label);
}

static sc_status read_header_length(sc_file *file, const char *label, const unsigned char length[SC_LENGTH_BYTES],
                                    sc_error *error)
{
    const size_t left = file->bytes - SC_LENGTH_BYTES;
    uint64_t header = 0;
    for (int i = SC_LENGTH_BYTES - 1; i >= 0; i--) {
        header = header << 8 | length[i];
    }
    if (header > SC_MAX_HEADER_BYTES || header > left) {
        return sc_fail(error, SC_BAD_FILE,
                       "%s: not a safetensors file, or truncated: a header of %llu bytes, %zu are left (limit %zu)",
                       label, (unsigned long long)header, left, SC_MAX_HEADER_BYTES);
    }
    file->header_bytes = (size_t)header;
    return SC_OK;
}

/* The header's length comes first, alone: a large file of another kind is refused before memory is asked for it. */
static sc_status read_descriptor(sc_file *file, const char *label, int descriptor, sc_error *error)
{
    struct stat facts;
    if (fstat(descriptor, &facts) != 0) {
        return sc_system_failure(label, "cannot be examined", errno, error);
    }
    if (!S_ISREG(facts.st_mode)) {
        return sc_fail(error, SC_BAD_FILE, "%s: not a regular file", label);
    }
    if (facts.st_size < SC_LENGTH_BYTES) {
        return sc_fail(error, SC_BAD_FILE, "%s: truncated: %lld bytes, a model file has more than 8", label,
                       (long long)facts.st_size);
    }
    if ((uintmax_t)facts.st_size > PTRDIFF_MAX - 64) {
        return sc_fail(error, SC_BAD_FILE, "%s: %lld bytes are too many for this machine", label,
                       (long long)facts.st_size);
    }
    unsigned char length[SC_LENGTH_BYTES];
    if (!read_all(descriptor, length, SC_LENGTH_BYTES)) {
        return read_failure(label, error);
    }
    file->bytes = (size_t)facts.st_size;
    const size_t left = file->bytes - SC_LENGTH_BYTES;
    const sc_status status = read_header_length(file, label, length, error);
    if (status != SC_OK) {
        return status;
    }
    if (file->mapped) {
        void *start = mmap(NULL, file->bytes, PROT_READ, MAP_SHARED, descriptor, 0);
        file->mapped = start != MAP_FAILED;
        file->start = start;
        return file->mapped ? SC_OK : sc_system_failure(label, "cannot be mapped", errno, error);
    }
    file->memory = sc_allocate(&file->allocator, file->bytes);
    if (file->memory == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "%s: not enough memory for %zu bytes", label, file->bytes);
    }
    file->start = file->memory;
    memcpy(file->memory, length, SC_LENGTH_BYTES); /* data keeps the alignment that it has in the file */
    return read_all(descriptor, file->memory + SC_LENGTH_BYTES, left) ? SC_OK : read_failure(label, error);
}

static sc_status read_path(sc_file *file, const char *path, const char *label, sc_error *error)
{
    /* O_NONBLOCK: opening a FIFO must not wait for its writer. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) {
        return sc_system_failure(label, "cannot be opened", errno, error);
    }
    sc_status status = read_descriptor(file, label, descriptor, error);
    close(descriptor);
    return status;
}

/* Takes over what a header that was checked says. */
static void take_entries(sc_file *file, sc_entries *all, const char *data)
{
    for (size_t i = 0; i < all->count; i++) {
        const sc_entry *e = &all->list[i];
        if (e->is_text) {
            file->texts[file->n_texts++] = (sc_named_text){e->tensor.name, data + e->begin, e->end - e->begin};
        } else {
            file->tensors[file->count] = e->tensor;
            file->tensors[file->count++].data = data + e->begin;
        }
    }
    file->header = all->document; /* it holds the names */
    all->document = NULL;
}

static size_t count_texts(const sc_entries *all)
{
    size_t texts = 0;
    for (size_t i = 0; i < all->count; i++) {
        texts += all->list[i].is_text;
    }
    return texts;
}

/* Fills in tensors and texts from the file's bytes. */
static sc_status read_header(sc_file *file, const char *label, sc_error *error)
{
    const char *header = (const char *)file->start + SC_LENGTH_BYTES, *data = header + file->header_bytes;
    const size_t data_bytes = file->bytes - SC_LENGTH_BYTES - file->header_bytes;
    sc_entries all = {.allocator = &file->allocator};
    sc_status status = sc_check_header(label, header, file->header_bytes, data_bytes, &all, error);
    if (status == SC_OK) {
        const size_t texts = count_texts(&all);
        file->texts = sc_allocate_zeros(&file->allocator, texts, sizeof *file->texts);
        file->tensors = sc_allocate_zeros(&file->allocator, all.count - texts, sizeof *file->tensors);
        if (file->texts == NULL || file->tensors == NULL) {
            status = sc_fail(error, SC_NO_MEMORY, "%s: not enough memory for %zu tensors", label, all.count);
        } else {
            take_entries(file, &all, data);
        }
    }
    sc_free_entries(&all);
    for (size_t i = 0; status == SC_OK && i < file->n_texts; i++) {
        status = sc_check_text(label, &file->texts[i], &file->allocator, error);
    }
    return status;
}

/* A file with nothing read yet. */
static sc_status new_file(const char *label, const sc_allocator *allocator, sc_file **file, sc_error *error)
{
    if (!sc_little_endian()) {
        return sc_fail(error, SC_UNSUPPORTED, "%s: model files are read on little-endian machines only", label);
    }
    *file = sc_allocate_zeros(allocator, 1, sizeof **file);
    if (*file == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "%s: not enough memory", label);
    }
    (*file)->allocator = *allocator;
    return SC_OK;
}

/* Gives the caller a file whose bytes are there, once its header has been read. */
static sc_status finish_file(sc_file *made, sc_status status, const char *label, sc_file **file, sc_error *error)
{
    if (status == SC_OK) {
        status = read_header(made, label, error);
    }
    if (status != SC_OK) {
        sc_file_close(made);
        return status;
    }
    *file = made;
    return SC_OK;
}

sc_status sc_file_read(const char *path, bool map, const sc_allocator *allocator, sc_file **file, sc_error *error)
{
    if (file == NULL || path == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "path and file must not be NULL");
    }
    *file = NULL;
    const sc_label label = sc_label_of(path);
    sc_file *made = NULL;
    const sc_status status = new_file(label.text, allocator, &made, error);
    if (status == SC_OK) {
        made->mapped = map;
    }
    return status == SC_OK ? finish_file(made, read_path(made, path, label.text, error), label.text, file, error) : status;
}

static sc_status read_memory(sc_file *file, const void *bytes, size_t size, const char *label, sc_error *error)
{
    if ((uintptr_t)bytes % 8 != 0) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s: misaligned: the bytes must begin at a multiple of 8", label);
    }
    if (size < SC_LENGTH_BYTES || size > PTRDIFF_MAX) {
        return sc_fail(error, SC_BAD_FILE, "%s: truncated: %zu bytes, a model file has more than 8", label, size);
    }
    file->start = bytes;
    file->bytes = size;
    return read_header_length(file, label, bytes, error);
}

sc_status sc_file_borrow(const void *bytes, size_t size, const char *label, const sc_allocator *allocator, sc_file **file,
                         sc_error *error)
{
    if (file == NULL || bytes == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "bytes and file must not be NULL");
    }
    *file = NULL;
    const sc_label shown = sc_label_of(label != NULL ? label : "memory");
    sc_file *made = NULL;
    const sc_status status = new_file(shown.text, allocator, &made, error);
    return status == SC_OK ? finish_file(made, read_memory(made, bytes, size, shown.text, error), shown.text, file, error)
                           : status;
}

sc_status sc_file_open(const char *path, sc_file **file, sc_error *error)
{
    return sc_file_read(path, false, &sc_c_library, file, error);
}

sc_status sc_file_map(const char *path, sc_file **file, sc_error *error)
{
    return sc_file_read(path, true, &sc_c_library, file, error);
}

sc_status sc_file_open_memory(const void *bytes, size_t size, const char *label, sc_file **file, sc_error *error)
{
    return sc_file_borrow(bytes, size, label, &sc_c_library, file, error);
}

void sc_file_close(sc_file *file)
{
    if (file != NULL) {
        const sc_allocator allocator = file->allocator;
        if (file->mapped && file->start != NULL) {
            munmap((void *)file->start, file->bytes);
        }
        sc_release(&allocator, file->memory);
        sc_json_free(file->header);
        sc_release(&allocator, file->tensors);
        sc_release(&allocator, file->texts);
        sc_release(&allocator, file);
    }
}

/* Texts are few: three, mostly. */
static const char *given_text(const sc_named_text *text, size_t *bytes)
{
    if (bytes != NULL) {
        *bytes = text != NULL ? text->bytes : 0;
    }
    return text != NULL ? text->text : NULL;
}

const char *sc_file_text(const sc_file *file, const char *name, size_t *bytes)
{
    const sc_named_text *found = NULL;
    for (size_t i = 0; file != NULL && name != NULL && i < file->n_texts; i++) {
        found = strcmp(file->texts[i].name, name) == 0 ? &file->texts[i] : found;
    }
    return given_text(found, bytes);
}

const char *sc_file_part(const sc_file *file, const char *part, size_t *bytes)
{
    const sc_named_text *found = NULL;
    if (part == NULL) {
        return sc_file_text(file, SC_GRAPH_NAME, bytes);
    }
    for (size_t i = 0; i < file->n_texts; i++) {
        const char *name = part_of(file->texts[i].name);
        found = name != NULL && strcmp(name, part) == 0 ? &file->texts[i] : found;
    }
    return given_text(found, bytes);
}

const char *sc_file_graph(const sc_file *file, size_t *bytes)
{
    return sc_file_text(file, SC_GRAPH_NAME, bytes);
}

const sc_named_text *sc_file_texts(const sc_file *file, size_t *count)
{
    if (count != NULL) {
        *count = file != NULL ? file->n_texts : 0;
    }
    return file != NULL ? file->texts : NULL;
}

const sc_tensor *sc_file_tensors(const sc_file *file, size_t *count)
{
    if (count != NULL) {
        *count = file != NULL ? file->count : 0;
    }
    return file != NULL ? file->tensors : NULL;
}

