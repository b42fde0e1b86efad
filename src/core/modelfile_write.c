/* Model files, written; the format is in modelfile.c.
 *
 * The same input gives the same bytes: I64 tensors, F32 tensors, each in the caller's order, then the graph, behind a
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
static sc_status check_arguments(const char *path, const char *graph, const sc_tensor *tensors, size_t count,
                                 sc_error *error)
{
    if (path == NULL || graph == NULL || (tensors == NULL && count > 0)) {
        return sc_fail(error, SC_BAD_ARGUMENT, "sc_file_write: path, graph and tensors must not be NULL");
    }
    for (size_t i = 0; i < count; i++) {
        const sc_tensor *t = &tensors[i];
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

/* The order of the data; the graph comes after it. */
static const sc_dtype dtype_order[SC_DTYPES] = {SC_I64, SC_F32};

/* Length and header of a file; *data_bytes is the size of what follows. */
static sc_status make_header(const char *file, const sc_tensor *tensors, size_t count, size_t graph_bytes,
                             text *header, size_t *data_bytes, sc_error *error)
{
    static const char room[DATA_ALIGNMENT] = {0};
    size_t at = 0, end;
    append(header, room, SC_LENGTH_BYTES);
    for (size_t d = 0; d < SC_DTYPES; d++) {
        for (size_t i = 0; i < count; i++) {
            const sc_tensor *t = &tensors[i];
            if (t->dtype == dtype_order[d]) {
                if (!sc_add(at, bytes_of(t), &end)) {
                    return sc_fail(error, SC_BAD_ARGUMENT, "%s: too many bytes of tensors", file);
                }
                append_entry(header, t->name, sc_elements[t->dtype].name, t->shape, t->rank, at, end);
                at = end;
            }
        }
    }
    if (!sc_add(at, graph_bytes, &end)) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s: too many bytes of tensors", file);
    }
    append_entry(header, SC_GRAPH_NAME, "U8", &graph_bytes, 1, at, end);
    append(header, "}", 1);
    while (!header->failed && header->used % DATA_ALIGNMENT != 0) {
        append(header, " ", 1);
    }
    if (header->failed) {
        return sc_fail(error, SC_NO_MEMORY, "%s: not enough memory for a header of %zu tensors", file, count);
    }
    uint64_t length = header->used - SC_LENGTH_BYTES;
    if (length > SC_MAX_HEADER_BYTES) {
        return sc_fail(error, SC_BAD_ARGUMENT, "%s: a header of %zu bytes; at most %zu are possible", file,
                       header->used - SC_LENGTH_BYTES, SC_MAX_HEADER_BYTES);
    }
    for (int i = 0; i < SC_LENGTH_BYTES; i++) {
        header->bytes[i] = (char)(length >> (8 * i) & 0xFF);
    }
    *data_bytes = end;
    return SC_OK;
}

/* Reads what was made, as a reader will: duplicate or malformed names and a graph that is no JSON are refused here. */
static sc_status check_made(const char *file, const text *header, size_t data_bytes, const char *graph,
                            size_t graph_bytes, sc_error *error)
{
    sc_entries all = {.allocator = &sc_c_library};
    const char *json = header->bytes + SC_LENGTH_BYTES;
    sc_status status = sc_check_header(file, json, header->used - SC_LENGTH_BYTES, data_bytes, &all, error);
    sc_free_entries(&all);
    if (status == SC_OK) {
        status = sc_check_graph(file, graph, graph_bytes, &sc_c_library, error);
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

static bool write_all(int descriptor, const text *header, const char *graph, size_t graph_bytes,
                      const sc_tensor *tensors, size_t count)
{
    bool good = write_bytes(descriptor, header->bytes, header->used);
    for (size_t d = 0; d < SC_DTYPES; d++) {
        for (size_t i = 0; good && i < count; i++) {
            if (tensors[i].dtype == dtype_order[d]) {
                good = write_bytes(descriptor, tensors[i].data, bytes_of(&tensors[i]));
            }
        }
    }
    return good && write_bytes(descriptor, graph, graph_bytes) && fsync(descriptor) == 0;
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

static sc_status replace_file(const char *path, const char *label, const text *header, const char *graph,
                              size_t graph_bytes, const sc_tensor *tensors, size_t count, sc_error *error)
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
        bool good = write_all(descriptor, header, graph, graph_bytes, tensors, count);
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

sc_status sc_file_write(const char *path, const char *graph, size_t graph_bytes, const sc_tensor *tensors,
                        size_t count, sc_error *error)
{
    sc_status status = check_arguments(path, graph, tensors, count, error);
    if (status != SC_OK) {
        return status;
    }
    sc_label label = sc_label_of(path);
    if (!sc_little_endian()) {
        return sc_fail(error, SC_UNSUPPORTED, "%s: model files are written on little-endian machines only", label.text);
    }
    text header = {0};
    size_t data_bytes = 0;
    status = make_header(label.text, tensors, count, graph_bytes, &header, &data_bytes, error);
    if (status == SC_OK) {
        status = check_made(label.text, &header, data_bytes, graph, graph_bytes, error);
    }
    if (status == SC_OK) {
        status = replace_file(path, label.text, &header, graph, graph_bytes, tensors, count, error);
    }
    free(header.bytes);
    return status;
}
