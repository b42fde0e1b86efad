/* Model files, written; the format is in modelfile.c.
 *
 * The same input gives the same bytes: I64 tensors, F32 tensors, then texts, each in the caller's order, behind a
 * header padded so that the data starts at a multiple of 64; everything is aligned. The file is made beside `path` and
 * renamed over it when it is whole and on the disk, so a failure leaves the old one. A symbolic link is replaced by the
 * file, a device or folder never. No check of a format stands here: the reader's check is applied. */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#include "modelfile.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_ALIGNMENT 64

/* What a file is to hold. */
typedef struct contents {
    const sc_named_text *texts;
    size_t n_texts;
    const sc_tensor *tensors;
    size_t n_tensors;
} contents;

/* ---- The header ----------------------------------------------------------------------------------- */

/* Text that grows. After a failed allocation it stays as it is and says so. */
typedef struct text {
    char *bytes;
    size_t used, capacity;
    bool failed;
} text;

static void append(text *t, const char *bytes, size_t count)
{
    size_t needed;
    if (t->failed || !sc_add(t->used, count, &needed) || needed > SIZE_MAX / 2) {
        t->failed = true;
        return;
    }
    if (needed > t->capacity) {
        size_t capacity = needed < 512 ? 1024 : needed * 2;
        char *grown = realloc(t->bytes, capacity);
        if (grown == NULL) {
            t->failed = true;
            return;
        }
        t->bytes = grown;
        t->capacity = capacity;
    }
    memcpy(t->bytes + t->used, bytes, count);
    t->used = needed;
}

static void append_string(text *t, const char *string)
{
    append(t, string, strlen(string));
}

static void append_size(text *t, size_t size)
{
    char digits[24];
    append(t, digits, (size_t)snprintf(digits, sizeof digits, "%zu", size));
}

static void append_quoted(text *t, const char *string)
{
    append(t, "\"", 1);
    for (; *string != '\0'; string++) {
        char escape[8];
        if (*string == '"' || *string == '\\') {
            append(t, escape, (size_t)snprintf(escape, sizeof escape, "\\%c", *string));
        } else if ((unsigned char)*string < 0x20) {
            append(t, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)*string));
        } else {
            append(t, string, 1);
        }
    }
    append(t, "\"", 1);
}

static void append_entry(text *t, const char *name, const char *dtype, const size_t *shape, size_t rank, size_t begin,
                         size_t end)
{
    append(t, t->used > SC_LENGTH_BYTES ? "," : "{", 1);
    append_quoted(t, name);
    append_string(t, ":{\"dtype\":\"");
    append_string(t, dtype);
    append_string(t, "\",\"shape\":[");
    for (size_t i = 0; i < rank; i++) {
        append(t, ",", i > 0);
        append_size(t, shape[i]);
    }
    append_string(t, "],\"data_offsets\":[");
    append_size(t, begin);
    append(t, ",", 1);
    append_size(t, end);
    append_string(t, "]}");
}

/* What the header cannot tell: that the caller's memory is there. */
static sc_status check_arguments(const char *path, const contents *c, sc_error *error)
{
    bool given = path != NULL && (c->texts != NULL || c->n_texts == 0) && (c->tensors != NULL || c->n_tensors == 0);
    for (size_t i = 0; given && i < c->n_texts; i++) {
        given = c->texts[i].name != NULL && c->texts[i].text != NULL;
    }
    if (!given) {
        return sc_fail(error, SC_BAD_ARGUMENT, "sc_file_write: path, texts, their names and tensors must not be NULL");
    }
    for (size_t i = 0; i < c->n_tensors; i++) {
        const sc_tensor *t = &c->tensors[i];
        size_t bytes;
        if (t->name == NULL) {
            return sc_fail(error, SC_BAD_ARGUMENT, "sc_file_write: tensor %zu has no name", i);
        }
        const char *problem = NULL;
        if ((size_t)t->dtype >= SC_DTYPES) {
            problem = "expected dtype SC_F32 or SC_I64";
        } else if (t->rank > SC_MAX_RANK) {
            problem = "expected a rank of at most SC_MAX_RANK";
        } else if (!sc_tensor_bytes(t->shape, t->rank, sc_elements[t->dtype].bytes, &bytes)) {
            problem = "its shape is too large for this machine";
        } else if (t->data == NULL && bytes > 0) {
            problem = "its data is NULL";
        }
        if (problem != NULL) {
            return sc_fail(error, SC_BAD_ARGUMENT, "sc_file_write: tensor \"%s\": %s", sc_label_of(t->name).text,
                           problem);
        }
    }
    return SC_OK;
}

