/* Where a frame stands and where a row ends, as numbers that other ops can compute with: what torch's arange and lengths are. */
#include "plan.h"

static sc_status positions_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank < 2) {
        return sc_rank_error(node, "(batch, time, ...)", &in[0], error);
    }
    out[0] = in[0];
    out[0].rank = 2;
    return SC_OK;
}

/* y[t] = t */
static void positions_run(const sc_node *node, sc_frame *frame)
{
    const size_t T = frame->shapes[node->outputs[0]].dim[1];
    float *y = sc_out(node, frame, 0);
    for (size_t row = 0; row < frame->rows; row++) {
        for (size_t t = 0; t < T; t++) {
            *y++ = (float)t;
        }
    }
}

static sc_status row_lengths_infer(const sc_node *node, const sc_shape *in, sc_shape *out, sc_error *error)
{
    if (in[0].rank < 2) {
        return sc_rank_error(node, "(batch, time, ...)", &in[0], error);
    }
    out[0] = (sc_shape){.rank = 2, .dim = {1, 1}};
    return SC_OK;
}

/* y = the row's length, or T */
static void row_lengths_run(const sc_node *node, sc_frame *frame)
{
    const int64_t *lengths = sc_lengths(node, frame);
    const float T = (float)sc_in_shape(node, frame, 0)->dim[1];
    float *y = sc_out(node, frame, 0);
    for (size_t row = 0; row < frame->rows; row++) {
        y[row] = lengths == NULL ? T : (float)lengths[row];
    }
}

/* Neither is stepped: a step does not know how many frames there have been, or will be. */
const sc_op sc_op_positions = {.name = "positions", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .any_dtype = true,
                               .infer = positions_infer, .run = positions_run};
const sc_op sc_op_row_lengths = {.name = "row_lengths", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .any_dtype = true,
                                 .infer = row_lengths_infer, .run = row_lengths_run};
