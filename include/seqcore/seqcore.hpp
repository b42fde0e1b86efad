/* seqcore for C++17: seqcore.h with owners that free, errors that are thrown and memory that knows its size.
 *
 * Headers only, beside libseqcore. What stands in seqcore.h holds here too, and whatever is not here (sc_cpu_info,
 * sc_set_num_threads, ...) is used as it is. Functions throw Error, or std::bad_alloc for their own memory; those
 * called try_... throw nothing, and neither they nor the steps that write into the caller's memory allocate. Nothing is
 * thrown through the library: what it calls, an allocator's functions, must be noexcept (allocator_of).
 */
#ifndef SEQCORE_HPP
#define SEQCORE_HPP

#include "seqcore.h"
#include "views.hpp"

#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace seqcore {

/* What an input, an output or a state is: sc_info. */
struct Info {
    std::string name;
    sc_dtype dtype = SC_F32;
    bool optional = false;
    Shape shape;
};

/* The functions of an object with `void *allocate(std::size_t alignment, std::size_t bytes)` and `void release(void *)
 * noexcept` that any thread may call. It must outlive all that is made with them. What allocate throws means that there
 * is no memory. */
template <class Memory> sc_allocator allocator_of(Memory &memory) noexcept
{
    static_assert(noexcept(memory.release(nullptr)), "release must be noexcept");
    sc_allocator made = {};
    made.allocate = [](void *context, std::size_t alignment, std::size_t bytes) noexcept -> void * {
        try {
            return static_cast<Memory *>(context)->allocate(alignment, bytes);
        } catch (...) {
            return nullptr;
        }
    };
    made.release = [](void *context, void *released) noexcept { static_cast<Memory *>(context)->release(released); };
    made.context = &memory;
    return made;
}

/* sc_options */
struct Options {
    std::string isa; /* empty: the best one */
    int threads = 0;
    int team = 0;
    sc_allocator allocator = {};
    bool in_place = false; /* then the bytes of open_memory must outlive the plan */
    std::string part = {}; /* of open and open_memory; empty: the main graph */
};