static size_t bytes_of(const sc_tensor *tensor)
{
    size_t bytes = 0;
    sc_tensor_bytes(tensor->shape, tensor->rank, sc_elements[tensor->dtype].bytes, &bytes);
    return bytes;
}

/* The order of the data; texts come after it. */
static const sc_dtype dtype_order[SC_DTYPES] = {SC_I64, SC_F32};

/* Length and header of a file; *data_bytes is the size of what follows. */
static sc_status make_header(const char *file, const contents *c, text *header, size_t *data_bytes, sc_error *error)
{
    static const char room[DATA_ALIGNMENT] = {0};
    size_t at = 0, end;
    bool fits = true;
    append(header, room, SC_LENGTH_BYTES);
    for (size_t d = 0; d < SC_DTYPES; d++) {
        for (size_t i = 0; fits && i < c->n_tensors; i++) {
            const sc_tensor *t = &c->tensors[i];
            if (t->dtype == dtype_order[d] && (fits = sc_add(at, bytes_of(t), &end))) {
                append_entry(header, t->name, sc_elements[t->dtype].name, t->shape, t->rank, at, end);
                at = end;
            }
        }
    }
    for (size_t i = 0; fits && i < c->n_texts; i++) {
        if ((fits = sc_add(at, c->texts[i].bytes, &end))) {
            append_entry(header, c->texts[i].name, "U8", &c->texts[i].bytes, 1, at, end);
            at = end;
        }
    }
    if (!fits) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s: too many bytes of tensors", file);
    }
    append_string(header, header->used > SC_LENGTH_BYTES ? "}" : "{}");
    while (!header->failed && header->used % DATA_ALIGNMENT != 0) {
        append(header, " ", 1);
    }
    if (header->failed) {
        return sc_fail(error, SC_NO_MEMORY, "%s: not enough memory for a header of %zu tensors", file, c->n_tensors);
    }
    uint64_t length = header->used - SC_LENGTH_BYTES;
    if (length > SC_MAX_HEADER_BYTES) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s: a header of %zu bytes; at most %zu are possible", file,
                       header->used - SC_LENGTH_BYTES, SC_MAX_HEADER_BYTES);
    }
    for (int i = 0; i < SC_LENGTH_BYTES; i++) {
        header->bytes[i] = (char)(length >> (8 * i) & 0xFF);
    }
    *data_bytes = at;
    return SC_OK;
}

/* Reads what was made, as a reader will: duplicate or malformed names and a graph that is no JSON are refused here. */
static sc_status check_made(const char *file, const text *header, size_t data_bytes, const contents *c, sc_error *error)
{
    sc_entries all = {.allocator = &sc_c_library};
    const char *json = header->bytes + SC_LENGTH_BYTES;
    sc_status status = sc_check_header(file, json, header->used - SC_LENGTH_BYTES, data_bytes, &all, error);
    sc_free_entries(&all);
    for (size_t i = 0; status == SC_OK && i < c->n_texts; i++) {
        status = sc_check_text(file, &c->texts[i], &sc_c_library, error);
    }
    if (status == SC_BAD_FILE) { /* not the file is bad, but what was to be written */
        status = SC_BAD_ARGUMENT;
        if (error != NULL) {
            error->status = status;
        }
    }
    return status;
}

/* ---- The file ---------------------------------------------------------------------------------------- */

static bool write_bytes(int descriptor, const void *bytes, size_t count)
{
    const char *at = bytes;
    while (count > 0) {
        ssize_t written = write(descriptor, at, count < (1u << 30) ? count : 1u << 30);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        at += written;
        count -= (size_t)written;
    }
    return true;
}

static bool write_all(int descriptor, const text *header, const contents *c)
{
    bool good = write_bytes(descriptor, header->bytes, header->used);
    for (size_t d = 0; d < SC_DTYPES; d++) {
        for (size_t i = 0; good && i < c->n_tensors; i++) {
            if (c->tensors[i].dtype == dtype_order[d]) {
                good = write_bytes(descriptor, c->tensors[i].data, bytes_of(&c->tensors[i]));
            }
        }
    }
    for (size_t i = 0; good && i < c->n_texts; i++) {
        good = write_bytes(descriptor, c->texts[i].text, c->texts[i].bytes);
    }
    return good && fsync(descriptor) == 0;
}

