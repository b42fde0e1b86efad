/* seqcore.hpp: what owners own, what is thrown, what is checked before the library sees it, and that steps do not
 * allocate. What the numbers mean is tested from Python; here runs, steps and pools of one model must agree. */
#include "small_model.h"

#include <seqcore/seqcore.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#if __has_include(<span>)
#include <span>
#endif
#include <thread>

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                      \
        }                                                                      \
    } while (0)
#define THROWS(expected, cause, expression)                                                       \
    do {                                                                                          \
        bool thrown = false;                                                                      \
        try {                                                                                     \
            static_cast<void>(expression);                                                        \
        } catch (const seqcore::Error &error) {                                                   \
            thrown = error.status() == (expected) && std::strstr(error.what(), cause) != nullptr; \
            if (!thrown) {                                                                        \
                std::fprintf(stderr, "found %d: %s\n", error.status(), error.what());             \
            }                                                                                     \
        }                                                                                         \
        CHECK(thrown);                                                                            \
    } while (0)

static std::size_t allocations; /* by C++, of this thread's tests */

void *operator new(std::size_t bytes)
{
    allocations++;
    void *memory = std::malloc(bytes > 0 ? bytes : 1);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

using seqcore::Input;
using seqcore::Output;
using seqcore::Plan;
using seqcore::Pool;
using seqcore::Shape;
using seqcore::Stream;
using seqcore::View;

constexpr std::size_t T = 20;
constexpr char two_graph[] = SMALL_GRAPH_OF("1", "", SMALL_OUTPUT ", {\"name\": \"h\", \"value\": \"lstm\"}");

/* Ids and lengths, both int64: y[t] is row ids[t] of the table. */
constexpr char ids_graph[] =
    "{\"format\": \"seqcore\", \"version\": 1,"
    "\"inputs\": [{\"name\": \"ids\", \"kind\": \"data\", \"dtype\": \"int64\", \"shape\": [null]},"
    "             {\"name\": \"ids:lengths\", \"kind\": \"lengths\", \"of\": \"ids\"}],"
    "\"nodes\": [{\"op\": \"embedding\", \"layer\": \"table\", \"inputs\": [\"ids\"], \"lengths\": \"ids:lengths\","
    " \"outputs\": [\"table\"], \"weights\": {\"W\": \"W\"}, \"attrs\": {\"rows\": 3, \"units\": 2}}],"
    "\"outputs\": [{\"name\": \"y\", \"value\": \"table\", \"lengths\": \"ids:lengths\"}]}";

/* Where the greatest of 3 features is: int64. */
constexpr char best_graph[] =
    "{\"format\": \"seqcore\", \"version\": 1,"
    "\"inputs\": [{\"name\": \"x\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 3]}],"
    "\"nodes\": [{\"op\": \"argmax\", \"layer\": \"best\", \"inputs\": [\"x\"], \"outputs\": [\"best\"], \"attrs\":"
    " {\"axis\": 2, \"keepdims\": false, \"function\": \"max\"}}], \"outputs\": [{\"name\": \"y\", \"value\": \"best\"}]}";

static Plan small_plan(const char *graph = SMALL_GRAPH, const seqcore::Options &options = {}, std::uint32_t weights = 0)
{
    return Plan::create(graph, {small_tensors(weights), SMALL_TENSORS}, options);
}

static std::vector<float> frames(std::size_t rows)
{
    std::vector<float> x(rows * T * SMALL_IN);
    for (std::size_t i = 0; i < x.size(); i++) {
        x[i] = small_number(5000 + static_cast<std::uint32_t>(i));
    }
    return x;
}

template <class A, class B> static bool same_bits(const A &a, const B &b)
{
    return std::size(a) == std::size(b) &&
           std::memcmp(std::data(a), std::data(b), std::size(a) * sizeof *std::data(a)) == 0;
}

static void test_plans(const char *path)
{
    static_assert(!std::is_copy_constructible_v<Plan> && std::is_nothrow_move_constructible_v<Plan>, "move only");
    static_assert(!std::is_copy_constructible_v<Stream> && std::is_nothrow_move_assignable_v<Stream>, "move only");
    static_assert(!std::is_copy_constructible_v<Pool> && std::is_nothrow_move_assignable_v<Pool>, "move only");
    sc_error error;
    CHECK(sc_file_write(path, SMALL_GRAPH, sizeof SMALL_GRAPH - 1, small_tensors(0), SMALL_TENSORS, &error) == SC_OK);
    const Plan plan = small_plan(), opened = Plan::open(path);
    const std::vector<float> x = frames(2);
    const std::vector<float> y = plan.run({View(x, {2, T, SMALL_IN})});
    CHECK(y.size() == 2 * T * SMALL_OUT && same_bits(y, opened.run({View(x, {2, T, SMALL_IN})})));

    alignas(8) char bytes[1 << 14];
    std::FILE *file = std::fopen(path, "rb");
    CHECK(file != nullptr);
    const std::size_t size = std::fread(bytes, 1, sizeof bytes, file);
    std::fclose(file);
    CHECK(same_bits(y, Plan::open_memory(bytes, size).run({View(x, {2, T, SMALL_IN})})));
    THROWS(SC_BAD_FILE, "truncated", Plan::open_memory(bytes, size - 1));
    THROWS(SC_BAD_FILE, "no such file", Plan::open("no such file"));
    THROWS(SC_BAD_ARGUMENT, "'pentium'", Plan::open(path, {"pentium"}));

    static const char part[] = SMALL_GRAPH_OF("1", "", "{\"name\": \"hidden\", \"value\": \"lstm\"}");
    const sc_named_text texts[] = {{"__graph__", SMALL_GRAPH, sizeof SMALL_GRAPH - 1}, {"__graph__.part", part, sizeof part - 1}};
    CHECK(sc_file_write_texts(path, texts, 2, small_tensors(0), SMALL_TENSORS, &error) == SC_OK);
    seqcore::Options options;
    CHECK(Plan::open(path, options).outputs()[0].name == "y");
    options.part = "part";
    CHECK(Plan::open(path, options).outputs()[0].name == "hidden");
    options.part = "other";
    THROWS(SC_BAD_FILE, "\"__graph__.other\"", Plan::open(path, options));
    THROWS(SC_BAD_ARGUMENT, "part 'other'", small_plan(SMALL_GRAPH, options));

    const std::vector<seqcore::Info> inputs = plan.inputs(), outputs = plan.outputs();
    CHECK(inputs.size() == 1 && inputs[0].name == "x" && !inputs[0].optional && inputs[0].dtype == SC_F32);
    CHECK((inputs[0].shape == Shape{SC_UNKNOWN, SC_UNKNOWN, SMALL_IN}));
    CHECK(outputs.size() == 1 && outputs[0].name == "y" && outputs[0].shape.rank() == 3);
    CHECK((plan.output_shapes({View(x, {2, T, SMALL_IN})}).at(0) == Shape{2, T, SMALL_OUT}));
    CHECK(!plan.isa().empty() && plan.bytes() > 0 && plan.saved_bytes(2) > plan.saved_bytes());

    std::vector<float> small(SMALL_OUT);
    THROWS(SC_BAD_SHAPE, "120 elements over memory of 119",
           View(seqcore::Span(x.data(), x.size() - 1), {2, T, SMALL_IN}));
    THROWS(SC_BAD_SHAPE, "at most 6 axes", (Shape{1, 1, 1, 1, 1, 1, 1}));
    THROWS(SC_BAD_SHAPE, "1 inputs, found 2", plan.run({View(x, {2, T, SMALL_IN}), Input()}));
    THROWS(SC_BAD_SHAPE, "is missing", plan.run({Input()}));
    THROWS(SC_BAD_SHAPE, "'x'", plan.run({View(x, {T, 2, SMALL_IN, 1})}));
    THROWS(SC_BAD_SHAPE, "1 outputs, found 0", plan.run({View(x, {2, T, SMALL_IN})}, seqcore::Span<const Output>()));
    THROWS(SC_BAD_SHAPE, "output 'y'", plan.run({View(x, {2, T, SMALL_IN})}, {View(small, {1, 1, SMALL_OUT})}));
    CHECK((Shape{static_cast<std::size_t>(1) << 40, static_cast<std::size_t>(1) << 40, 0}).elements() == SC_UNKNOWN);

    /* An empty batch is a batch, though its vector has no address */
    const std::vector<float> none;
    CHECK(plan.run({View(none, {0, T, SMALL_IN})}).empty());

    Plan moved = small_plan(), target = std::move(moved);
    THROWS(SC_BAD_ARGUMENT, "NULL", moved.check_step()); // NOLINT: what was moved from is refused
    THROWS(SC_BAD_ARGUMENT, "NULL", Stream(moved));      // NOLINT
    target.check_step();
}

static void test_ids()
{
    static const float table[] = {0, 1, 10, 11, 20, 21};
    const sc_tensor tensors[] = {{"W", SC_F32, 2, {3, 2}, table}};
    const Plan plan = Plan::create(ids_graph, tensors);
    std::array<std::int64_t, 3> ids = {2, 0, 1};
    std::vector<std::int64_t> lengths = {2};
    CHECK(same_bits(plan.run({View(ids, {1, 3})}), std::array<float, 6>{20, 21, 0, 1, 10, 11}));
    CHECK(same_bits(plan.run({View(ids, {1, 3}), View(lengths, {1})}), std::array<float, 6>{20, 21, 0, 1, 0, 0}));
    const std::vector<float> floats(3);
    THROWS(SC_BAD_ARGUMENT, "input 'ids' takes std::int64_t", plan.run({View(floats, {1, 3})}));
    ids[1] = 3;
    THROWS(SC_BAD_INDEX, "id 3", plan.run({View(ids, {1, 3})}));
    CHECK(plan.inputs()[1].optional && plan.inputs()[1].dtype == SC_I64);

    Stream stream(plan, 2);
    ids = {1, 2, 0};
    CHECK(same_bits(stream.step(seqcore::Span(ids.data(), 2)), std::array<float, 4>{10, 11, 20, 21}));
    THROWS(SC_BAD_ARGUMENT, "input 'ids' takes std::int64_t", stream.step({1, 2}));
    THROWS(SC_BAD_SHAPE, "input 'ids' has 2 elements, found 3", stream.step(ids));
    ids[0] = -1;
    THROWS(SC_BAD_INDEX, "id -1", stream.step(seqcore::Span(ids.data(), 2)));
}

static void test_streams()
{
    Plan plan = small_plan();
    const std::vector<float> x = frames(1), expected = plan.run({View(x, {1, T, SMALL_IN})});
    Stream first(plan), second(small_plan());
    std::vector<float> y(expected.size());
    for (std::size_t t = 0; t < T; t++) {
        const seqcore::Span<const float> frame(x.data() + t * SMALL_IN, SMALL_IN);
        first.step(frame, seqcore::Span(y.data() + t * SMALL_OUT, SMALL_OUT));
        if (t == 3) {
            second.load(first.save());
        } else if (t == 9) {
            second.reset();
            for (std::size_t i = 0; i < second.states().size(); i++) {
                second.set_state(i, first.get_state(i));
            }
            plan = small_plan(two_graph); /* the old one goes; its streams stay */
        } else if (t > 3) {
            CHECK(same_bits(second.step(frame), seqcore::Span(y.data() + t * SMALL_OUT, SMALL_OUT)));
        }
#if defined(__cpp_lib_span)
        if (t == T - 1) { /* std::span is one of those that convert */
            float z[SMALL_OUT];
            CHECK(second.try_step(std::span(frame.data(), frame.size()), std::span(z)) == SC_OK);
        }
#endif
    }
    CHECK(same_bits(y, expected));
    CHECK(first.states().size() == 3 && first.states()[0].name == "conv:frames" && first.inputs()[0].name == "x" &&
          first.outputs()[0].name == "y" && first.rows() == 1);
    CHECK(first.get_state(0).size() == (SMALL_KERNEL - 1) * SMALL_IN);

    float small[1];
    CHECK(first.try_step({1, 2, 3}, small) == SC_BAD_SHAPE);
    THROWS(SC_BAD_SHAPE, "output 'y' has 2 elements, found 1", first.step({1, 2, 3}, small));
    THROWS(SC_BAD_SHAPE, "input 'x' has 3 elements, found 2", first.step({1, 2}));
    THROWS(SC_BAD_ARGUMENT, "input 'x' takes float", first.step(std::vector<std::int64_t>(3)));
    THROWS(SC_BAD_SHAPE, "state 'lstm:h' has 5 elements, found 1", first.get_state(1, small));
    THROWS(SC_BAD_ARGUMENT, "there is none 3", first.get_state(3));
    THROWS(SC_BAD_STATE, "another model", Stream(small_plan(SMALL_GRAPH, {}, 1)).load(first.save()));
    THROWS(SC_BAD_STATE, "not a saved state", first.load(std::vector<unsigned char>(first.saved_bytes())));
    THROWS(SC_BAD_ARGUMENT, "must be from 1", Stream(plan, 0));

    Stream two(plan);
    std::vector<float> one(SMALL_OUT), h(SMALL_UNITS);
    THROWS(SC_BAD_ARGUMENT, "1 inputs and 2 outputs", two.step({1, 2, 3}));
    two.step({View(seqcore::Span(x.data(), SMALL_IN), {1, SMALL_IN})},
             {View(one, {1, SMALL_OUT}), View(h, {1, SMALL_UNITS})});
    CHECK(same_bits(h, two.get_state(1)) && same_bits(one, seqcore::Span(expected.data(), SMALL_OUT)));
    THROWS(SC_BAD_SHAPE, "2 outputs, found 1", two.step({View(one, {1, 2})}, {View(h, {1, SMALL_UNITS})}));
    const std::vector<std::int64_t> ids(3);
    THROWS(SC_BAD_ARGUMENT, "takes float", two.step({View(ids, {1, 3})}, {View(one, {1, 2}), View(h, {1, 5})}));
}

static void test_pools()
{
    const Plan plan = small_plan();
    Pool pool(plan, 2);
    const sc_stream_id ids[] = {pool.open(), pool.open()};
    THROWS(SC_FULL, "its capacity is 2", pool.open());
    CHECK(pool.count() == 2 && pool.capacity() == 2 && pool.states().size() == 3);
    Stream a(plan), b(plan);
    const std::vector<float> x = frames(1);
    for (std::size_t t = 0; t + 1 < T; t++) { /* a takes frame t, b the next one */
        const std::vector<float> y = pool.step(ids, seqcore::Span(x.data() + t * SMALL_IN, 2 * SMALL_IN));
        CHECK(same_bits(a.step(seqcore::Span(x.data() + t * SMALL_IN, SMALL_IN)), seqcore::Span(y.data(), SMALL_OUT)));
        CHECK(same_bits(b.step(seqcore::Span(x.data() + (t + 1) * SMALL_IN, SMALL_IN)),
                        seqcore::Span(y.data() + SMALL_OUT, SMALL_OUT)));
    }
    CHECK(same_bits(pool.save(ids[0]), a.save()) && same_bits(pool.get_state(ids[1], 2), b.get_state(2)));
    pool.load(ids[0], b.save());
    pool.set_state(ids[1], 1, a.get_state(1));
    CHECK(same_bits(pool.save(ids[0]), b.save()) && same_bits(pool.get_state(ids[1], 1), a.get_state(1)));
    THROWS(SC_BUSY, "twice", pool.step({ids[0], ids[0]}, {1, 2, 3, 4, 5, 6}));
    THROWS(SC_BAD_SHAPE, "has 6 elements, found 3", pool.step(ids, {1, 2, 3}));
    pool.close(ids[1]);
    THROWS(SC_BAD_STREAM, "closed", pool.reset(ids[1]));
    CHECK(pool.try_close(ids[1]) == SC_BAD_STREAM);
    pool.reset(ids[0]);
    CHECK(same_bits(pool.step({ids[0]}, {1, 2, 3}), Stream(plan).step({1, 2, 3})));
}

/* An allocator with exceptions of its own; its memory outlives the plan. */
struct Budget {
    std::size_t left, live = 0, calls = 0;

    void *allocate(std::size_t alignment, std::size_t bytes)
    {
        calls++;
        if (bytes > left) {
            throw std::length_error("the budget is spent");
        }
        left -= bytes;
        live++;
        return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    }
    void release(void *memory) noexcept
    {
        live--;
        std::free(memory);
    }
};

static void test_allocators()
{
    Budget poor = {100}, rich = {1 << 24};
    seqcore::Options options;
    options.threads = 1;
    options.allocator = seqcore::allocator_of(poor);
    THROWS(SC_NO_MEMORY, "memory", small_plan(SMALL_GRAPH, options));
    CHECK(poor.live == 0);
    options.allocator = seqcore::allocator_of(rich);
    {
        Stream stream(small_plan(two_graph, options));
        Pool pool(small_plan(SMALL_GRAPH, options), 3);
        const sc_stream_id ids[] = {pool.open(), pool.open()};
        const std::array<float, 2 * SMALL_IN> x = {};
        std::array<float, 2 * SMALL_OUT> y;
        std::array<float, SMALL_UNITS> h;
        const Input in = View(seqcore::Span(x.data(), SMALL_IN), {1, SMALL_IN});
        const Output out[] = {View(seqcore::Span(y.data(), SMALL_OUT), {1, SMALL_OUT}), View(h, {1, SMALL_UNITS})};
        const std::size_t before = allocations + rich.calls;
        for (int t = 0; t < 100; t++) {
            CHECK(stream.try_step({&in, 1}, out) == SC_OK);
            CHECK(pool.try_step(ids, x, y) == SC_OK);
            CHECK(pool.try_step(ids, h, y) == SC_BAD_SHAPE);
            stream.step({in}, out);
            pool.step(ids, x, y);
        }
        CHECK(allocations + rich.calls == before);
    }
    CHECK(rich.live == 0 && rich.calls > 20);
}

static void test_two_threads()
{
    const Plan plan = small_plan();
    Stream stream(plan);
    std::size_t steps[2] = {0, 0};
    const auto work = [&](std::size_t number) {
        float y[SMALL_OUT];
        for (int t = 0; t < 2000; t++) {
            const sc_status status = stream.try_step({1, 2, 3}, y);
            CHECK(status == SC_OK || status == SC_BUSY);
            steps[number] += status == SC_OK;
        }
    };
    std::thread other(work, 1);
    work(0);
    other.join();
    Stream alone(plan);
    for (std::size_t t = 0; t < steps[0] + steps[1]; t++) {
        alone.step({1, 2, 3});
    }
    CHECK(same_bits(alone.save(), stream.save()));
}

/* Memory of float would be half of what is written. */
static void test_outputs_of_int64()
{
    const Plan plan = small_plan(best_graph);
    const std::vector<float> x = {1, 3, 2, 5, 4, 4};
    std::vector<std::int64_t> y(2, -1);
    std::vector<float> wrong(2);
    CHECK(plan.outputs()[0].dtype == SC_I64);
    plan.run({View(x, {1, 2, 3})}, {View(y, {1, 2})});
    CHECK(y[0] == 1 && y[1] == 0);
    THROWS(SC_BAD_ARGUMENT, "output 'y' takes std::int64_t", plan.run({View(x, {1, 2, 3})}, {View(wrong, {1, 2})}));
    THROWS(SC_BAD_ARGUMENT, "output 'y' takes std::int64_t", plan.run({View(x, {1, 2, 3})}));
    Stream stream(plan, 2);
    stream.step({View(x, {2, 3})}, {View(y, {2})});
    CHECK(y[0] == 1 && y[1] == 0);
    THROWS(SC_BAD_ARGUMENT, "output 'y' takes std::int64_t", stream.step({View(x, {2, 3})}, {View(wrong, {2})}));
    THROWS(SC_BAD_ARGUMENT, "output 'y' takes std::int64_t", stream.step(x, wrong));
    const Plan floats = small_plan();
    const std::vector<float> frame = frames(1);
    std::vector<std::int64_t> ids(T * SMALL_OUT);
    const View<std::int64_t> into(ids, {1, T, SMALL_OUT});
    THROWS(SC_BAD_ARGUMENT, "output 'y' takes float", floats.run({View(frame, {1, T, SMALL_IN})}, {into}));
}

/* ---- Sequences that a plan makes itself ------------------------------------------------------------------------- */

/* Scores are rows of a table, and the extra says how the token's row looks at a context of 2 features. */
constexpr char decoder_graph[] =
    "{\"format\": \"seqcore\", \"version\": 1,"
    "\"inputs\": [{\"name\": \"t\", \"kind\": \"data\", \"dtype\": \"int64\", \"shape\": [null]},"
    "             {\"name\": \"c\", \"kind\": \"data\", \"dtype\": \"float32\", \"shape\": [null, 3], \"context\": true},"
    "             {\"name\": \"c:lengths\", \"kind\": \"lengths\", \"of\": \"c\"}],"
    "\"nodes\": [{\"op\": \"embedding\", \"layer\": \"e\", \"inputs\": [\"t\"], \"outputs\": [\"e\"], \"weights\": {\"W\": \"E\"},"
    " \"attrs\": {\"rows\": 4, \"units\": 3}},"
    "{\"op\": \"simple_rnn\", \"layer\": \"rnn\", \"inputs\": [\"e\"], \"outputs\": [\"h\"], \"weights\": {\"W\": \"U\", \"U\": \"U\", \"b\": \"b\"},"
    " \"attrs\": {\"units\": 3, \"activation\": [\"tanh\", 0, 0], \"reverse\": false, \"realign\": false, \"return_sequences\": true}},"
    "{\"op\": \"attention\", \"layer\": \"a\", \"inputs\": [\"h\", \"c\"], \"lengths\": [null, \"c:lengths\"], \"outputs\": [\"a\", \"w\"],"
    " \"weights\": {}, \"attrs\": {\"score\": \"dot\", \"scale\": 1, \"heads\": 0, \"causal\": false, \"masking\": \"zero\"}},"
    "{\"op\": \"add\", \"layer\": \"s\", \"inputs\": [\"h\", \"a\"], \"outputs\": [\"s\"]}],"
    "\"outputs\": [{\"name\": \"s\", \"value\": \"s\"}, {\"name\": \"w\", \"value\": \"w\"}]}";

static Plan decoder_plan()
{
    static const float E[] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0.5f, 0.25f, -1}, U[] = {0.5f, 1, 0, 0, 0.5f, 1, 1, 0, 0.5f}, b[] = {0, 0.1f, 0};
    const sc_tensor tensors[] = {{"E", SC_F32, 2, {4, 3}, E}, {"U", SC_F32, 2, {3, 3}, U}, {"b", SC_F32, 1, {3}, b}};
    return Plan::create(decoder_graph, tensors);
}

