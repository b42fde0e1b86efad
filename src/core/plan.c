/* Plans made and freed: their memory, their options, the files they come from. graph.c reads the graph, run.c and stream.c use
 * what comes of it. */
#include "modelfile.h"
#include "packed.h"
#include "plan.h"
#include "state.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Memory --------------------------------------------------------------------------------------- */

void *sc_plan_alloc(sc_plan *plan, size_t count, size_t size)
{
    size_t bytes = 0;
    if (!sc_mul(count, size, &bytes) || bytes > SIZE_MAX - 64) {
        return NULL;
    }
    char *memory = sc_allocate(&plan->allocator, bytes + 64);
    if (memory == NULL) {
        return NULL;
    }
    memset(memory, 0, bytes + 64);
    sc_block *block = (sc_block *)(void *)memory; /* the list's link takes the first line */
    block->next = plan->blocks;
    plan->blocks = block;
    return memory + 64;
}

void sc_plan_free(sc_plan *plan)
{
    if (plan == NULL) {
        return;
    }
    if (atomic_fetch_sub_explicit(&plan->users, 1, memory_order_acq_rel) > 1) {
        return;
    }
    const sc_allocator allocator = plan->allocator;
    sc_workspaces_free(plan, &plan->workspaces);
    while (plan->blocks != NULL) {
        sc_block *next = plan->blocks->next;
        sc_release(&allocator, plan->blocks);
        plan->blocks = next;
    }
    sc_json_free(plan->document);
    sc_file_close(plan->file);
    sc_release(&allocator, plan);
}

/* ---- From a graph, or a file -------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const sc_tensor *const *)a)->name, (*(const sc_tensor *const *)b)->name);
}

/* Weights are found by bisection. The list lives as long as the plan, which costs a pointer a tensor. */
static sc_status sort_tensors(sc_builder *builder, const sc_tensor *tensors, size_t count)
{
    const sc_tensor **sorted = sc_plan_alloc(builder->plan, count, sizeof *sorted);
    if (sorted == NULL) {
        return sc_no_memory(builder);
    }
    for (size_t i = 0; i < count; i++) {
        if (tensors[i].name == NULL || tensors[i].rank > SC_MAX_RANK) {
            return sc_fail(builder->error, SC_BAD_ARGUMENT, "tensor %zu has no name, or more than %d axes", i, SC_MAX_RANK);
        }
        sorted[i] = &tensors[i];
    }
    qsort(sorted, count, sizeof *sorted, by_name);
    builder->tensors = sorted;
    return SC_OK;
}

