/* Sequences that a plan makes itself, fed its own last output: sc_plan_decode and sc_plan_feed_back, which say what
 * everything means. seqcore.hpp includes it. */
#ifndef SEQCORE_DECODING_HPP
#define SEQCORE_DECODING_HPP

#include "seqcore.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace seqcore
{

/* What is asked. Inputs stand in the graph's order, of which contexts, their lengths and their masks are read, and
 * states in that of Stream::states(); those that are left out at the end are absent. */
struct Decoding {
    std::vector<std::int64_t> start; /* of every row */
    std::size_t max_length = 1;
    std::int64_t end = -1;
    sc_scores scores = SC_LOGITS;
    std::vector<Input> inputs, states;
    std::vector<std::int64_t> prefix;         /* (rows, n), or empty */
    std::vector<std::int64_t> prefix_lengths; /* (rows,), or empty: all are n */
    std::size_t width = 1, results = 1;
    double length_penalty = 0;
    std::vector<double> uniforms; /* (rows, width, max_length): sampling, with as many results as width */
    double temperature = 1;
    std::size_t top_k = 0;
    double top_p = 1;
    bool extras = false, final_states = false; /* whether they are wanted */
};

/* An array of float or of std::int64_t: of every row, result and token (extras), row and result (states), or row (of
 * feed_back), so much as `shape` says. */
struct Values {
    std::string name;
    sc_dtype dtype = SC_F32;
    Shape shape;
    std::vector<float> floats;
    std::vector<std::int64_t> ids;

    void *data() noexcept
    {
        return dtype == SC_F32 ? static_cast<void *>(floats.data()) : ids.data();
    }
};

/* What came of it: (rows, results) each; ids (rows, results, max_length). */
struct Decoded {
    std::size_t rows = 0, results = 0, max_length = 0;
    std::vector<std::int64_t> ids, lengths, ended;
    std::vector<double> scores;
    std::vector<Values> extras, states;

    /* The tokens of a result, `end` included. */
    Span<const std::int64_t> tokens(std::size_t row, std::size_t number = 0) const
    {
        const std::size_t at = row * results + number;
        if (row >= rows || number >= results) {
            throw Error(SC_BAD_ARGUMENT,
                        "there is no result " + std::to_string(number) + " of row " + std::to_string(row));
        }
        return {ids.data() + at * max_length, static_cast<std::size_t>(lengths[at])};
    }
};

/* What is fed back: a history of `rows` rows, (rows, frames, features...). */
struct Feedback {
    std::size_t rows = 1, steps = 1;
    std::vector<float> history;
    std::vector<std::int64_t> history_lengths; /* (rows,), or empty: all are whole */
    std::vector<Input> inputs, states;
    bool final_states = false;
};

struct FedBack {
    std::vector<float> out; /* (rows, steps, features...) */
    std::vector<Values> states;
};

namespace detail
{

/* The product, which is far from what memory holds where it is refused. */
inline std::size_t count_of(std::initializer_list<std::size_t> sizes)
{
    std::size_t product = 1;
    for (const std::size_t size : sizes) {
        if (size > 0 && product > (static_cast<std::size_t>(1) << 40) / size) {
            throw Error(SC_BAD_ARGUMENT, "rows, results and lengths are too large together");
        }
        product *= size;
    }
    return product;
}

inline void check_count(const char *what, std::size_t expected, std::size_t found)
{
    if (expected != found) {
        throw Error(SC_BAD_SHAPE, std::string(what) + " must have " + std::to_string(expected) + " elements, found " +
                                      std::to_string(found));
    }
}

/* Zeros for so many times what one row has of an array; its batch is the axis of unknown size. */
inline Values values_of(const sc_info &info, std::size_t times)
{
    std::vector<std::size_t> sizes;
    for (std::size_t d = 0; d < info.rank; d++) {
        if (info.shape[d] != SC_UNKNOWN) {
            sizes.push_back(info.shape[d]);
        }
    }
    Values made;
    made.name = info.name;
    made.dtype = info.dtype;
    made.shape = Shape(Span<const std::size_t>(sizes));
    const std::size_t count = count_of({times, made.shape.elements()});
    made.floats.resize(made.dtype == SC_F32 ? count : 0);
    made.ids.resize(made.dtype == SC_F32 ? 0 : count);
    return made;
}

inline std::vector<Values> states_of(const sc_plan *plan, std::size_t rows)
{
    std::vector<Values> all;
    for (std::size_t i = 0; i < sc_plan_step_states(plan); i++) {
        sc_info info = {};
        check([&](sc_error *error) { return sc_plan_step_state_info(plan, i, &info, error); });
        all.push_back(values_of(info, rows));
    }
    return all;
}

/* States as the library takes them, their first sizes being these. */
inline std::vector<sc_array> arrays_of(std::vector<Values> &states, std::initializer_list<std::size_t> first)
{
    std::vector<sc_array> arrays;
    for (Values &state : states) {
        std::vector<std::size_t> sizes(first);
        sizes.insert(sizes.end(), state.shape.begin(), state.shape.end());
        arrays.push_back(Shape(Span<const std::size_t>(sizes)).array(state.data()));
    }
    return arrays;
}

/* What a caller gives of so many arrays of float. */
inline std::vector<sc_array> given_states(const sc_plan *plan, const std::vector<Input> &states)
{
    std::vector<sc_array> arrays(sc_plan_step_states(plan));
    if (states.size() > arrays.size()) {
        throw Error(SC_BAD_SHAPE,
                    "a step has " + std::to_string(arrays.size()) + " states, found " + std::to_string(states.size()));
    }
    for (std::size_t i = 0; i < states.size(); i++) {
        check([&](sc_error *error) {
            return states[i].dtype() == SC_F32 ? SC_OK : wrong_type("state", std::to_string(i), SC_F32, error);
        });
        arrays[i] = states[i].array();
    }
    return arrays;
}

} // namespace detail

inline Decoded Plan::decode(const Decoding &asked) const
{
    detail::check([&](sc_error *error) { return sc_plan_check_step(get(), error); });
    Decoded made;
    made.rows = asked.start.size();
    made.results = asked.results;
    made.max_length = asked.max_length;
    const std::size_t results = detail::count_of({made.rows, made.results}), outputs = sc_plan_step_outputs(get());
    const std::size_t tokens = detail::count_of({results, made.max_length});
    const std::size_t prefix_size = made.rows > 0 ? asked.prefix.size() / made.rows : 0;
    detail::check_count("prefix", made.rows * prefix_size, asked.prefix.size());
    if (!asked.prefix_lengths.empty()) {
        detail::check_count("prefix_lengths", made.rows, asked.prefix_lengths.size());
    }
    if (!asked.uniforms.empty()) {
        detail::check_count("uniforms", detail::count_of({made.rows, asked.width, asked.max_length}),
                            asked.uniforms.size());
    }
    made.ids.resize(tokens);
    made.lengths.resize(results);
    made.ended.resize(results);
    made.scores.resize(results);
    std::vector<void *> extras;
    if (asked.final_states) {
        made.states = detail::states_of(get(), results);
    }
    std::vector<sc_array> first = detail::given_states(get(), asked.states);
    std::vector<sc_array> last = detail::arrays_of(made.states, {made.rows, made.results});
    with(Span<const Input>(asked.inputs), [&](const sc_array *inputs, sc_error *error) {
        for (std::size_t i = 1; asked.extras && i < outputs; i++) {
            sc_info info = {};
            const sc_status status = sc_plan_step_output_sizes(get(), inputs, i, &info, error);
            if (status != SC_OK) {
                return status;
            }
            made.extras.push_back(detail::values_of(info, tokens));
            extras.push_back(made.extras.back().data());
        }
        sc_decoding q = {};
        q.rows = made.rows;
        q.inputs = inputs;
        q.states = first.data();
        q.start = asked.start.data();
        q.max_length = asked.max_length;
        q.end = asked.end;
        q.scores = asked.scores;
        q.prefix_size = prefix_size;
        q.prefix = prefix_size > 0 ? asked.prefix.data() : nullptr;
        q.prefix_lengths = asked.prefix_lengths.empty() ? nullptr : asked.prefix_lengths.data();
        q.width = asked.width;
        q.length_penalty = asked.length_penalty;
        q.uniforms = asked.uniforms.empty() ? nullptr : asked.uniforms.data();
        q.temperature = asked.temperature;
        q.top_k = asked.top_k;
        q.top_p = asked.top_p;
        sc_decoded to = {};
        to.results = made.results;
        to.ids = made.ids.data();
        to.lengths = made.lengths.data();
        to.ended = made.ended.data();
        to.scores = made.scores.data();
        to.extras = asked.extras ? extras.data() : nullptr;
        to.states = asked.final_states ? last.data() : nullptr;
        return sc_plan_decode(get(), &q, &to, error);
    });
    return made;
}

inline FedBack Plan::feed_back(const Feedback &asked) const
{
    detail::check([&](sc_error *error) { return sc_plan_check_step(get(), error); });
    sc_info info = {};
    detail::check([&](sc_error *error) { return sc_plan_step_input_info(get(), 0, &info, error); });
    const std::size_t frame = Shape(Span<const std::size_t>(info.shape, info.rank)).of_rows(1).elements();
    const std::size_t each = detail::count_of({asked.rows, frame}), frames = each > 0 ? asked.history.size() / each : 0;
    detail::check_count("history", each * frames, asked.history.size());
    if (!asked.history_lengths.empty()) {
        detail::check_count("history_lengths", asked.rows, asked.history_lengths.size());
    }
    FedBack made;
    made.out.resize(detail::count_of({each, asked.steps}));
    if (asked.final_states) {
        made.states = detail::states_of(get(), asked.rows);
    }
    std::vector<sc_array> first = detail::given_states(get(), asked.states);
    std::vector<sc_array> last = detail::arrays_of(made.states, {asked.rows});
    with(Span<const Input>(asked.inputs), [&](const sc_array *inputs, sc_error *error) {
        sc_feedback q = {};
        q.rows = asked.rows;
        q.inputs = inputs;
        q.states = first.data();
        q.history_size = frames;
        q.history = asked.history.data();
        q.history_lengths = asked.history_lengths.empty() ? nullptr : asked.history_lengths.data();
        q.steps = asked.steps;
        q.out = made.out.data();
        q.final_states = asked.final_states ? last.data() : nullptr;
        return sc_plan_feed_back(get(), &q, error);
    });
    return made;
}

} // namespace seqcore

#endif
