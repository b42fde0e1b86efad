/* Measures vecmath.h and activations.h against double libm and checks the contract of simd_*.h. Compiled once per ISA,
 * with that ISA's flags and -DSC_ISA_scalar, -DSC_ISA_avx2 or -DSC_ISA_avx512.
 *
 *     test_vecmath quick         every 997th float and the special values, with and without flushing subnormals
 *     test_vecmath exhaustive    every float, flushing subnormals as the core does
 *     either with a name, such as vf_tanh, for that function alone
 *
 * Exits with 1 when an error passes its bound, with 77 when the processor lacks the ISA. */
#if defined(SC_ISA_avx512)
#include "simd_avx512.h"
#define ISA_COLUMN 2
#elif defined(SC_ISA_avx2)
#include "simd_avx2.h"
#define ISA_COLUMN 1
#elif defined(SC_ISA_scalar)
#include "simd_scalar.h"
#define ISA_COLUMN 0
#else
#error "define SC_ISA_scalar, SC_ISA_avx2 or SC_ISA_avx512"
#endif
#include "activations.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures;

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("FAIL line %d: %s\n", __LINE__, #condition);                                                        \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* What the core's workers do (threads.c): subnormal results and operands count as 0. */
static void flush_subnormals(int on)
{
#if defined(__x86_64__)
    uint32_t control = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(on ? control | 0x8040u : control & ~0x8040u);
#elif defined(__aarch64__)
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    control = on ? control | (1u << 24) : control & ~(uint64_t)(1u << 24);
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
#else
    (void)on;
#endif
}

/* ---- The functions, their definitions in double, their bounds ------------------------------------------------- */

#define DEFINE_RUN(name, call)                                                                                         \
    static void run_##name(const float *in, float *out)                                                                \
    {                                                                                                                  \
        vf x = vf_load(in);                                                                                            \
        vf_store(out, (call));                                                                                         \
    }

DEFINE_RUN(exp, vf_exp(x))
DEFINE_RUN(tanh, vf_tanh(x))
DEFINE_RUN(sigmoid, vf_sigmoid(x))
DEFINE_RUN(expm1_neg, vf_expm1_neg(x))
DEFINE_RUN(elu, vf_elu(vf_set(0.75f), x))
DEFINE_RUN(selu, vf_selu(x))
DEFINE_RUN(softplus, vf_softplus(x))
DEFINE_RUN(softsign, vf_softsign(x))
DEFINE_RUN(silu, vf_silu(x))
DEFINE_RUN(gelu, vf_gelu(x))
DEFINE_RUN(gelu_tanh, vf_gelu_tanh(x))
DEFINE_RUN(celu, vf_celu(vf_set(0.75f), x))
DEFINE_RUN(log_sigmoid, vf_log_sigmoid(x))
DEFINE_RUN(mish, vf_mish(x))
DEFINE_RUN(tanh_shrink, vf_tanh_shrink(x))
DEFINE_RUN(squareplus, vf_squareplus(vf_set(4.0f), x))
DEFINE_RUN(scaled_tanh, vf_scaled_tanh(vf_set(0.6f), vf_set(1.5f), x))

static double ref_sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double ref_expm1_neg(double x) { return x > 0.0 ? 0.0 : expm1(x); }
static double ref_elu(double x) { return x > 0.0 ? x : 0.75 * expm1(x); }
static double ref_selu(double x)
{
    return 1.0507009873554804934193349852946 * (x > 0.0 ? x : 1.6732632423543772848170429916717 * expm1(x));
}
static double ref_softplus(double x) { return x > 0.0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double ref_softsign(double x) { return isinf(x) ? copysign(1.0, x) : x / (1.0 + fabs(x)); }
/* The limit at minus infinity is 0, which the formulas would make NaN. */
static double ref_silu(double x) { return x < -1000.0 ? -0.0 : x / (1.0 + exp(-x)); }
static double ref_gelu(double x) { return x < -1000.0 ? -0.0 : 0.5 * x * erfc(-x * 0.70710678118654752440); }
static double ref_gelu_tanh(double x)
{
    double y = 1.5957691216057307117597842397375 * (x + 0.044715 * x * x * x);
    return x < -1000.0 ? -0.0 : x / (1.0 + exp(-y));
}

static double ref_celu(double x) { return x > 0.0 ? x : 0.75 * expm1(x / 0.75); }
static double ref_log_sigmoid(double x) { return -ref_softplus(-x); }
/* tanh(log(1 + e)) = n/(n + 2), n = e (e + 2). */
static double ref_mish(double x)
{
    double e = exp(x < 300.0 ? x : 300.0), n = e * (e + 2.0);
    return x < -1000.0 ? -0.0 : x * (n / (n + 2.0));
}
/* The series where the difference cancels. */
static double ref_tanh_shrink(double x)
{
    double s = x * x;
    return fabs(x) < 1e-2 ? x * s * (1.0 / 3.0 - s * (2.0 / 15.0 - s * (17.0 / 315.0))) : isinf(x) ? x : x - tanh(x);
}
static double ref_squareplus(double x)
{
    double s = sqrt(x * x + 4.0);
    return x < 0.0 ? 2.0 / (s - x) : (x + s) / 2.0;
}

static double ref_scaled_tanh(double x) { return (double)0.6f * tanh(1.5 * x); }

static const struct function {
    const char *name;
    void (*run)(const float *in, float *out);
    double (*reference)(double x);
    double bound[3]; /* ulp: scalar, avx2, avx512; the tables that open vecmath.h and activations.h */
    double minus_infinity, plus_infinity;
} functions[] = {
    {"vf_exp", run_exp, exp, {1.0, 1.0, 1.0}, 0.0, INFINITY},
    {"vf_tanh", run_tanh, tanh, {1.4, 1.4, 1.4}, -1.0, 1.0},
    {"vf_sigmoid", run_sigmoid, ref_sigmoid, {2.6, 2.6, 1.7}, 0.0, 1.0},
    {"vf_expm1_neg", run_expm1_neg, ref_expm1_neg, {1.2, 1.2, 1.2}, -1.0, 0.0},
    {"vf_elu", run_elu, ref_elu, {2.2, 2.2, 2.2}, -0.75, INFINITY},
    {"vf_selu", run_selu, ref_selu, {2.2, 2.2, 2.2}, -1.75809934, INFINITY},
    {"vf_softplus", run_softplus, ref_softplus, {2.2, 2.0, 2.0}, 0.0, INFINITY},
    {"vf_softsign", run_softsign, ref_softsign, {1.5, 1.5, 1.5}, -1.0, 1.0},
    {"vf_silu", run_silu, ref_silu, {3.0, 3.0, 2.2}, -0.0, INFINITY},
    {"vf_gelu", run_gelu, ref_gelu, {7.5, 6.5, 6.5}, -0.0, INFINITY},
    {"vf_gelu_tanh", run_gelu_tanh, ref_gelu_tanh, {3.2, 3.2, 2.7}, -0.0, INFINITY},
    {"vf_celu", run_celu, ref_celu, {2.2, 2.2, 2.2}, -0.75, INFINITY},
    {"vf_log_sigmoid", run_log_sigmoid, ref_log_sigmoid, {2.2, 2.0, 2.0}, -INFINITY, -0.0},
    {"vf_mish", run_mish, ref_mish, {4.5, 4.5, 4.5}, -0.0, INFINITY},
    {"vf_tanh_shrink", run_tanh_shrink, ref_tanh_shrink, {5.0, 5.0, 5.0}, -INFINITY, INFINITY},
    {"vf_scaled_tanh", run_scaled_tanh, ref_scaled_tanh, {2.8, 2.8, 2.8}, -0.6, 0.6},
    {"vf_squareplus", run_squareplus, ref_squareplus, {3.5, 3.5, 3.5}, 0.0, INFINITY},
};
enum { FUNCTIONS = sizeof functions / sizeof functions[0] };

/* ---- Errors in ulp -------------------------------------------------------------------------------------------- */

/* The distance of y from `exact` in units of the last place of a float of that size; INFINITY for a wrong special. */
static double ulp_error(float y, double exact)
{
    if (isnan(exact) || isnan(y))
        return isnan(exact) && isnan(y) ? 0.0 : INFINITY;
    if (fabs(exact) < (double)FLT_MIN)
        return fabs((double)y) <= (double)FLT_MIN ? 0.0 : INFINITY;
    if (isinf(y) && (float)exact == y)
        return 0.0;
    /* Infinity is the float that would follow FLT_MAX: just below the edge of overflow it is one place away. From the
     * edge on it is the only answer. */
    if (fabs(exact) >= 0x1p128)
        return INFINITY;
    double value = isinf(y) ? copysign(0x1p128, (double)y) : (double)y;
    int exponent;
    frexp(exact, &exponent);
    return fabs(value - exact) * ldexp(1.0, 24 - exponent);
}

struct errors {
    double worst, sum;
    float argument;
    uint64_t count;
};

static void measure_vector(const struct function *f, const float *x, struct errors *errors)
{
    float y[SC_V];
    f->run(x, y);
    for (int lane = 0; lane < SC_V; lane++) {
        double error = ulp_error(y[lane], f->reference((double)x[lane]));
        if (!(error <= errors->worst)) {
            errors->worst = error;
            errors->argument = x[lane];
        }
        if (fabsf(x[lane]) > 0x1p-10f && fabsf(x[lane]) < 16.0f) {
            errors->sum += error;
            errors->count++;
        }
    }
}

static void measure(const struct function *f, uint64_t stride, const char *mode)
{
    struct errors errors = {0};
    float x[SC_V];
    for (uint64_t start = 0; start < UINT64_C(1) << 32; start += stride * SC_V) {
        for (uint64_t lane = 0; lane < SC_V; lane++)
            x[lane] = float_of((uint32_t)(start + stride * lane));
        measure_vector(f, x, &errors);
    }
    int passed = errors.worst <= f->bound[ISA_COLUMN];
    printf("%-4s %-13s max %.4f ulp at %-16.9g mean %.4f on 2^-10..16, bound %.2f, %s\n", passed ? "ok" : "FAIL",
           f->name, errors.worst, (double)errors.argument, errors.sum / (double)errors.count, f->bound[ISA_COLUMN],
           mode);
    fflush(stdout);
    failures += !passed;
}

/* ---- Special values, ranges, lanes ---------------------------------------------------------------------------- */

static float at(const struct function *f, float x)
{
    float in[SC_V], out[SC_V];
    for (int lane = 0; lane < SC_V; lane++)
        in[lane] = x;
    f->run(in, out);
    return out[0];
}

static void check_specials(const struct function *f)
{
    EXPECT(isnan(at(f, NAN)));
    EXPECT(isnan(at(f, -NAN)));
    EXPECT(isnan(at(f, float_of(0x7fffffffu)))); /* a payload of ones must not turn into an exponent */
    EXPECT(isnan(at(f, float_of(0xff800001u)))); /* signalling */
    EXPECT(ulp_error(at(f, -INFINITY), f->minus_infinity) <= 1.0);
    EXPECT(at(f, INFINITY) == (float)f->plus_infinity);
    static const float edges[] = {-88.7228394f, -87.3365479f, -87.3365402f, -64.0f, -64.0000076f, -13.2f, -9.02f,
                                  -0.55f,       -0.0f,        0.0f,         0.55f,  9.02f,        17.4f,  30.0f,
                                  87.3365479f,  88.7228317f,  88.7228394f,  89.0f,  FLT_MAX,      -FLT_MAX};
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        EXPECT(ulp_error(at(f, edges[i]), f->reference((double)edges[i])) <= f->bound[ISA_COLUMN]);
}

static void check_hot_ranges(void)
{
    const struct function *tanh_function = &functions[1], *sigmoid_function = &functions[2];
    EXPECT(strcmp(tanh_function->name, "vf_tanh") == 0 && strcmp(sigmoid_function->name, "vf_sigmoid") == 0);
    EXPECT(bits_of(at(tanh_function, -0.0f)) == 0x80000000u);
    EXPECT(at(tanh_function, 0x1p-100f) == 0x1p-100f);
    for (uint64_t u = 0; u < 0x7f800000u; u += 9973) {
        float x = float_of((uint32_t)u), y = at(tanh_function, x), s = at(sigmoid_function, x);
        EXPECT(bits_of(at(tanh_function, -x)) == (bits_of(y) ^ 0x80000000u));
        EXPECT(y >= 0.0f && y <= 1.0f && s >= 0.5f && s <= 1.0f);
        s = at(sigmoid_function, -x);
        EXPECT(s >= 0.0f && s <= 0.5f);
    }
}

/* The same bits in every lane, whatever stands beside it. */
static void check_lanes(const struct function *f)
{
    static const float beside[] = {NAN, INFINITY, -INFINITY, 0.0f, -1e-40f, 88.8f, -100.0f, FLT_MAX, 0.3f};
    for (uint64_t u = 0; u < UINT64_C(1) << 32; u += 1999993) {
        float x = float_of((uint32_t)u), alone = at(f, x), in[SC_V], out[SC_V];
        size_t place = (size_t)(u % SC_V);
        for (size_t lane = 0; lane < SC_V; lane++)
            in[lane] = lane == place ? x : beside[(u / SC_V + lane) % 9];
        f->run(in, out);
        EXPECT(bits_of(out[place]) == bits_of(alone) || (isnan(out[place]) && isnan(alone)));
    }
}

static void check_activate(void)
{
    static const struct { int kind; float alpha, beta, x, y; } cases[] = {
        {SC_LINEAR, 3, 3, -1.5f, -1.5f},
        {SC_RELU, 3, 3, -1.5f, 0.0f},
        {SC_RELU, 3, 3, 1.5f, 1.5f},
        {SC_HARD_SIGMOID, 0.25f, 0.5f, 1.0f, 0.75f},
        {SC_HARD_SIGMOID, 0.25f, 0.5f, 3.0f, 1.0f},
        {SC_HARD_SIGMOID, 0.25f, 0.5f, -3.0f, 0.0f},
        {SC_LEAKY_RELU, 0.25f, 3, -2.0f, -0.5f},
        {SC_LEAKY_RELU, 0.25f, 3, 2.0f, 2.0f},
        {SC_SOFTSIGN, 3, 3, -3.0f, -0.75f},
        {SC_ELU, 0.5f, 3, 2.0f, 2.0f},
        {SC_ELU, 0.5f, 3, -50.0f, -0.5f},
        {SC_TANH, 3, 3, 0.25f, 0.244918662f},
        {SC_SIGMOID, 3, 3, 1.0f, 0.731058579f},
        {SC_SOFTPLUS, 3, 3, 1.0f, 1.31326169f},
        {SC_EXPONENTIAL, 3, 3, 1.0f, 2.71828183f},
        {SC_SILU, 3, 3, 1.0f, 0.731058579f},
        {SC_SELU, 3, 3, -1.0f, -1.11133074f},
        {SC_GELU, 3, 3, 1.0f, 0.841344746f},
        {SC_GELU_TANH, 3, 3, 1.0f, 0.841191991f},
        {SC_RELU6, 3, 3, 7.0f, 6.0f},
        {SC_RELU6, 3, 3, -7.0f, 0.0f},
        {SC_CELU, 0.5f, 3, -50.0f, -0.5f},
        {SC_CELU, 2.0f, 3, -1.0f, -0.786938681f},
        {SC_LOG_SIGMOID, 3, 3, 1.0f, -0.313261688f},
        {SC_MISH, 3, 3, 1.0f, 0.865098388f},
        {SC_HARD_SILU, 3, 3, 1.0f, 0.666666667f},
        {SC_HARD_SILU, 3, 3, 5.0f, 5.0f},
        {SC_HARD_SILU, 3, 3, -INFINITY, -0.0f},
        {SC_HARD_TANH, 3, 3, -1.5f, -1.0f},
        {SC_HARD_TANH, 3, 3, 0.5f, 0.5f},
        {SC_HARD_SHRINK, 0.5f, 3, -0.5f, 0.0f},
        {SC_HARD_SHRINK, 0.5f, 3, -0.75f, -0.75f},
        {SC_SOFT_SHRINK, 0.5f, 3, 0.25f, 0.0f},
        {SC_SOFT_SHRINK, 0.5f, 3, -0.75f, -0.25f},
        {SC_TANH_SHRINK, 3, 3, 1.0f, 0.238405844f},
        {SC_TANH_SHRINK, 3, 3, -0.5f, -0.0378828427f},
        {SC_THRESHOLD, 0.5f, -3, 0.5f, -3.0f},
        {SC_THRESHOLD, 0.5f, -3, 0.75f, 0.75f},
        {SC_SQUAREPLUS, 4, 3, -1.0f, 0.618033989f},
        {SC_SQUAREPLUS, 0, 3, -1.0f, 0.0f},
        {SC_SPARSE_PLUS, 3, 3, 0.5f, 0.5625f},
        {SC_SPARSE_PLUS, 3, 3, -1.5f, 0.0f},
        {SC_SPARSE_PLUS, 3, 3, 1.5f, 1.5f},
        {SC_AFFINE, -0.5f, 3, 1.5f, 2.25f},
        {SC_SCALED_TANH, 2, 0.5f, 1.0f, 0.924234315f},
        {SC_SCALED_TANH, -2, 0.5f, INFINITY, -2.0f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float y[SC_V];
        vf_store(y, vf_activate(cases[i].kind, vf_set(cases[i].alpha), vf_set(cases[i].beta), vf_set(cases[i].x)));
        EXPECT(ulp_error(y[0], (double)cases[i].y) <= 2.0);
    }
    for (int kind = 0; kind < SC_SOFTMAX; kind++) {
        float y[SC_V];
        vf_store(y, vf_activate(kind, vf_set(0.2f), vf_set(0.5f), vf_set(NAN)));
        EXPECT(isnan(y[SC_V - 1]));
    }
}

/* ---- The operations of simd_*.h ------------------------------------------------------------------------------- */

static void check_memory(const float *data)
{
    for (size_t n = 0; n <= SC_V; n++) {
        float part[SC_V], out[SC_V + 1];
        vf_store(part, vf_loadn(data, n));
        for (size_t lane = 0; lane < SC_V; lane++)
            EXPECT(part[lane] == (lane < n ? data[lane] : 0.0f));
        for (size_t lane = 0; lane <= SC_V; lane++)
            out[lane] = -7.0f;
        vf_storen(out, vf_load(data), n);
        for (size_t lane = 0; lane <= SC_V; lane++)
            EXPECT(out[lane] == (lane < n ? data[lane] : -7.0f));
    }
}

static void check_horizontal(const float *data)
{
    float sum[SC_V], maximum = data[0];
    memcpy(sum, data, sizeof sum);
    for (int half = SC_V / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++)
            sum[lane] += sum[lane + half];
    for (int lane = 1; lane < SC_V; lane++)
        maximum = fmaxf(maximum, data[lane]);
    EXPECT(vf_sum(vf_load(data)) == sum[0]);
    EXPECT(vf_hmax(vf_load(data)) == maximum);
}

static void check_transpose(void)
{
    float from[SC_V][SC_V], to[SC_V][SC_V];
    vf rows[SC_V];
    for (int n = 0; n < SC_V; n++) {
        for (int k = 0; k < SC_V; k++)
            from[n][k] = (float)(n * SC_V + k);
        rows[n] = vf_load(from[n]);
    }
    vf_transpose(rows);
    for (int k = 0; k < SC_V; k++) {
        vf_store(to[k], rows[k]);
        for (int n = 0; n < SC_V; n++)
            EXPECT(to[k][n] == from[n][k]);
    }
}

static void check_lane_operations(const float *a, const float *b)
{
    float y[SC_V];
    vf x = vf_load(a), z = vf_load(b);
    vf nan = vf_set(NAN);
    for (int lane = 0; lane < SC_V; lane++) {
#define LANE_IS(call, expected) (vf_store(y, (call)), bits_of(y[lane]) == bits_of(expected))
        float p = a[lane], q = b[lane];
        EXPECT(LANE_IS(vf_add(x, z), p + q));
        EXPECT(LANE_IS(vf_sub(x, z), p - q));
        EXPECT(LANE_IS(vf_mul(x, z), p * q));
        EXPECT(LANE_IS(vf_div(x, z), p / q));
        EXPECT(LANE_IS(vf_fma(x, z, x), SC_FUSED ? fmaf(p, q, p) : p * q + p));
        EXPECT(LANE_IS(vf_fnma(x, z, x), SC_FUSED ? fmaf(-p, q, p) : p - p * q));
        EXPECT(LANE_IS(vf_mul_error(x, z, vf_mul(x, z)), (float)((double)p * q - (double)(p * q))));
        EXPECT(LANE_IS(vf_sqrt(vf_abs(x)), sqrtf(fabsf(p))));
        EXPECT(LANE_IS(vf_abs(x), fabsf(p)));
        EXPECT(LANE_IS(vf_neg(x), -p));
        EXPECT(LANE_IS(vf_copysign(x, z), copysignf(p, q)));
        EXPECT(LANE_IS(vf_round(x), rintf(p)));
        EXPECT(LANE_IS(vf_ldexp(x, vf_set(-5.0f)), ldexpf(p, -5)));
        EXPECT(LANE_IS(vf_min(x, z), p < q ? p : q));
        EXPECT(LANE_IS(vf_max(x, z), p > q ? p : q));
        EXPECT(LANE_IS(vf_select(vf_lt(x, z), x, z), p < q ? p : q));
        EXPECT(LANE_IS(vf_select(vf_le(x, x), x, z), p));
        EXPECT(LANE_IS(vf_select(vf_isnan(x), x, z), q));
        EXPECT(LANE_IS(vf_select(vf_isnan(nan), x, z), p));
        EXPECT(LANE_IS(vf_select(vf_le(nan, x), x, z), q));
        EXPECT(LANE_IS(vf_select(vf_lt(x, nan), x, z), q));
        EXPECT(LANE_IS(vf_min(nan, x), p));
        EXPECT(LANE_IS(vf_max(nan, x), p));
        vf_store(y, vf_min(x, nan));
        EXPECT(isnan(y[lane]));
        vf_store(y, vf_max(x, nan));
        EXPECT(isnan(y[lane]));
        vf_store(y, vf_reciprocal(x, vf_set(0.0f)));
        EXPECT(ulp_error(y[lane], 1.0 / (double)p) <= 0.6);
#undef LANE_IS
    }
    vf_store(y, vf_max(vf_set(0.0f), vf_set(-0.0f)));
    EXPECT(bits_of(y[0]) == 0x80000000u);
    EXPECT(vf_sum(vf_bcast(a)) == SC_V * a[0]);
}

static void check_operations(void)
{
    float a[SC_V], b[SC_V];
    check_transpose();
    for (int round = 0; round < 64; round++) {
        for (int lane = 0; lane < SC_V; lane++) { /* no two lanes alike; halves, so that ties are rounded */
            a[lane] = (float)((37 * lane + 11 * round) % 251 - 125) + (round % 2 ? 0.5f : 0.123456f);
            b[lane] = (float)((101 * lane + 17 * round) % 251 - 125) / 3.0f + 0.01f;
        }
        check_memory(a);
        check_horizontal(a);
        check_lane_operations(a, b);
    }
}

static int supported(void)
{
#if defined(SC_ISA_avx512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
#elif defined(SC_ISA_avx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

int main(int count, char **arguments)
{
    int exhaustive = count > 1 && strcmp(arguments[1], "exhaustive") == 0;
    if (!exhaustive && (count < 2 || strcmp(arguments[1], "quick") != 0)) {
        fprintf(stderr, "usage: %s quick|exhaustive [function]\n", arguments[0]);
        return 2;
    }
    if (!supported())
        return 77;
    check_operations();
    for (int flush = exhaustive; flush < 2; flush++) {
        flush_subnormals(flush);
        check_activate();
        check_hot_ranges();
        for (int i = 0; i < FUNCTIONS; i++) {
            if (count > 2 && strcmp(arguments[2], functions[i].name) != 0)
                continue;
            check_specials(&functions[i]);
            check_lanes(&functions[i]);
            measure(&functions[i], exhaustive ? 1 : 997, flush ? "subnormals flushed" : "subnormals kept");
        }
    }
    if (failures)
        printf("%d failures\n", failures);
    return failures != 0;
}