/* Drops the tensors that no node names, but for packed ones: a file may hold those of other graphs. Nodes are checked later. */
static sc_status drop_others(sc_builder *builder)
{
    const sc_allocator *allocator = &builder->plan->allocator;
    bool *wanted = sc_allocate_zeros(allocator, builder->n_tensors, sizeof *wanted);
    if (wanted == NULL) {
        return sc_no_memory(builder);
    }
    const sc_json *nodes = sc_json_get(sc_json_root(builder->plan->document), "nodes");
    for (const sc_json *node = nodes != NULL ? nodes->child : NULL; node != NULL; node = node->next) {
        const sc_json *weights = sc_json_get(node, "weights");
        for (const sc_json *name = weights != NULL ? weights->child : NULL; name != NULL; name = name->next) {
            const size_t place = name->type == SC_JSON_STRING ? sc_tensor_place(builder, name->string) : SC_NONE;
            if (place != SC_NONE) {
                wanted[place] = true;
            }
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < builder->n_tensors; i++) {
        if (wanted[i] || sc_is_packed_name(builder->tensors[i]->name)) {
            builder->tensors[kept++] = builder->tensors[i];
        }
    }
    builder->n_tensors = kept;
    sc_release(allocator, wanted);
    return SC_OK;
}

/* Of the graph's text and its tensors: what saved states belong to. */
static void take_fingerprint(const sc_builder *builder, const char *graph, size_t graph_bytes)
{
    uint64_t *hash = builder->plan->fingerprint;
    sc_hash(hash, graph, graph_bytes);
    for (size_t i = 0; i < builder->n_tensors && builder->plan->runnable; i++) {
        const sc_tensor *t = builder->tensors[i];
        if (sc_is_packed_name(t->name)) {
            continue;
        }
        size_t count = 0;
        if (!sc_tensor_bytes(t->shape, t->rank, t->dtype == SC_I64 ? sizeof(int64_t) : sizeof(float), &count)) {
            continue; /* no memory can hold it: whoever needs it finds that it does not fit */
        }
        sc_hash(hash, t->name, strlen(t->name));
        sc_hash(hash, t->shape, t->rank * sizeof *t->shape);
        if (t->data != NULL) {
            sc_hash(hash, t->data, count);
        }
    }
}

static sc_status check_allocator(const sc_allocator *allocator, sc_error *error)
{
    return (allocator->allocate == NULL) == (allocator->release == NULL)
               ? SC_OK
               : sc_fail(error, SC_BAD_ARGUMENT, "an allocator must have both of its functions, or none");
}

sc_status sc_plan_create(const char *graph, size_t graph_bytes, const sc_tensor *tensors, size_t count,
                         const sc_options *options, sc_plan **result, sc_error *error)
{
    if (graph == NULL || result == NULL || (tensors == NULL && count > 0)) {
        return sc_fail(error, SC_BAD_ARGUMENT, "sc_plan_create: graph, tensors and plan must not be NULL");
    }
    const sc_options defaults = {0};
    const sc_options *o = options != NULL ? options : &defaults;
    const char *isa = o->isa != NULL ? o->isa : sc_cpu_info()->isa;
    const sc_kernels *kernels = sc_kernels_find(isa);
    if (kernels == NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "instruction set '%s' is not available on this machine", isa);
    }
    if (o->threads < 0) {
        return sc_fail(error, SC_BAD_ARGUMENT, "threads must be 0 or more, found %d", o->threads);
    }
    if (o->team < 0 || o->team > o->threads || (o->team > 0 && o->threads % o->team != 0)) {
        return sc_fail(error, SC_BAD_ARGUMENT, "threads must be a multiple of team, found %d and %d", o->threads, o->team);
    }
    if (o->precision != NULL && strcmp(o->precision, "float32") != 0) {
        return sc_fail(error, SC_UNSUPPORTED, "precision '%s' is not available; float32 is", o->precision);
    }
    if (o->part != NULL) {
        return sc_fail(error, SC_BAD_ARGUMENT, "part '%s': a graph that is no file's has no parts",
                       sc_label_of(o->part).text);
    }
    if (check_allocator(&o->allocator, error) != SC_OK) {
        return SC_BAD_ARGUMENT;
    }
    sc_plan *plan = sc_allocate_zeros(&o->allocator, 1, sizeof *plan);
    if (plan == NULL) {
        return sc_fail(error, SC_NO_MEMORY, "out of memory while the plan was built");
    }
    plan->allocator = o->allocator;
    atomic_store(&plan->users, 1);
    snprintf(plan->packed_name, sizeof plan->packed_name, SC_PACKED_PREFIX "%s", kernels->isa);
    plan->kernels = kernels;
    plan->threads = o->threads;
    plan->team = o->team;
    plan->runnable = o->shapes_only == 0;
    sc_builder builder = {.plan = plan, .n_tensors = count, .error = error};
    sc_status status = sort_tensors(&builder, tensors, count);
    if (status == SC_OK) {
        status = sc_json_parse(graph, graph_bytes, "the graph", &plan->allocator, &plan->document, error);
    }
    if (status == SC_OK) {
        status = drop_others(&builder);
    }
    if (status == SC_OK) {
        take_fingerprint(&builder, graph, graph_bytes);
        if (o->in_place) {
            sc_packed_find(&builder);
        }
        status = sc_graph_read(&builder, sc_json_root(plan->document));
    }
    if (status == SC_OK && !sc_packed_fits(&builder)) {
        sc_options again = *o;
        again.in_place = 0;
        sc_plan_free(plan);
        return sc_plan_create(graph, graph_bytes, tensors, count, &again, result, error);
    }
    if (status == SC_OK) {
        status = sc_step_plan_make(plan, error);
    }
    if (status != SC_OK) {
        sc_plan_free(plan);
        return status;
    }
    *result = plan;
    return SC_OK;
}

/* Takes the file over. */
static sc_status plan_of_file(sc_file *file, const char *path, const sc_options *options, sc_plan **plan, sc_error *error)
{
    size_t bytes = 0, count = 0;
    sc_options rest = options != NULL ? *options : (sc_options){0};
    const char *graph = sc_file_part(file, rest.part, &bytes);
    const sc_tensor *tensors = sc_file_tensors(file, &count);
    sc_status status;
    if (graph == NULL) {
        status = sc_fail(error, SC_BAD_FILE, "%s: no tensor \"%s%s\": the file has no such part", sc_label_of(path).text,
                         SC_PART_PREFIX, sc_label_of(rest.part).text);
    } else {
        rest.part = NULL;
        status = sc_plan_create(graph, bytes, tensors, count, &rest, plan, error);
    }
    if (status == SC_OK && (*plan)->bytes_in_place > 0) {
        (*plan)->file = file;
    } else {
        sc_file_close(file);
    }
    return status;
}

sc_status sc_plan_open(const char *path, const sc_options *options, sc_plan **plan, sc_error *error)
{
    const sc_allocator *allocator = options != NULL ? &options->allocator : &sc_c_library;
    sc_file *file = NULL;
    sc_status status = check_allocator(allocator, error);
    if (status == SC_OK) {
        const bool map = options != NULL && options->in_place;
        status = sc_file_read(path, map, allocator, &file, error);
    }
    return status == SC_OK ? plan_of_file(file, path, options, plan, error) : status;
}

sc_status sc_plan_open_memory(const void *bytes, size_t size, const sc_options *options, sc_plan **plan, sc_error *error)
{
    const sc_allocator *allocator = options != NULL ? &options->allocator : &sc_c_library;
    sc_file *file = NULL;
    sc_status status = check_allocator(allocator, error);
    if (status == SC_OK) {
        status = sc_file_borrow(bytes, size, NULL, allocator, &file, error);
    }
    return status == SC_OK ? plan_of_file(file, "memory", options, plan, error) : status;
}