namespace detail {

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
inline sc_status fail(sc_error *error, sc_status status, const char *format, ...) noexcept
{
    if (error != nullptr) {
        error->status = status;
        std::va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

inline sc_status wrong_type(const char *what, const std::string &name, sc_dtype expected, sc_error *error) noexcept
{
    return fail(error, SC_BAD_ARGUMENT, "%s '%s' takes %s", what, name.c_str(),
                expected == SC_F32 ? "float" : "std::int64_t");
}

/* Calls function(&error), which returns an sc_status, and throws what failed. */
template <class Function> void check(Function function)
{
    sc_error error;
    error.status = SC_OK;
    error.message[0] = '\0';
    const sc_status status = function(&error);
    if (status != SC_OK) {
        throw Error(status, error.message);
    }
}

/* Arguments as the library takes them: on the stack, unless they are very many. */
class Arrays {
public:
    explicit Arrays(std::size_t count) : many_(count > few ? count : 0) {}
    sc_array &operator[](std::size_t i) noexcept { return data()[i]; }
    sc_array *data() noexcept { return many_.empty() ? arrays_ : many_.data(); }

private:
    static constexpr std::size_t few = 8;
    sc_array arrays_[few] = {};
    std::vector<sc_array> many_;
};

inline sc_status wrong_size(const char *what, const std::string &name, const Shape &expected, std::size_t found,
                            sc_error *error) noexcept
{
    return fail(error, SC_BAD_SHAPE, "%s '%s' has %zu elements, found %zu", what, name.c_str(), expected.elements(),
                found);
}

using Asks = sc_status (*)(const sc_plan *, std::size_t, sc_info *, sc_error *);

inline std::vector<Info> infos(const sc_plan *plan, std::size_t count, Asks ask)
{
    std::vector<Info> all(count);
    for (std::size_t i = 0; i < count; i++) {
        sc_info found = {};
        check([&](sc_error *error) { return ask(plan, i, &found, error); });
        all[i] =
            Info{found.name, found.dtype, found.optional != 0, Shape(Span<const std::size_t>(found.shape, found.rank))};
    }
    return all;
}

/* What a step takes, gives and keeps; and its arguments, checked as far as the library cannot check them. */
struct Ports {
    std::vector<Info> inputs, outputs, states;

    Ports() = default;
    explicit Ports(const sc_plan *plan)
        : inputs(infos(plan, sc_plan_step_inputs(plan), sc_plan_step_input_info)),
          outputs(infos(plan, sc_plan_step_outputs(plan), sc_plan_step_output_info)),
          states(infos(plan, sc_plan_step_states(plan), sc_plan_step_state_info))
    {
    }

    /* The only input and the only output, given without their shapes. Calls step(in, out). */
    template <class Step>
    sc_status one(std::size_t rows, const Elements &x, Span<float> y, sc_error *error, Step step) const noexcept
    {
        if (inputs.size() != 1 || outputs.size() != 1) {
            return fail(error, SC_BAD_ARGUMENT, "a step has %zu inputs and %zu outputs: give them as views",
                        inputs.size(), outputs.size());
        }
        if (inputs[0].dtype != x.dtype()) {
            return wrong_type("input", inputs[0].name, inputs[0].dtype, error);
        }
        if (outputs[0].dtype != SC_F32) {
            return wrong_type("output", outputs[0].name, outputs[0].dtype, error);
        }
        const Shape in = inputs[0].shape.of_rows(rows), out = outputs[0].shape.of_rows(rows);
        if (in.elements() != x.size()) {
            return wrong_size("input", inputs[0].name, in, x.size(), error);
        }
        if (out.elements() != y.size()) {
            return wrong_size("output", outputs[0].name, out, y.size(), error);
        }
        const sc_array from = in.array(const_cast<void *>(x.data())), to = out.array(y.data());
        return step(&from, &to);
    }

    /* All of them. */
    template <class Step>
    sc_status all(Span<const Input> in, Span<const Output> out, sc_error *error, Step step) const noexcept
    {
        if (in.size() != inputs.size()) {
            return fail(error, SC_BAD_SHAPE, "a step has %zu inputs, found %zu", inputs.size(), in.size());
        }
        if (out.size() != outputs.size()) {
            return fail(error, SC_BAD_SHAPE, "a step has %zu outputs, found %zu", outputs.size(), out.size());
        }
        try {
            Arrays from(in.size()), to(out.size());
            for (std::size_t i = 0; i < in.size(); i++) {
                if (in[i].dtype() != inputs[i].dtype) {
                    return wrong_type("input", inputs[i].name, inputs[i].dtype, error);
                }
                from[i] = in[i].array();
            }
            for (std::size_t i = 0; i < out.size(); i++) {
                if (out[i].dtype() != outputs[i].dtype) {
                    return wrong_type("output", outputs[i].name, outputs[i].dtype, error);
                }
                to[i] = out[i].array();
            }
            return step(from.data(), to.data());
        } catch (const std::bad_alloc &) {
            return fail(error, SC_NO_MEMORY, "out of memory for %zu inputs and %zu outputs", in.size(), out.size());
        }
    }

    /* One state of so many rows, given without its shape. */
    template <class Use>
    void state(std::size_t rows, std::size_t number, float *memory, std::size_t size, Use use) const
    {
        check([&](sc_error *error) {
            if (number >= states.size()) {
                return fail(error, SC_BAD_ARGUMENT, "a step has %zu states; there is none %zu", states.size(), number);
            }
            const Shape shape = states[number].shape.of_rows(rows);
            if (shape.elements() != size) {
                return wrong_size("state", states[number].name, shape, size, error);
            }
            const sc_array array = shape.array(memory);
            return use(&array, error);
        });
    }

    std::size_t state_size(std::size_t rows, std::size_t number) const
    {
        return number < states.size() ? states[number].shape.of_rows(rows).elements() : 0;
    }

    /* Floats of the only output of so many rows. */
    std::size_t output_size(std::size_t rows) const
    {
        return outputs.size() == 1 ? outputs[0].shape.of_rows(rows).elements() : 0;
    }
};

/* Calls use(arrays, error) with what is given of a graph's inputs, of which info(i) tells; those left out at the end
 * are absent. */
template <class Ask, class Use> void with_inputs(std::size_t count, Ask info, Span<const Input> given, Use use)
{
    Arrays in(count);
    check([&](sc_error *error) {
        if (given.size() > count) {
            return fail(error, SC_BAD_SHAPE, "the plan has %zu inputs, found %zu", count, given.size());
        }
        for (std::size_t i = 0; i < given.size(); i++) {
            in[i] = given[i].array();
            const auto asked = info(i);
            if (in[i].data != nullptr && given[i].dtype() != asked.dtype) {
                return wrong_type("input", asked.name, asked.dtype, error);
            }
        }
        return use(in.data(), error);
    });
}

} // namespace detail

struct Decoding; /* decoding.hpp */
struct Decoded;
struct Feedback;
struct FedBack;

/* ---- Plans ------------------------------------------------------------------------------------------------------ */

/* A model, immutable; any number of threads may run it at the same time. What was moved from is refused everywhere. */
class Plan {
public:
    static Plan open(const std::string &path, const Options &options = {})
    {
        return made(options, [&](const sc_options *o, sc_plan **plan, sc_error *error) {
            return sc_plan_open(path.c_str(), o, plan, error);
        });
    }
    /* Bytes that are aligned to 8, and not needed any more afterwards, but for Options::in_place. */
    static Plan open_memory(const void *bytes, std::size_t size, const Options &options = {})
    {
        return made(options, [&](const sc_options *o, sc_plan **plan, sc_error *error) {
            return sc_plan_open_memory(bytes, size, o, plan, error);
        });
    }
    static Plan create(std::string_view graph, Span<const sc_tensor> tensors, const Options &options = {})
    {
        return made(options, [&](const sc_options *o, sc_plan **plan, sc_error *error) {
            return sc_plan_create(graph.data(), graph.size(), tensors.data(), tensors.size(), o, plan, error);
        });
    }

    std::vector<Info> inputs() const { return detail::infos(get(), sc_plan_inputs(get()), sc_plan_input_info); }
    std::vector<Info> outputs() const { return detail::infos(get(), sc_plan_outputs(get()), sc_plan_output_info); }
    std::string isa() const { return get() != nullptr ? sc_plan_isa(get()) : ""; }
    std::size_t bytes() const noexcept { return sc_plan_bytes(get()); }
    std::size_t bytes_in_place() const noexcept { return sc_plan_bytes_in_place(get()); }

    /* The arguments of these three stand in the graph's order; those that are left out at the end are absent. */
    std::vector<Shape> output_shapes(Span<const Input> inputs) const
    {
        std::vector<sc_array> found(sc_plan_outputs(get()));
        with(inputs, [&](const sc_array *in, sc_error *error) {
            return sc_plan_output_shapes(get(), in, found.data(), error);
        });
        std::vector<Shape> shapes;
        for (const sc_array &array : found) {
            shapes.emplace_back(Span<const std::size_t>(array.shape, array.rank));
        }
        return shapes;
    }
    void run(Span<const Input> inputs, Span<const Output> outputs) const
    {
        if (outputs.size() != sc_plan_outputs(get())) {
            throw Error(SC_BAD_SHAPE, "the plan has " + std::to_string(sc_plan_outputs(get())) + " outputs, found " +
                                          std::to_string(outputs.size()));
        }
        detail::Arrays out(outputs.size());
        for (std::size_t i = 0; i < outputs.size(); i++) {
            const sc_dtype expected = sc_plan_output_dtype(get(), i);
            detail::check([&](sc_error *error) {
                return outputs[i].dtype() == expected
                           ? SC_OK
                           : detail::wrong_type("output", this->outputs()[i].name, expected, error);
            });
            out[i] = outputs[i].array();
        }
        with(inputs, [&](const sc_array *in, sc_error *error) { return sc_plan_run(get(), in, out.data(), error); });
    }
    /* Of a plan with one output, of float. */
    std::vector<float> run(Span<const Input> inputs) const
    {
        const std::vector<Shape> shapes = output_shapes(inputs);
        if (shapes.size() != 1) {
            throw Error(SC_BAD_ARGUMENT,
                        "the plan has " + std::to_string(shapes.size()) + " outputs: give their memory");
        }
        std::vector<float> y(shapes[0].elements());
        run(inputs, {View(y, shapes[0])});
        return y;
    }

    /* Throws what keeps this plan from being stepped. */
    void check_step() const
    {
        detail::check([&](sc_error *error) { return sc_plan_check_step(get(), error); });
    }
    std::size_t saved_bytes(std::size_t rows = 1) const noexcept { return sc_plan_saved_bytes(get(), rows); }

    /* Sequences of tokens, or of vectors, that the plan makes itself. */
    Decoded decode(const Decoding &asked) const;
    FedBack feed_back(const Feedback &asked) const;

    sc_plan *get() const noexcept { return plan_.get(); }

private:
    struct Free {
        void operator()(sc_plan *plan) const noexcept { sc_plan_free(plan); }
    };
    std::unique_ptr<sc_plan, Free> plan_;

    explicit Plan(sc_plan *plan) noexcept : plan_(plan) {}

    template <class Make> static Plan made(const Options &options, Make make)
    {
        sc_options o = {};
        o.isa = options.isa.empty() ? nullptr : options.isa.c_str();
        o.threads = options.threads;
        o.team = options.team;
        o.allocator = options.allocator;
        o.in_place = options.in_place ? 1 : 0;
        o.part = options.part.empty() ? nullptr : options.part.c_str();
        sc_plan *plan = nullptr;
        detail::check([&](sc_error *error) { return make(&o, &plan, error); });
        return Plan(plan);
    }

    template <class Use> void with(Span<const Input> given, Use use) const
    {
        const auto info = [this](std::size_t i) {
            sc_info found = {};
            sc_plan_input_info(get(), i, &found, nullptr);
            return found;
        };
        detail::with_inputs(sc_plan_inputs(get()), info, given, use);
    }
};

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

/* The state of rows that advance together. It keeps what it needs of its plan. */
class Stream {
public:
    explicit Stream(const Plan &plan, std::size_t rows = 1)
    {
        sc_stream *stream = nullptr;
        detail::check([&](sc_error *error) { return sc_stream_create(plan.get(), rows, &stream, error); });
        stream_.reset(stream);
        ports_ = detail::Ports(plan.get());
        plan_inputs_ = plan.inputs();
        saved_bytes_ = plan.saved_bytes(rows);
    }

    std::size_t rows() const noexcept { return sc_stream_rows(get()); }
    const std::vector<Info> &inputs() const noexcept { return ports_.inputs; }
    const std::vector<Info> &outputs() const noexcept { return ports_.outputs; }
    const std::vector<Info> &states() const noexcept { return ports_.states; }

    /* The next frame of every row, for a model of one input and one output: all elements of the rows, one behind the
     * other. */
    sc_status try_step(const Elements &x, Span<float> y, sc_error *error = nullptr) noexcept
    {
        return ports_.one(rows(), x, y, error, [&](const sc_array *in, const sc_array *out) {
            return sc_stream_step(get(), in, out, error);
        });
    }
    void step(const Elements &x, Span<float> y)
    {
        detail::check([&](sc_error *error) { return try_step(x, y, error); });
    }
    std::vector<float> step(const Elements &x)
    {
        std::vector<float> y(ports_.output_size(rows()));
        step(x, y);
        return y;
    }

    /* The same for any model. Allocates where there are more than 8 inputs or outputs. */
    sc_status try_step(Span<const Input> inputs, Span<const Output> outputs, sc_error *error = nullptr) noexcept
    {
        return ports_.all(inputs, outputs, error, [&](const sc_array *in, const sc_array *out) {
            return sc_stream_step(get(), in, out, error);
        });
    }
    void step(Span<const Input> inputs, Span<const Output> outputs)
    {
        detail::check([&](sc_error *error) { return try_step(inputs, outputs, error); });
    }

    void reset()
    {
        detail::check([&](sc_error *error) { return sc_stream_reset(get(), error); });
    }

    /* Contexts, their lengths and their masks, at their places among the plan's inputs; outputs() then has the sizes
     * that follow. */
    void set_context(Span<const Input> inputs)
    {
        const auto info = [this](std::size_t i) { return plan_inputs_[i]; };
        detail::with_inputs(plan_inputs_.size(), info, inputs, [&](const sc_array *in, sc_error *error) {
            return sc_stream_set_context(get(), in, error);
        });
        for (std::size_t i = 0; i < ports_.outputs.size(); i++) {
            sc_info found = {};
            detail::check([&](sc_error *error) { return sc_stream_output_info(get(), i, &found, error); });
            ports_.outputs[i].shape = Shape(Span<const std::size_t>(found.shape, found.rank));
        }
    }

    /* One array of the state, numbered as in states(). */
    void get_state(std::size_t state, Span<float> to) const
    {
        ports_.state(rows(), state, to.data(), to.size(), [&](const sc_array *array, sc_error *error) {
            return sc_stream_get_state(get(), state, array, error);
        });
    }
    std::vector<float> get_state(std::size_t state) const
    {
        std::vector<float> to(ports_.state_size(rows(), state));
        get_state(state, to);
        return to;
    }
    void set_state(std::size_t state, Span<const float> from)
    {
        ports_.state(
            rows(), state, const_cast<float *>(from.data()), from.size(),
            [&](const sc_array *array, sc_error *error) { return sc_stream_set_state(get(), state, array, error); });
    }

    /* The whole state, saved_bytes() long. */
    std::size_t saved_bytes() const noexcept { return saved_bytes_; }
    void save(Span<unsigned char> to) const
    {
        detail::check([&](sc_error *error) { return sc_stream_save(get(), to.data(), to.size(), error); });
    }
    std::vector<unsigned char> save() const
    {
        std::vector<unsigned char> to(saved_bytes());
        save(to);
        return to;
    }
    void load(Span<const unsigned char> from)
    {
        detail::check([&](sc_error *error) { return sc_stream_load(get(), from.data(), from.size(), error); });
    }

    sc_stream *get() const noexcept { return stream_.get(); }

private:
    struct Free {
        void operator()(sc_stream *stream) const noexcept { sc_stream_free(stream); }
    };
    std::unique_ptr<sc_stream, Free> stream_;
    detail::Ports ports_;
    std::vector<Info> plan_inputs_;
    std::size_t saved_bytes_ = 0;
};

/* Up to `capacity` sequences that come, advance and go one by one. It keeps what it needs of its plan. */
class Pool {
public:
    using Id = sc_stream_id;
    using Ids = Span<const sc_stream_id>;

    Pool(const Plan &plan, std::size_t capacity)
    {
        sc_pool *pool = nullptr;
        detail::check([&](sc_error *error) { return sc_pool_create(plan.get(), capacity, &pool, error); });
        pool_.reset(pool);
        ports_ = detail::Ports(plan.get());
        saved_bytes_ = plan.saved_bytes(1);
    }

    std::size_t capacity() const noexcept { return sc_pool_capacity(get()); }
    std::size_t count() const noexcept { return sc_pool_count(get()); }
    const std::vector<Info> &inputs() const noexcept { return ports_.inputs; }
    const std::vector<Info> &outputs() const noexcept { return ports_.outputs; }
    const std::vector<Info> &states() const noexcept { return ports_.states; }

    Id open()
    {
        Id id = 0;
        detail::check([&](sc_error *error) { return sc_pool_open(get(), &id, error); });
        return id;
    }
    sc_status try_close(Id id, sc_error *error = nullptr) noexcept { return sc_pool_close(get(), id, error); }
    void close(Id id)
    {
        detail::check([&](sc_error *error) { return try_close(id, error); });
    }

    /* The next frame of stream ids[i] is row i; as Stream's. */
    sc_status try_step(Ids ids, const Elements &x, Span<float> y, sc_error *error = nullptr) noexcept
    {
        return ports_.one(ids.size(), x, y, error, [&](const sc_array *in, const sc_array *out) {
            return sc_pool_step(get(), ids.data(), ids.size(), in, out, error);
        });
    }
    void step(Ids ids, const Elements &x, Span<float> y)
    {
        detail::check([&](sc_error *error) { return try_step(ids, x, y, error); });
    }
    std::vector<float> step(Ids ids, const Elements &x)
    {
        std::vector<float> y(ports_.output_size(ids.size()));
        step(ids, x, y);
        return y;
    }
    sc_status try_step(Ids ids, Span<const Input> inputs, Span<const Output> outputs,
                       sc_error *error = nullptr) noexcept
    {
        return ports_.all(inputs, outputs, error, [&](const sc_array *in, const sc_array *out) {
            return sc_pool_step(get(), ids.data(), ids.size(), in, out, error);
        });
    }
    void step(Ids ids, Span<const Input> inputs, Span<const Output> outputs)
    {
        detail::check([&](sc_error *error) { return try_step(ids, inputs, outputs, error); });
    }

    void reset(Id id)
    {
        detail::check([&](sc_error *error) { return sc_pool_reset(get(), id, error); });
    }
    void get_state(Id id, std::size_t state, Span<float> to) const
    {
        ports_.state(1, state, to.data(), to.size(), [&](const sc_array *array, sc_error *error) {
            return sc_pool_get_state(get(), id, state, array, error);
        });
    }
    std::vector<float> get_state(Id id, std::size_t state) const
    {
        std::vector<float> to(ports_.state_size(1, state));
        get_state(id, state, to);
        return to;
    }
    void set_state(Id id, std::size_t state, Span<const float> from)
    {
        ports_.state(
            1, state, const_cast<float *>(from.data()), from.size(),
            [&](const sc_array *array, sc_error *error) { return sc_pool_set_state(get(), id, state, array, error); });
    }

    std::size_t saved_bytes() const noexcept { return saved_bytes_; }
    void save(Id id, Span<unsigned char> to) const
    {
        detail::check([&](sc_error *error) { return sc_pool_save(get(), id, to.data(), to.size(), error); });
    }
    std::vector<unsigned char> save(Id id) const
    {
        std::vector<unsigned char> to(saved_bytes());
        save(id, to);
        return to;
    }
    void load(Id id, Span<const unsigned char> from)
    {
        detail::check([&](sc_error *error) { return sc_pool_load(get(), id, from.data(), from.size(), error); });
    }

    sc_pool *get() const noexcept { return pool_.get(); }

private:
    struct Free {
        void operator()(sc_pool *pool) const noexcept { sc_pool_free(pool); }
    };
    std::unique_ptr<sc_pool, Free> pool_;
    detail::Ports ports_;
    std::size_t saved_bytes_ = 0;
};

} // namespace seqcore

#include "decoding.hpp"

#endif