/* What is decoded greedily is what a stream gives that is fed the best of its own tokens. */
static void test_decoding()
{
    const Plan plan = decoder_plan();
    const std::vector<float> context = {1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, -1, 0, 1};
    const std::vector<std::int64_t> lengths = {3, 1};
    seqcore::Decoding q;
    q.start = {3, 3};
    q.max_length = 6;
    q.inputs = {Input(), View(context, {2, 3, 3}), View(lengths, {2})};
    q.extras = q.final_states = true;
    const seqcore::Decoded greedy = plan.decode(q);
    CHECK(greedy.rows == 2 && greedy.extras.size() == 1 && greedy.extras[0].name == "w" && (greedy.extras[0].shape == Shape{3}));
    CHECK(greedy.states.size() == 1 && greedy.states[0].name == "h:h" && greedy.tokens(1).size() == 6);

    Stream stream(plan, 2);
    std::vector<std::int64_t> token = {3, 3};
    std::vector<float> s(6), w(6);
    THROWS(SC_BAD_STATE, "no context yet", stream.step({View(token, {2})}, {View(s, {2, 3}), View(w, {2, 3})}));
    stream.set_context(q.inputs);
    CHECK((stream.outputs()[1].shape == Shape{SC_UNKNOWN, 3}));
    for (std::size_t t = 0; t < q.max_length; t++) {
        stream.step({View(token, {2})}, {View(s, {2, 3}), View(w, {2, 3})});
        for (std::size_t m = 0; m < 2; m++) {
            token[m] = std::max_element(s.begin() + 3 * m, s.begin() + 3 * (m + 1)) - (s.begin() + 3 * m);
            CHECK(greedy.tokens(m)[t] == token[m]);
            CHECK(same_bits(seqcore::Span(w.data() + 3 * m, 3), seqcore::Span(greedy.extras[0].floats.data() + 3 * (6 * m + t), 3)));
        }
    }
    CHECK(same_bits(stream.get_state(0), greedy.states[0].floats));

    q.final_states = false;
    q.width = 3;
    q.results = 2;
    q.end = greedy.tokens(0)[2];
    q.prefix = {0, 0};
    const seqcore::Decoded beams = plan.decode(q);
    CHECK(beams.tokens(0)[0] == 0 && beams.tokens(1, 1)[0] == 0 && beams.scores[0] >= beams.scores[1] && beams.ids.size() == 24);
    THROWS(SC_BAD_ARGUMENT, "no result 2", beams.tokens(0, 2));
    q.results = 3;
    q.uniforms.assign(2 * 3 * 6, 0.5);
    CHECK(plan.decode(q).tokens(1, 2)[0] == 0);

    q.uniforms.pop_back();
    THROWS(SC_BAD_SHAPE, "uniforms must have 36 elements, found 35", plan.decode(q));
    q.uniforms.clear();
    q.prefix = {0, 0, 0};
    THROWS(SC_BAD_SHAPE, "prefix must have 2 elements, found 3", plan.decode(q));
    q.prefix.clear();
    q.prefix_lengths = {1};
    THROWS(SC_BAD_SHAPE, "prefix_lengths must have 2 elements, found 1", plan.decode(q));
    q.prefix_lengths.clear();
    q.states = {View(s, {2, 3}), View(s, {2, 3})};
    THROWS(SC_BAD_SHAPE, "a step has 1 states, found 2", plan.decode(q));
    q.states = {View(lengths, {2})};
    THROWS(SC_BAD_ARGUMENT, "state '0' takes float", plan.decode(q));
    q.states = {View(s, {2, 3})};
    plan.decode(q);
    q.max_length = static_cast<std::size_t>(-1);
    THROWS(SC_BAD_ARGUMENT, "too large together", plan.decode(q));
    q.max_length = 6;
    q.inputs[1] = View(lengths, {2, 1, 1});
    THROWS(SC_BAD_ARGUMENT, "input 'c' takes float", plan.decode(q));
    q.inputs.pop_back();
    q.inputs.pop_back();
    THROWS(SC_BAD_ARGUMENT, "context 'c' is missing", plan.decode(q));
    THROWS(SC_UNSUPPORTED, "cannot be fed tokens", small_plan().decode(q));
    THROWS(SC_BAD_ARGUMENT, "start", plan.decode({}));
}

