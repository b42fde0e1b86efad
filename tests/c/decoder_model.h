/* Decoders for the tests of decoding, of any size, and what they compute worked out in double precision, step by step:
 *
 *   MARKOV     scores of the next token are a row of a table: (V + 1, V), the last of them for a start token
 *   PLAIN      embedding -> SimpleRNN -> Dense
 *   ATTENDING  ... which also sees a context (B, frames, H): the attention of the RNN's output stands beside that
 *   FED        the same, and what the attention gave is an input of the next step's RNN. The graph carries both on */
#ifndef SC_TEST_DECODER_MODEL_H
#define SC_TEST_DECODER_MODEL_H

#include "check.h"

#include <math.h>
#include <stdbool.h>

enum decoder_kind { MARKOV, PLAIN, ATTENDING, FED };

#define MOST_UNITS 40
#define MOST_FRAMES 40

typedef struct decoder {
    enum decoder_kind kind;
    bool additive;               /* scores of the attention; else dot */
    const char *nodes, *outputs; /* more of them, as text that begins with a comma; NULL: none */
    size_t V, H;                 /* tokens; features of everything else */
    float *table;                /* (V + 1, H); of MARKOV (V + 1, V) */
    float *W, *U, *b, *w, *D, *d;
} decoder;

static inline float *decoder_weights(size_t count, float scale)
{
    float *all = malloc(count * sizeof *all);
    CHECK(all != NULL, "%zu", count);
    for (size_t i = 0; i < count; i++) {
        all[i] = scale * ((float)random_below(20001) / 10000.0f - 1.0f);
    }
    return all;
}

static inline decoder decoder_make(enum decoder_kind kind, size_t V, size_t H, bool additive)
{
    CHECK(H <= MOST_UNITS, "%zu", H);
    const size_t I = kind == FED ? 2 * H : H, O = kind >= ATTENDING ? 2 * H : H;
    decoder d = {.kind = kind, .additive = additive, .V = V, .H = H};
    d.table = decoder_weights((V + 1) * (kind == MARKOV ? V : H), 1.0f);
    d.W = decoder_weights(I * H, 0.8f);
    d.U = decoder_weights(H * H, 0.8f);
    d.b = decoder_weights(H, 0.3f);
    d.w = decoder_weights(H, 1.0f);
    d.D = decoder_weights(O * V, 2.0f);
    d.d = decoder_weights(V, 0.5f);
    return d;
}

