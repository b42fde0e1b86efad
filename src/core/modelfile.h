/* Between the reader (modelfile.c) and the writer (modelfile_write.c) of model files: the element types and the check
 * of a header, which the reader applies to a file and the writer to what it is about to write.
 * In messages `file` is the path as sc_label_of shows it. */
#ifndef SC_MODELFILE_H
#define SC_MODELFILE_H

#include "json.h"

#define SC_GRAPH_NAME "__graph__"
#define SC_PART_PREFIX "__graph__." /* and the part's name: a further graph */
#define SC_ASSETS_NAME "__assets__"
#define SC_MAX_ASSETS_BYTES ((size_t)1 << 28) /* whoever reads them parses them, into some times as much memory */
#define SC_LENGTH_BYTES 8                       /* the header's length, before the header */
#define SC_MAX_HEADER_BYTES ((size_t)100000000) /* the limit of the safetensors package */
#define SC_DTYPES 2

extern const struct sc_element {
    const char *name; /* in a header */
    size_t bytes;
} sc_elements[SC_DTYPES]; /* by sc_dtype */

/* One tensor of a header; [begin, end) counts from the start of the data. */
typedef struct sc_entry {
    sc_tensor tensor; /* without data */
    bool is_text;
    size_t begin, end;
    size_t place; /* in the header; keeps the order of empty tensors */
} sc_entry;

typedef struct sc_entries {
    const sc_allocator *allocator;
    sc_json_document *document;
    sc_entry *list; /* sorted by begin */
    size_t count;
} sc_entries;

bool sc_little_endian(void);

/* Bytes of a tensor. false on overflow, also where a 0 elsewhere in the shape would hide it. */
bool sc_tensor_bytes(const size_t *shape, size_t rank, size_t element, size_t *bytes);

/* Everything that a header alone can tell; data_bytes is the size of what follows it. `all` starts as its allocator alone
 * and, on failure too, ends with sc_free_entries. */
sc_status sc_check_header(const char *file, const char *text, size_t bytes, size_t data_bytes, sc_entries *all,
                          sc_error *error);
void sc_free_entries(sc_entries *all);

/* That a graph is a JSON object; what it means is the plan's to check. Assets are any bytes. */
sc_status sc_check_text(const char *file, const sc_named_text *text, const sc_allocator *allocator, sc_error *error);

/* The graph of a part; NULL: the main one. NULL when there is none. */
const char *sc_file_part(const sc_file *file, const char *part, size_t *bytes);

/* sc_file_open and sc_file_open_memory with the caller's allocator. */
sc_status sc_file_read(const char *path, bool map, const sc_allocator *allocator, sc_file **file, sc_error *error);
sc_status sc_file_borrow(const void *bytes, size_t size, const char *label, const sc_allocator *allocator, sc_file **file,
                         sc_error *error);

/* "<file>: <doing>: <what errno `code` means>" */
sc_status sc_system_failure(const char *file, const char *doing, int code, sc_error *error);

#endif
