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
    SC_SOFTMAX, /* over an axis, so not elementwise: activations.h leaves it to its caller */
    SC_ACTIVATIONS /* how many there are */
};

#endif