static inline void decoder_free(decoder *d)
{
    float *const all[] = {d->table, d->W, d->U, d->b, d->w, d->D, d->d};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

/* ---- As a plan ------------------------------------------------------------------------------------------------- */

/* Inputs: the tokens; of ATTENDING and FED then the context, its lengths and its mask; of FED then h and a.
 * Outputs: the scores; of ATTENDING and FED then the attention's weights, and the RNN's output; of FED then h and a. */
enum { TOKENS, CONTEXT, CONTEXT_LENGTHS, CONTEXT_MASK };

static inline size_t decoder_graph(const decoder *d, char *text, size_t size)
{
    const char *const frames = d->kind == FED ? "1" : "null";
    const bool attends = d->kind >= ATTENDING, fed = d->kind == FED;
    char inputs[1024] = "", attention[1024] = "";
    if (attends) {
        snprintf(
            inputs, sizeof inputs,
            ",{\"name\": \"c\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, %zu], \"context\": true},"
            "{\"name\": \"c:lengths\", \"kind\": \"lengths\", \"of\": \"c\"},{\"name\": \"c:mask\", \"kind\": "
            "\"mask\", \"of\": \"c\"}",
            d->H);
        snprintf(attention, sizeof attention,
                 "{\"op\": \"attention\", \"layer\": \"look\", \"inputs\": [\"y\", \"c\", null, null, \"c:mask\"], "
                 "\"lengths\": [null, \"c:lengths\", null, null, null],"
                 " \"outputs\": [\"a\", \"weights\"], \"weights\": {%s}, \"attrs\": {\"score\": \"%s\", \"scale\": "
                 "0.5, \"heads\": 0,"
                 " \"causal\": false, \"masking\": \"zero\", \"shared\": false}},"
                 "{\"op\": \"concat\", \"layer\": \"both\", \"inputs\": [\"y\", \"a\"], \"outputs\": [\"both\"], "
                 "\"attrs\": {\"axis\": -1}},",
                 d->additive ? "\"W\": \"w\"" : "", d->additive ? "additive" : "dot");
    }
    if (fed) {
        const size_t at = strlen(inputs);
        snprintf(
            inputs + at, sizeof inputs - at,
            ",{\"name\": \"h\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [%zu], \"next\": \"h_next\"},"
            "{\"name\": \"fed\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [1, %zu], \"next\": \"a\"}",
            d->H, d->H);
    }
    const char *const outputs =
        fed       ? ",{\"name\": \"weights\", \"value\": \"weights\"},{\"name\": \"y\", \"value\": \"y\"},"
                    "{\"name\": \"h_next\", \"value\": \"h_next\"},{\"name\": \"a\", \"value\": \"a\"}"
        : attends ? ",{\"name\": \"weights\", \"value\": \"weights\"},{\"name\": \"y\", \"value\": \"y\"}"
                  : "";
    const char *const more_nodes = d->nodes != NULL ? d->nodes : "";
    const char *const more_outputs = d->outputs != NULL ? d->outputs : "";
    char body[2048] = "";
    if (d->kind != MARKOV) {
        snprintf(body, sizeof body,
                 ",%s{\"op\": \"simple_rnn\", \"layer\": \"rnn\", \"inputs\": [%s], \"outputs\": [\"y\"%s],"
                 " \"weights\": {\"W\": \"W\", \"U\": \"U\", \"b\": \"b\"}, \"attrs\": {\"units\": %zu, "
                 "\"activation\": [\"tanh\", 0, 0],"
                 " \"reverse\": false, \"realign\": false, \"return_sequences\": true}},%s"
                 "{\"op\": \"dense\", \"layer\": \"scores\", \"inputs\": [\"%s\"], \"outputs\": [\"scores\"], "
                 "\"weights\": {\"W\": \"D\","
                 " \"b\": \"d\"}, \"attrs\": {\"units\": %zu, \"activation\": [\"linear\", 0, 0]}}",
                 fed ? "{\"op\": \"concat\", \"layer\": \"in\", \"inputs\": [\"e\", \"fed\"], \"outputs\": [\"in\"], "
                       "\"attrs\": {\"axis\": -1}},"
                     : "",
                 fed ? "\"in\", \"h\"" : "\"e\"", fed ? ", \"h_next\"" : "", d->H, attention, attends ? "both" : "y",
                 d->V);
    }
    const int length = snprintf(text, size,
                                "{\"format\": \"seqcore\", \"version\": 1, \"inputs\": [{\"name\": \"t\", \"kind\": "
                                "\"data\", \"dtype\": \"int64\", \"shape\": [%s]}%s],"
                                "\"nodes\": [{\"op\": \"embedding\", \"layer\": \"table\", \"inputs\": [\"t\"], "
                                "\"outputs\": [\"e\"], \"weights\": {\"W\": \"E\"},"
                                " \"attrs\": {\"rows\": %zu, \"units\": %zu}}%s%s], \"outputs\": [{\"name\": "
                                "\"scores\", \"value\": \"%s\"}%s%s]}",
                                frames, inputs, d->V + 1, d->kind == MARKOV ? d->V : d->H, body, more_nodes,
                                d->kind == MARKOV ? "e" : "scores", outputs, more_outputs);
    CHECK(length > 0 && (size_t)length < size, "%d", length);
    return (size_t)length;
}

static inline sc_status decoder_try_plan(const decoder *d, const sc_options *options, sc_plan **plan, sc_error *error)
{
    char text[8192];
    const size_t size = decoder_graph(d, text, sizeof text), H = d->H;
    const size_t I = d->kind == FED ? 2 * H : H, O = d->kind >= ATTENDING ? 2 * H : H;
    const sc_tensor tensors[] = {
        {.name = "E", .rank = 2, .shape = {d->V + 1, d->kind == MARKOV ? d->V : H}, .data = d->table},
        {.name = "W", .rank = 2, .shape = {I, H}, .data = d->W},
        {.name = "U", .rank = 2, .shape = {H, H}, .data = d->U},
        {.name = "b", .rank = 1, .shape = {H}, .data = d->b},
        {.name = "w", .rank = 1, .shape = {H}, .data = d->w},
        {.name = "D", .rank = 2, .shape = {O, d->V}, .data = d->D},
        {.name = "d", .rank = 1, .shape = {d->V}, .data = d->d},
    };
    return sc_plan_create(text, size, tensors, sizeof tensors / sizeof *tensors, options, plan, error);
}

static inline sc_plan *decoder_plan(const decoder *d, const sc_options *options)
{
    sc_plan *plan = NULL;
    OK(decoder_try_plan(d, options, &plan, &error));
    return plan;
}

/* ---- In double precision ---------------------------------------------------------------------------------------- */

/* A row's context, and what it carries from step to step. */
typedef struct memory {
    const float *context; /* (frames, H) */
    size_t frames;        /* that there are, */
    const float *mask;    /* ... and which of them count; NULL: all */
    double h[MOST_UNITS], a[MOST_UNITS];
} memory;

/* sum over i of x_i W_ij */
static inline double decoder_column(const double *x, size_t n, const float *W, size_t ld, size_t j)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * (double)W[i * ld + j];
    }
    return sum;
}