/* The folder of `path` with its slash, and room for `extra` bytes; NULL without memory. */
static char *folder_of(const char *path, size_t extra)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    char *folder = malloc(length + extra + 1);
    if (folder != NULL) {
        memcpy(folder, path, length);
        folder[length] = '\0';
    }
    return folder;
}

#define TEMPORARY_BYTES 64

/* A new file beside `path`, opened for writing with the permissions of `path` or, when that is new, those that the
 * umask leaves; `temporary` gets its path. O_EXCL decides between threads and processes that try the same name.
 * Returns the descriptor, or -1 and errno. */
static int open_temporary(const char *path, char *temporary)
{
    struct stat old, made;
    bool replaces = stat(path, &old) == 0;
    if (replaces && !S_ISREG(old.st_mode)) {
        errno = S_ISDIR(old.st_mode) ? EISDIR : EINVAL; /* a rename would destroy a device or FIFO */
        return -1;
    }
    mode_t mode = replaces ? old.st_mode & 0777 : 0666;
    size_t folder = strlen(temporary);
    int descriptor = -1;
    errno = EEXIST;
    for (int i = 0; descriptor < 0 && errno == EEXIST && i < 1000; i++) {
        snprintf(temporary + folder, TEMPORARY_BYTES, ".seqcore-%ld-%d.tmp", (long)getpid(), i);
        descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    }
    if (descriptor < 0) {
        return -1;
    }
    if (fstat(descriptor, &made) != 0 ||
        (replaces && (made.st_mode & 0777) != mode && fchmod(descriptor, mode) != 0)) {
        int code = errno;
        close(descriptor);
        unlink(temporary);
        errno = code;
        return -1;
    }
    return descriptor;
}

/* Makes the rename itself durable. Not every file system can; the file is whole either way. */
static void sync_folder(const char *path)
{
    char *folder = folder_of(path, 1);
    if (folder == NULL) {
        return;
    }
    int descriptor = open(folder[0] == '\0' ? "." : folder, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (descriptor >= 0) {
        fsync(descriptor);
        close(descriptor);
    }
    free(folder);
}

static sc_status replace_file(const char *path, const char *label, const text *header, const contents *c, sc_error *error)
{
    char *temporary = folder_of(path, TEMPORARY_BYTES);
    if (temporary == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "%s: not enough memory", label);
    }
    sc_status status = SC_OK;
    int descriptor = open_temporary(path, temporary);
    if (descriptor < 0) {
        status = sc_system_failure(label, "cannot be written", errno, error);
    } else {
        bool good = write_all(descriptor, header, c);
        int code = errno;
        if (close(descriptor) != 0 && good) {
            good = false;
            code = errno;
        }
        if (good && rename(temporary, path) != 0) {
            good = false;
            code = errno;
        }
        if (good) {
            sync_folder(path);
        } else {
            unlink(temporary);
            status = sc_system_failure(label, "cannot be written", code, error);
        }
    }
    free(temporary);
    return status;
}

sc_status sc_file_write_texts(const char *path, const sc_named_text *texts, size_t n_texts, const sc_tensor *tensors,
                              size_t n_tensors, sc_error *error)
{
    const contents c = {texts, n_texts, tensors, n_tensors};
    sc_status status = check_arguments(path, &c, error);
    if (status != SC_OK) {
        return status;
    }
    sc_label label = sc_label_of(path);
    if (!sc_little_endian()) {
        return sc_fail(error, SC_UNSUPPORTED, "%s: model files are written on little-endian machines only", label.text);
    }
    text header = {0};
    size_t data_bytes = 0;
    status = make_header(label.text, &c, &header, &data_bytes, error);
    if (status == SC_OK) {
        status = check_made(label.text, &header, data_bytes, &c, error);
    }
    if (status == SC_OK) {
        status = replace_file(path, label.text, &header, &c, error);
    }
    free(header.bytes);
    return status;
}

sc_status sc_file_write(const char *path, const char *graph, size_t graph_bytes, const sc_tensor *tensors,
                        size_t count, sc_error *error)
{
    const sc_named_text text = {SC_GRAPH_NAME, graph, graph_bytes};
    return sc_file_write_texts(path, &text, 1, tensors, count, error);
}
