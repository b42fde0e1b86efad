/* The kinds of activation, in the words of the graph (docs/design.md, "Activations").
 * Plan code needs only these numbers; what they compute is in activations.h. */
#ifndef SC_ACTIVATION_KIND_H
#define SC_ACTIVATION_KIND_H

enum sc_activation {
    SC_LINEAR,
    SC_TANH,
    SC_SIGMOID,
    SC_RELU,
    SC_HARD_SIGMOID,
    SC_SOFTPLUS,
    SC_SOFTSIGN,
    SC_EXPONENTIAL,
    SC_SILU,
    SC_LEAKY_RELU,
    SC_ELU,
    SC_SELU,
    SC_GELU,
    SC_GELU_TANH,
    SC_RELU6,
    SC_CELU,
    SC_LOG_SIGMOID,
    SC_MISH,
    SC_HARD_SILU,
    SC_HARD_TANH,
    SC_HARD_SHRINK,
    SC_SOFT_SHRINK,
    SC_TANH_SHRINK,
    SC_THRESHOLD,
    SC_SQUAREPLUS,
    SC_SPARSE_PLUS,
    SC_AFFINE,
    SC_SCALED_TANH,
    SC_SOFTMAX, /* from here on over an axis, so not elementwise: activations.h leaves them to its caller */
    SC_LOG_SOFTMAX,
    SC_ACTIVATIONS /* how many there are */
};

#endif