static inline bool decoder_sees(const memory *m, size_t j)
{
    return m->mask == NULL || m->mask[j] != 0.0f;
}

/* a = sum over j of softmax_j(s_j) c_j of the frames that count, with s_j = q . c_j / 2, or sum over i of w_i tanh((q_i
 * + c_ji) / 2); zeros of no frame */
static inline void decoder_attend(const decoder *d, memory *m, double *weights)
{
    double total = 0, most = -INFINITY;
    for (size_t j = 0; j < m->frames; j++) {
        weights[j] = 0;
        for (size_t i = 0; i < d->H; i++) {
            const double c = (double)m->context[j * d->H + i];
            weights[j] += d->additive ? (double)d->w[i] * tanh(0.5 * (m->h[i] + c)) : 0.5 * m->h[i] * c;
        }
        most = decoder_sees(m, j) && weights[j] > most ? weights[j] : most;
    }
    for (size_t j = 0; j < m->frames; j++) {
        weights[j] = decoder_sees(m, j) ? exp(weights[j] - most) : 0;
        total += weights[j];
    }
    memset(m->a, 0, sizeof m->a);
    for (size_t j = 0; j < m->frames; j++) {
        weights[j] = total > 0 ? weights[j] / total : 0;
        for (size_t i = 0; i < d->H; i++) {
            m->a[i] += weights[j] * (double)m->context[j * d->H + i];
        }
    }
}

/* Feeds a token: the scores of the next one, and the weights of the attention (or NULL). */
static inline void decoder_step(const decoder *d, memory *m, int64_t token, double *scores, double *weights)
{
    double x[2 * MOST_UNITS], next[MOST_UNITS], both[2 * MOST_UNITS], unused[MOST_FRAMES];
    for (size_t v = 0; d->kind == MARKOV && v < d->V; v++) {
        scores[v] = (double)d->table[(size_t)token * d->V + v];
    }
    if (d->kind == MARKOV) {
        return;
    }
    for (size_t i = 0; i < d->H; i++) {
        x[i] = (double)d->table[(size_t)token * d->H + i];
        x[d->H + i] = m->a[i];
    }
    for (size_t j = 0; j < d->H; j++) {
        next[j] = tanh((double)d->b[j] + decoder_column(x, d->kind == FED ? 2 * d->H : d->H, d->W, d->H, j) +
                       decoder_column(m->h, d->H, d->U, d->H, j));
    }
    memcpy(m->h, next, d->H * sizeof *next);
    if (d->kind >= ATTENDING) {
        decoder_attend(d, m, weights != NULL ? weights : unused);
    }
    memcpy(both, m->h, d->H * sizeof *both);
    memcpy(both + d->H, m->a, d->H * sizeof *both);
    for (size_t v = 0; v < d->V; v++) {
        scores[v] = (double)d->d[v] + decoder_column(both, d->kind >= ATTENDING ? 2 * d->H : d->H, d->D, d->V, v);
    }
}

/* Logits become log-probabilities. */
static inline void decoder_logs(double *scores, size_t V)
{
    double most = -INFINITY, total = 0;
    for (size_t v = 0; v < V; v++) {
        most = scores[v] > most ? scores[v] : most;
    }
    for (size_t v = 0; v < V; v++) {
        total += exp(scores[v] - most);
    }
    for (size_t v = 0; v < V; v++) {
        scores[v] -= most + log(total);
    }
}

#endif
