/* Where a frame stands, as a number that other ops can compute with: what torch's arange is. */
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

/* y[t] = t; of folded frames each is a row */
static void positions_run(const sc_node *node, sc_frame *frame)
{
    const sc_shape *shape = &frame->shapes[node->outputs[0]];
    const size_t rows = frame->rows * shape->dim[0], T = shape->dim[1];
    float *y = sc_out(node, frame, 0);
    for (size_t row = 0; row < rows; row++) {
        for (size_t t = 0; t < T; t++) {
            *y++ = (float)t;
        }
    }
}

/* It is not stepped: a step does not know how many frames there have been. */
const sc_op sc_op_positions = {.name = "positions", .min_inputs = 1, .max_inputs = 1, .outputs = 1, .any_dtype = true,
                               .infer = positions_infer, .run = positions_run};