/* A last frame that is fed on is what a stream gives that is fed its own output. */
static void test_feed_back()
{
    constexpr char graph[] = SMALL_GRAPH_OF("1", ",{\"op\": \"dense\", \"layer\": \"more\", \"inputs\": [\"dense\"], \"outputs\": [\"more\"],"
                                            " \"weights\": {\"W\": \"M\", \"b\": \"m\"}, \"attrs\": {\"units\": 3, \"activation\": [\"tanh\", 0, 0]}}",
                                            "{\"name\": \"y\", \"value\": \"more\"}");
    static const float M[] = {1, -1, 0.5f, 2, 0.5f, -1}, m[] = {0.1f, 0, -0.1f};
    std::vector<sc_tensor> tensors(small_tensors(0), small_tensors(0) + SMALL_TENSORS);
    tensors.push_back({"M", SC_F32, 2, {2, 3}, M});
    tensors.push_back({"m", SC_F32, 1, {3}, m});
    const Plan plan = Plan::create(graph, tensors);
    seqcore::Feedback q;
    q.rows = 2;
    q.steps = 5;
    q.history = frames(1);
    q.history.resize(2 * 4 * SMALL_IN);
    q.history_lengths = {4, 2};
    q.final_states = true;
    const seqcore::FedBack made = plan.feed_back(q);
    CHECK(made.out.size() == 2 * 5 * 3 && made.states.size() == 3 && (made.states[0].shape == Shape{2, SMALL_IN}));
    for (std::size_t row = 0; row < 2; row++) {
        Stream stream(plan);
        std::vector<float> y;
        for (std::size_t t = 0; t < static_cast<std::size_t>(q.history_lengths[row]); t++) {
            y = stream.step(seqcore::Span<const float>(q.history.data() + (row * 4 + t) * SMALL_IN, SMALL_IN));
        }
        for (std::size_t t = 0; t < q.steps; t++) {
            CHECK(same_bits(y, seqcore::Span(made.out.data() + (row * 5 + t) * 3, 3)));
            y = t + 1 < q.steps ? stream.step(y) : y;
        }
        CHECK(same_bits(stream.get_state(1), seqcore::Span(made.states[1].floats.data() + row * SMALL_UNITS, SMALL_UNITS)));
    }
    q.history.pop_back();
    THROWS(SC_BAD_SHAPE, "history must have", plan.feed_back(q));
    q.history.clear();
    THROWS(SC_BAD_ARGUMENT, "history", plan.feed_back(q));
}

int main(int count, char **arguments)
{
    CHECK(count == 2);
    test_plans(arguments[1]);
    test_ids();
    test_outputs_of_int64();
    test_streams();
    test_pools();
    test_allocators();
    test_two_threads();
    test_decoding();
    test_feed_back();
    std::printf("test_cpp: all passed\n");
    return 0;
}
