// The Python module aaren._native: raw pointers and strides in, a kernel of the best instruction set run.
//
// It knows nothing of PyTorch, so that building it does not need PyTorch; shapes and dtypes are checked by the caller,
// aaren.ops._native_backend. Import torch first: both then share one OpenMP run-time and one pool of threads.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "forecast.h"
#include "kernel.h"
#include "layer.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace aaren;

namespace {

std::vector<const Kernels*> supported() {
  std::vector<const Kernels*> found;
#ifdef AAREN_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    found.push_back(&avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&avx2);
#endif
  found.push_back(&baseline);
  return found;
}

const Kernels* kernels = supported().front();

void use(const std::string& name) {
  std::string known;
  for (const Kernels* candidate : supported()) {
    if (name == candidate->name) {
      kernels = candidate;
      return;
    }
    known += std::string(known.empty() ? "" : ", ") + candidate->name;
  }
  throw std::invalid_argument("instruction set: expected one of " + known + "; received '" + name + "'");
}

template <typename T>
T* pointer(nb::handle address) {
  return reinterpret_cast<T*>(nb::cast<uintptr_t>(address));
}

// (address, dtype, stride_a, stride_b, stride_t) or None
Tensor tensor(nb::handle x) {
  if (x.is_none()) return {nullptr, Type::f32, 0, 0, 0};
  const nb::tuple t = nb::cast<nb::tuple>(x);
  return {pointer<void>(t[0]), static_cast<Type>(nb::cast<int>(t[1])), nb::cast<int64_t>(t[2]),
          nb::cast<int64_t>(t[3]), nb::cast<int64_t>(t[4])};
}

// the addresses of (max_score, normalizer, weighted_sum) or None
State state(nb::handle x) {
  if (x.is_none()) return {nullptr, nullptr, nullptr};
  const nb::tuple t = nb::cast<nb::tuple>(x);
  return {pointer<double>(t[0]), pointer<double>(t[1]), pointer<double>(t[2])};
}

Shape shape(const nb::tuple& t) {
  return {nb::cast<int64_t>(t[0]), nb::cast<int64_t>(t[1]), nb::cast<int64_t>(t[2]), nb::cast<int64_t>(t[3])};
}

Forward arguments(const nb::tuple& size, nb::handle scores, nb::handle values, nb::handle log_decay, nb::handle start,
                  nb::handle outputs, uintptr_t gain, nb::handle end) {
  return {shape(size),    tensor(scores),  tensor(values), tensor(log_decay),
          state(start),   tensor(outputs), reinterpret_cast<double*>(gain), state(end)};
}

void forward(int threads, const nb::tuple& size, nb::handle scores, nb::handle values, nb::handle log_decay,
             nb::handle start, nb::handle outputs, uintptr_t gain, nb::handle end) {
  const Forward f = arguments(size, scores, values, log_decay, start, outputs, gain, end);
  const nb::gil_scoped_release release;
  kernels->forward(f, threads);
}

void step(int threads, const nb::tuple& size, nb::handle scores, nb::handle values, nb::handle log_decay,
          nb::handle start, nb::handle outputs, nb::handle end) {
  const Forward f = arguments(size, scores, values, log_decay, start, outputs, 0, end);
  const nb::gil_scoped_release release;
  kernels->step(f, threads);
}

void backward(int threads, const nb::tuple& size, nb::handle grad_outputs, nb::handle scores, nb::handle values,
              nb::handle outputs, uintptr_t gain, uintptr_t end_acc, uintptr_t end_r, uintptr_t start_mean,
              nb::handle grad_scores, nb::handle grad_values, nb::handle grad_log_decay, uintptr_t grad_start_mean,
              uintptr_t grad_start_lse) {
  const auto doubles = [](uintptr_t address) { return reinterpret_cast<double*>(address); };
  const Backward f{shape(size),         tensor(grad_outputs), tensor(scores),      tensor(values),
                   tensor(outputs),     doubles(gain),        doubles(end_acc),    doubles(end_r),
                   doubles(start_mean), tensor(grad_scores),  tensor(grad_values), tensor(grad_log_decay),
                   doubles(grad_start_mean), doubles(grad_start_lse)};
  const nb::gil_scoped_release release;
  kernels->backward(f, threads);
}

// Weights of a layer and where they lie: (width, heads, hidden, norm_first, by_time, activation, eps1, eps2, addresses),
// with addresses of query, decay_rate, and in_proj, out_proj, linear1, linear2, norm1, norm2: weight and bias each; 0 for
// what is not there.
Layer layer(const nb::tuple& t) {
  const nb::tuple where = nb::cast<nb::tuple>(t[8]);
  const auto linear = [&](int i) { return Linear{pointer<float>(where[i]), pointer<float>(where[i + 1])}; };
  const auto norm = [&](int i, int eps) {
    return LayerNorm{pointer<float>(where[i]), pointer<float>(where[i + 1]), nb::cast<double>(t[eps])};
  };
  return {nb::cast<int64_t>(t[0]), nb::cast<int64_t>(t[1]), nb::cast<int64_t>(t[2]), pointer<float>(where[0]),
          pointer<float>(where[1]), linear(2),              linear(4),               linear(6),
          linear(8),               norm(10, 6),             norm(12, 7),             nb::cast<bool>(t[3]),
          static_cast<Activation>(nb::cast<int>(t[5]))};
}

// One token through layers that follow one another, each with the addresses of its state before and after; `added`, if
// not 0, is added to the input of every layer.
void layers_step(const nb::list& layers, int64_t batch, uintptr_t x, uintptr_t elapsed, uintptr_t added,
                 const nb::list& starts, const nb::list& ends, uintptr_t y) {
  std::vector<LayerStep> steps;
  for (size_t i = 0; i < layers.size(); ++i) {
    const nb::tuple t = nb::cast<nb::tuple>(layers[i]);
    // in place from the second layer on: a step reads its input, twice, before it writes its output
    const auto* input = reinterpret_cast<const float*>(i || added ? y : x);
    const auto* time = nb::cast<bool>(t[4]) ? reinterpret_cast<const float*>(elapsed) : nullptr;
    steps.push_back({layer(t), batch, input, time, state(starts[i]), state(ends[i]), reinterpret_cast<float*>(y)});
  }
  const nb::gil_scoped_release release;
  const auto* from = reinterpret_cast<const float*>(x);
  const auto* more = reinterpret_cast<const float*>(added);
  for (const LayerStep& step : steps) {
    for (int64_t k = 0; more && k < batch * step.layer.width; ++k) step.y[k] = from[k] + more[k];
    kernels->layer_step(step);
    from = step.y;
  }
}

// The memory of a contiguous array, of so many bytes; none of None.
class Memory {
 public:
  Memory(nb::handle array, int64_t bytes, bool written = false) {
    if (array.is_none()) return;
    if (PyObject_GetBuffer(array.ptr(), &view_, written ? PyBUF_WRITABLE : PyBUF_SIMPLE)) throw nb::python_error();
    if (view_.len != bytes) {
      const std::string received = std::to_string(view_.len);
      PyBuffer_Release(&view_);
      throw std::invalid_argument("array: expected " + std::to_string(bytes) + " bytes, received " + received);
    }
  }
  ~Memory() {
    if (view_.obj) PyBuffer_Release(&view_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  template <typename T>
  T* as() const {
    return static_cast<T*>(view_.buf);
  }

 private:
  Py_buffer view_{};
};

// A forecaster as the keyword arguments of aaren.ops.native_forecaster say it.
class Forecaster {
 public:
  explicit Forecaster(const nb::dict& given) {
    const auto whole = [&](const char* name) { return nb::cast<int64_t>(given[name]); };
    const auto tuple = [&](const char* name) { return nb::cast<nb::tuple>(given[name]); };
    const auto linear = [&](const char* name) { return Linear{pointer<float>(tuple(name)[0]), pointer<float>(tuple(name)[1])}; };
    const auto place = [](nb::handle x) {
      const nb::tuple t = nb::cast<nb::tuple>(x);
      return StatePlace{nb::cast<int64_t>(t[0]), nb::cast<int64_t>(t[1]), nb::cast<int64_t>(t[2])};
    };
    const nb::tuple places = tuple("layer_places"), last = tuple("last"), scaler = tuple("scaler");
    for (const nb::handle one : nb::cast<nb::list>(given["layers"])) {
      const nb::tuple t = nb::cast<nb::tuple>(one);
      layers_.push_back({layer(t), nb::cast<bool>(t[4]), place(places[layers_.size()])});
    }
    model_ = {whole("inputs"), whole("targets"), whole("calendar"), whole("horizon"), whole("levels"),
              whole("highway_rows"), nb::cast<bool>(given["by_time"]), pointer<double>(scaler[0]),
              pointer<double>(scaler[1]), nb::cast<double>(given["decay"]), nb::cast<double>(given["epsilon"]),
              linear("embed"), linear("head"),
              {pointer<float>(last[0]), pointer<float>(last[1]), nb::cast<double>(last[2])},
              pointer<float>(given["highway"]), whole("record_bytes"), whole("position"), whole("highway_place"),
              place(given["norm_place"]), layers_.data(), static_cast<int64_t>(layers_.size())};
  }

  // Contiguous buffers of what ForecastStep has, in its order; of the positions, perhaps None.
  void step(int64_t batch, nb::handle values, nb::handle calendar, nb::handle elapsed, nb::handle positions,
            nb::handle records, nb::handle means, nb::handle quantiles, nb::handle sound) const {
    const ForecastModel& m = model_;
    const int64_t said = m.horizon * m.targets, width = layers_.front().layer.width;
    const Memory v(values, batch * m.inputs * sizeof(double)), c(calendar, batch * m.calendar * sizeof(float));
    const Memory e(elapsed, batch * sizeof(float)), p(positions, batch * width * sizeof(float));
    const Memory r(records, batch * m.record_bytes, true), mean(means, batch * said * sizeof(double), true);
    const Memory q(quantiles, batch * said * m.levels * sizeof(double), true), fine(sound, batch, true);
    const ForecastStep step{m,           batch,       v.as<double>(),    c.as<float>(),  e.as<float>(), p.as<float>(),
                            r.as<char>(), mean.as<double>(), q.as<double>(), fine.as<bool>()};
    const nb::gil_scoped_release release;
    kernels->forecast_step(step);
  }

 private:
  std::vector<ForecastLayer> layers_;
  ForecastModel model_;
};

// The check of a plan of aaren.nn._fused_step, on every streamed token: a hundred look-ups, each of which takes Python
// longer than the machine. What the four lists hold is said there; `absent` stands for an entry that must not be there.
bool unchanged(const nb::list& modules, const nb::list& weights, const nb::list& values, const nb::list& dropouts,
               nb::handle absent) {
  static const struct {
    PyObject *hooks = PyUnicode_InternFromString("_forward_hooks"),
             *pre_hooks = PyUnicode_InternFromString("_forward_pre_hooks"),
             *forward = PyUnicode_InternFromString("forward"), *training = PyUnicode_InternFromString("training"),
             *p = PyUnicode_InternFromString("p"), *data_ptr = PyUnicode_InternFromString("data_ptr"),
             *shape = PyUnicode_InternFromString("shape"), *dtype = PyUnicode_InternFromString("dtype"),
             *is_contiguous = PyUnicode_InternFromString("is_contiguous");
  } names;
  const auto entry = [](const nb::handle tuple, int i) { return PyTuple_GET_ITEM(tuple.ptr(), i); };
  const auto found = [](PyObject* dict, PyObject* name) { return PyDict_GetItemWithError(dict, name); };  // borrowed
  const auto empty = [](PyObject* hooks) { return hooks && PyObject_Size(hooks) == 0; };

  for (const nb::handle one : modules) {
    PyObject* own = entry(one, 3);
    if (found(entry(one, 0), entry(one, 1)) != entry(one, 2) || !empty(found(own, names.hooks)) ||
        !empty(found(own, names.pre_hooks)) || found(own, names.forward))
      return false;
  }
  for (const nb::handle one : weights) {
    PyObject* weight = entry(one, 2);
    if (found(entry(one, 0), entry(one, 1)) != weight) return false;
    const nb::object address = nb::steal(PyObject_CallMethodNoArgs(weight, names.data_ptr));
    const nb::object shape = nb::steal(PyObject_GetAttr(weight, names.shape));
    const nb::object dtype = nb::steal(PyObject_GetAttr(weight, names.dtype));
    const nb::object dense = nb::steal(PyObject_CallMethodNoArgs(weight, names.is_contiguous));
    if (!address.is_valid() || !shape.is_valid() || !dtype.is_valid() || !dense.is_valid()) throw nb::python_error();
    if (dtype.ptr() != entry(one, 5) || dense.ptr() != Py_True || PyObject_RichCompareBool(address.ptr(), entry(one, 3), Py_EQ) != 1 ||
        PyObject_RichCompareBool(shape.ptr(), entry(one, 4), Py_EQ) != 1)
      return false;
  }
  for (const nb::handle one : values) {
    PyObject* now = found(entry(one, 0), entry(one, 1));
    if ((now ? now : absent.ptr()) != entry(one, 2)) return false;
  }
  for (const nb::handle own : dropouts) {
    if (found(own.ptr(), names.training) == Py_False) continue;
    PyObject* p = found(own.ptr(), names.p);
    if (!p || PyFloat_AsDouble(p) != 0) return false;
  }
  if (PyErr_Occurred()) throw nb::python_error();
  return true;
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Kernels of aaren in C++; see aaren.ops._native_backend.";
  m.def("forward", forward, "threads"_a, "shape"_a, "scores"_a, "values"_a, "log_decay"_a.none(), "start"_a.none(),
        "outputs"_a, "gain"_a, "end"_a);
  m.def("step", step, "threads"_a, "shape"_a, "scores"_a, "values"_a, "log_decay"_a.none(), "start"_a, "outputs"_a,
        "end"_a);
  m.def("layers_step", layers_step, "layers"_a, "batch"_a, "x"_a, "elapsed"_a, "added"_a, "starts"_a, "ends"_a, "y"_a);
  nb::class_<Forecaster>(m, "Forecaster")
      .def(nb::init<const nb::dict&>(), "given"_a)
      .def("step", &Forecaster::step, "batch"_a, "values"_a, "calendar"_a, "elapsed"_a, "positions"_a.none(), "records"_a,
           "means"_a, "quantiles"_a, "sound"_a);
  m.def("backward", backward, "threads"_a, "shape"_a, "grad_outputs"_a, "scores"_a, "values"_a, "outputs"_a, "gain"_a,
        "end_acc"_a, "end_r"_a, "start_mean"_a, "grad_scores"_a, "grad_values"_a, "grad_log_decay"_a.none(),
        "grad_start_mean"_a, "grad_start_lse"_a);
  m.def("unchanged", unchanged, "modules"_a, "weights"_a, "values"_a, "dropouts"_a, "absent"_a);
  m.def("use", use, "Run the kernels of this instruction set from now on.");
  m.def("in_use", [] { return kernels->name; });
  m.def("supported", [] {
    std::vector<std::string> names;
    for (const Kernels* candidate : supported()) names.emplace_back(candidate->name);
    return names;
  }, "Names of the instruction sets that this machine has, the best first.");
}
