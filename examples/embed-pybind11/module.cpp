/* The application as a Python module: arrays in and out, the GIL released around what it does, errors translated. */
#include "monitor.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

namespace py = pybind11;

using Values = py::array_t<float, py::array::c_style | py::array::forcecast>;

static py::array_t<double> observe(Monitor &monitor, const py::object &listed, const Values &values)
{
    const py::array numbers(listed);
    if (numbers.dtype().kind() != 'i') { /* NumPy would cut 1.5 down to 1 */
        throw py::type_error("sensors are integers");
    }
    const py::array_t<Monitor::Sensor, py::array::c_style | py::array::forcecast> sensors(numbers);
    if (sensors.ndim() != 1 || values.ndim() != 2 || values.shape(0) != sensors.shape(0) ||
        values.shape(1) != static_cast<py::ssize_t>(monitor.width())) {
        throw std::invalid_argument("expected sensors (count,) and values (count, " + std::to_string(monitor.width()) +
                                    ")");
    }
    py::array_t<double> scores(sensors.shape(0));
    const seqcore::Span<const Monitor::Sensor> ids(sensors.data(), static_cast<std::size_t>(sensors.size()));
    const seqcore::Span<const float> x(values.data(), static_cast<std::size_t>(values.size()));
    const seqcore::Span<double> to(scores.mutable_data(), static_cast<std::size_t>(scores.size()));
    {
        const py::gil_scoped_release released; /* the arrays are ours: nobody frees them meanwhile */
        monitor.observe(ids, x, to);
    }
    return scores;
}

static py::array_t<float> predict(const Monitor &monitor, Monitor::Sensor sensor)
{
    py::array_t<float> values(static_cast<py::ssize_t>(monitor.width()));
    const seqcore::Span<float> to(values.mutable_data(), monitor.width());
    {
        const py::gil_scoped_release released;
        monitor.predict(sensor, to);
    }
    return values;
}

PYBIND11_MODULE(monitor, module)
{
    module.doc() = "Watches sensors whose next values a model predicts.";
    /* invalid_argument and out_of_range become ValueError and IndexError by themselves */
    py::register_exception<seqcore::Error>(module, "ModelError", PyExc_RuntimeError);
    py::class_<Monitor>(module, "Monitor")
        .def(py::init<const std::string &, std::size_t>(), py::arg("path"), py::arg("capacity"),
             py::call_guard<py::gil_scoped_release>())
        .def("observe", &observe, py::arg("sensors"), py::arg("values"),
             "Take the next values (count, n) of count different sensors; return their scores (count,).")
        .def("predict", &predict, py::arg("sensor"), "Return what the sensor's next values should be (n,).")
        .def("forget", &Monitor::forget, py::arg("sensor"), py::call_guard<py::gil_scoped_release>(),
             "Make room for another sensor; return whether this one was known.")
        .def_property_readonly("width", &Monitor::width)
        .def_property_readonly("sensors", &Monitor::sensors);
}
