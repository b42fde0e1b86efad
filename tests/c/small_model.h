/* A small model for the tests of C and of C++: x (B, T, 3) -> causal convolution -> LSTM -> dense (B, T, 2), with
 * weights that are the same everywhere. A step of it keeps three states: "conv:frames", "lstm:h" and "lstm:c". */
#ifndef SC_TEST_SMALL_MODEL_H
#define SC_TEST_SMALL_MODEL_H

#include "seqcore/seqcore.h"

#include <stdint.h>

#define SMALL_IN 3
#define SMALL_OUT 2
#define SMALL_UNITS 5
#define SMALL_FILTERS 4
#define SMALL_KERNEL 3
#define SMALL_TENSORS 7

/* `version`: text of the graph's version; `tail`: another node, or nothing; `outputs`: the graph's */
#define SMALL_GRAPH_OF(version, tail, outputs) \
    "{\"format\": \"seqcore\", \"version\": " version "," \
    "\"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 3]}]," \
    "\"nodes\": [" \
    "{\"op\": \"conv1d\", \"layer\": \"conv\", \"inputs\": [\"x\"], \"outputs\": [\"conv\"]," \
    " \"weights\": {\"W\": \"conv.W\", \"b\": \"conv.b\"}, \"attrs\": {\"filters\": 4, \"kernel_size\": 3, " \
    "\"strides\": 1," \
    " \"dilation\": 1, \"groups\": 1, \"padding\": \"causal\", \"activation\": [\"relu\", 0, 0]}}," \
    "{\"op\": \"lstm\", \"layer\": \"lstm\", \"inputs\": [\"conv\"], \"outputs\": [\"lstm\"]," \
    " \"weights\": {\"W\": \"lstm.W\", \"U\": \"lstm.U\", \"b\": \"lstm.b\"}," \
    " \"attrs\": {\"units\": 5, \"activation\": [\"tanh\", 0, 0], \"recurrent_activation\": [\"sigmoid\", 0, 0]," \
    " \"reverse\": false, \"realign\": false, \"return_sequences\": true}}," \
    "{\"op\": \"dense\", \"layer\": \"dense\", \"inputs\": [\"lstm\"], \"outputs\": [\"dense\"]," \
    " \"weights\": {\"W\": \"dense.W\", \"b\": \"dense.b\"}, \"attrs\": {\"units\": 2, \"activation\": [\"linear\", " \
    "0, 0]}}" tail "], \"outputs\": [" outputs "]}"
#define SMALL_OUTPUT "{\"name\": \"y\", \"value\": \"dense\"}"
#define SMALL_GRAPH SMALL_GRAPH_OF("1", "", SMALL_OUTPUT)

/* A number from -1 to 1 that depends on nothing but i. */
static inline float small_number(uint32_t i)
{
    i = (i + 1) * 2654435761u;
    i = (i ^ i >> 15) * 2246822519u;
    return (float)(int32_t)(i ^ i >> 13) / 2147483648.0f;
}

/* The weights, valid until the next call; `first`: another number makes another model. */
static inline const sc_tensor *small_tensors(uint32_t first)
{
    static const struct {
        const char *name;
        size_t rank, shape[3];
    } all[SMALL_TENSORS] = {
        {"conv.W", 3, {3, 3, 4}}, {"conv.b", 1, {4, 1, 1}},  {"lstm.W", 2, {4, 20, 1}}, {"lstm.U", 2, {5, 20, 1}},
        {"lstm.b", 1, {20, 1, 1}}, {"dense.W", 2, {5, 2, 1}}, {"dense.b", 1, {2, 1, 1}},
    };
    static float memory[36 + 4 + 80 + 100 + 20 + 10 + 2];
    static sc_tensor tensors[SMALL_TENSORS];
    float *at = memory;
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) {
        memory[i] = small_number(first + (uint32_t)i);
    }
    for (size_t i = 0; i < SMALL_TENSORS; i++) {
        tensors[i].name = all[i].name;
        tensors[i].dtype = SC_F32;
        tensors[i].rank = all[i].rank;
        tensors[i].data = at;
        for (size_t d = 0; d < 3; d++) {
            tensors[i].shape[d] = d < all[i].rank ? all[i].shape[d] : 0;
            at += d == 0 ? all[i].shape[0] * all[i].shape[1] * all[i].shape[2] : 0;
        }
    }
    return tensors;
}

#endif
