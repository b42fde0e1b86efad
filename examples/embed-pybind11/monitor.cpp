#include "monitor.hpp"

#include <algorithm>
#include <stdexcept>
#include <unordered_set>

Monitor::Monitor(const std::string &path, std::size_t capacity) : pool_(seqcore::Plan::open(path), capacity)
{
    const std::vector<seqcore::Info> &inputs = pool_.inputs(), &outputs = pool_.outputs();
    if (inputs.size() != 1 || outputs.size() != 1 || inputs[0].dtype != SC_F32 || inputs[0].shape.rank() != 2 ||
        inputs[0].shape != outputs[0].shape) {
        throw std::invalid_argument(path + ": the model must predict as many values as it takes");
    }
    width_ = inputs[0].shape[1];
}

void Monitor::observe(seqcore::Span<const Sensor> sensors, seqcore::Span<const float> values,
                      seqcore::Span<double> scores)
{
    if (values.size() != sensors.size() * width_ || scores.size() != sensors.size()) {
        throw std::invalid_argument("expected " + std::to_string(width_) + " values and a score for each of " +
                                    std::to_string(sensors.size()) + " sensors, found " +
                                    std::to_string(values.size()) + " and " + std::to_string(scores.size()));
    }
    if (std::unordered_set<Sensor>(sensors.begin(), sensors.end()).size() != sensors.size()) {
        throw std::invalid_argument("a sensor stands twice in one batch");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<Sensor> added;
    added.reserve(sensors.size());
    try {
        for (const Sensor sensor : sensors) {
            if (seen_.find(sensor) == seen_.end()) {
                Seen &seen = seen_[sensor];
                added.push_back(sensor);
                seen.predicted.reserve(width_);
                seen.stream = pool_.open();
            }
        }
        step(sensors, values, scores);
    } catch (...) {
        for (const Sensor sensor : added) {
            const auto found = seen_.find(sensor);
            pool_.try_close(found->second.stream); /* the last one, perhaps, has none */
            seen_.erase(found);
        }
        throw;
    }
}

void Monitor::step(seqcore::Span<const Sensor> sensors, seqcore::Span<const float> values, seqcore::Span<double> scores)
{
    std::vector<seqcore::Pool::Id> ids;
    for (const Sensor sensor : sensors) {
        ids.push_back(seen_.at(sensor).stream);
    }
    const std::vector<float> predicted = pool_.step(ids, values); /* from here on nothing fails */
    for (std::size_t i = 0; i < sensors.size(); i++) {
        std::vector<float> &before = seen_.at(sensors[i]).predicted;
        double sum = 0;
        for (std::size_t k = 0; k < before.size(); k++) {
            const double distance = static_cast<double>(values[i * width_ + k]) - static_cast<double>(before[k]);
            sum += distance * distance;
        }
        scores[i] = sum / static_cast<double>(width_);
        const float *next = predicted.data() + i * width_;
        before.assign(next, next + width_);
    }
}

void Monitor::predict(Sensor sensor, seqcore::Span<float> values) const
{
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = seen_.find(sensor);
    if (found == seen_.end()) {
        throw std::out_of_range("sensor " + std::to_string(sensor) + " was never observed, or is forgotten");
    }
    if (values.size() != width_) {
        throw std::invalid_argument("a prediction is " + std::to_string(width_) + " values");
    }
    std::copy(found->second.predicted.begin(), found->second.predicted.end(), values.begin());
}

bool Monitor::forget(Sensor sensor)
{
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = seen_.find(sensor);
    if (found == seen_.end()) {
        return false;
    }
    pool_.close(found->second.stream);
    seen_.erase(found);
    return true;
}
