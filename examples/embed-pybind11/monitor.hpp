/* The application: watches sensors whose next values a model predicts. It knows nothing of Python. */
#ifndef MONITOR_HPP
#define MONITOR_HPP

#include <seqcore/seqcore.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

/* Every sensor is a stream of one pool: a batch of observations, from whichever sensors have some, is one step. An
 * observation's score is its mean squared distance from what the model had predicted for it. Any thread may call any of
 * these. */
class Monitor {
public:
    using Sensor = std::int64_t;

    /* `path`: a model of values (batch, time, n) -> predicted next values (batch, time, n). Throws seqcore::Error, or
     * std::invalid_argument for a model of another kind. */
    Monitor(const std::string &path, std::size_t capacity);

    std::size_t width() const noexcept { return width_; } /* n */
    std::size_t sensors() const noexcept { return pool_.count(); }

    /* Takes the next values (count, n) of `count` different sensors, and writes a score for each, (count,); 0 for a
     * sensor that is new, about which nothing was predicted. When it throws, nothing has changed. */
    void observe(seqcore::Span<const Sensor> sensors, seqcore::Span<const float> values, seqcore::Span<double> scores);

    /* What the sensor's next values should be, (n,). Throws std::out_of_range for an unknown one. */
    void predict(Sensor sensor, seqcore::Span<float> values) const;

    /* Whether it was known. */
    bool forget(Sensor sensor);

private:
    struct Seen {
        seqcore::Pool::Id stream = 0;
        std::vector<float> predicted; /* empty before the first step */
    };

    seqcore::Pool pool_;
    std::size_t width_;
    std::unordered_map<Sensor, Seen> seen_;
    mutable std::mutex mutex_;

    void step(seqcore::Span<const Sensor> sensors, seqcore::Span<const float> values, seqcore::Span<double> scores);
};

#endif
