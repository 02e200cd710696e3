// TensorFlow operations over the core, registered through TensorFlow's C API when the library is
// loaded (tf.load_op_library). Tensors are dense and row-major: shape and axis say all of a layout.
#include <algorithm>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "moda_core.h"
#include "tensorflow_c_api.h"

namespace {

// ---------------------------------------------------------------------------- TensorFlow's types

struct Failure : std::runtime_error {
  Failure(TF_Code code, const std::string& message) : std::runtime_error(message), code(code) {}
  TF_Code code;
};

[[noreturn]] void refuse(const std::string& message) {
  throw Failure(TF_INVALID_ARGUMENT, message);
}

class Status {
 public:
  TF_Status* get() const { return status_.get(); }
  void set(TF_Code code, const std::string& message) {
    TF_SetStatus(get(), code, message.c_str());
  }
  void check() const {
    if (TF_GetCode(get()) != TF_OK) throw Failure(TF_GetCode(get()), TF_Message(get()));
  }

 private:
  std::unique_ptr<TF_Status, void (*)(TF_Status*)> status_{TF_NewStatus(), TF_DeleteStatus};
};

class Tensor {
 public:
  explicit Tensor(TF_Tensor* tensor) : tensor_(tensor, TF_DeleteTensor) {}

  template <class T = void>
  T* data() const {
    return static_cast<T*>(TF_TensorData(tensor_.get()));
  }
  TF_DataType type() const { return TF_TensorType(tensor_.get()); }
  int64_t elements() const { return TF_TensorElementCount(tensor_.get()); }
  std::vector<int64_t> shape() const {
    std::vector<int64_t> extents(TF_NumDims(tensor_.get()));
    for (size_t i = 0; i < extents.size(); ++i)
      extents[i] = TF_Dim(tensor_.get(), static_cast<int>(i));
    return extents;
  }

 private:
  std::unique_ptr<TF_Tensor, void (*)(TF_Tensor*)> tensor_;
};

int64_t product(const int64_t* begin, const int64_t* end) {
  int64_t result = 1;
  for (; begin != end; ++begin) result *= *begin;
  return result;
}

size_t bytes_of(TF_DataType type) {
  return type == TF_DOUBLE ? 8 : type == TF_FLOAT || type == TF_INT32 ? 4 : 2;
}

int32_t dtype_of(TF_DataType type) {
  switch (type) {
    case TF_FLOAT:
      return MODA_FLOAT32;
    case TF_DOUBLE:
      return MODA_FLOAT64;
    case TF_HALF:
      return MODA_FLOAT16;
    case TF_BFLOAT16:
      return MODA_BFLOAT16;
    default:
      return -1;  // the core refuses it
  }
}

// The attributes of a node, read when its kernel is made.
class Attributes {
 public:
  explicit Attributes(TF_OpKernelConstruction* construction) : construction_(construction) {}

  int64_t integer(const char* name) const {
    return read<int64_t>(TF_OpKernelConstruction_GetAttrInt64, name);
  }
  bool flag(const char* name) const {
    return read<unsigned char>(TF_OpKernelConstruction_GetAttrBool, name) != 0;
  }
  TF_DataType type(const char* name) const {
    return read<TF_DataType>(TF_OpKernelConstruction_GetAttrType, name);
  }
  std::vector<int64_t> integers(const char* name) const {
    return read_list<int64_t>(TF_OpKernelConstruction_GetAttrInt64List, name);
  }
  std::vector<unsigned char> flags(const char* name) const {
    return read_list<unsigned char>(TF_OpKernelConstruction_GetAttrBoolList, name);
  }

 private:
  template <class T, class F>
  T read(F get, const char* name) const {
    Status status;
    T value{};
    get(construction_, name, &value, status.get());
    status.check();
    return value;
  }

  template <class T, class F>
  std::vector<T> read_list(F get, const char* name) const {
    Status status;
    int32_t count = 0, total = 0;
    TF_OpKernelConstruction_GetAttrSize(construction_, name, &count, &total, status.get());
    status.check();
    std::vector<T> values(std::max(count, 0));
    get(construction_, name, values.data(), count, status.get());
    status.check();
    return values;
  }

  TF_OpKernelConstruction* construction_;
};

class Context {
 public:
  explicit Context(TF_OpKernelContext* context) : context_(context) {}

  Tensor input(int64_t index) const {
    Status status;
    TF_Tensor* tensor = nullptr;
    TF_GetInput(context_, static_cast<int>(index), &tensor, status.get());
    status.check();
    return Tensor(tensor);
  }

  Tensor output(int64_t index, TF_DataType type, const std::vector<int64_t>& shape) const {
    Status status;
    const size_t bytes =
        static_cast<size_t>(product(shape.data(), shape.data() + shape.size())) * bytes_of(type);
    TF_Tensor* tensor =
        TF_AllocateOutput(context_, static_cast<int>(index), type, shape.data(),
                          static_cast<int>(shape.size()), bytes, status.get());
    Tensor owned(tensor);
    status.check();
    return owned;
  }

 private:
  TF_OpKernelContext* context_;
};

void check_core(int status) {
  if (status == MODA_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status == MODA_INVALID_LABEL) refuse("expected labels from -1 to the number of classes");
  if (status != MODA_OK)
    refuse("expected at least one element in each activation of a sample, and at least one class");
}

// ------------------------------------------------------------------------- what is in the inputs

void check_length(const char* name, size_t length, int64_t expected) {
  if (static_cast<int64_t>(length) == expected) return;
  refuse("expected one entry of `" + std::string(name) + "` for each of " +
         std::to_string(expected) + " activations. Received: " + std::to_string(length));
}

// Where the units are, and what is known of the elements: the same in every step.
struct Layout {
  Layout(const Attributes& attributes, int64_t count)
      : classes(attributes.integer("classes")), axes(attributes.integers("axes")) {
    check_length("axes", axes.size(), count);
  }

  int64_t count() const { return static_cast<int64_t>(axes.size()); }

  int64_t classes;
  std::vector<int64_t> axes;
};

moda_activation describe(const Tensor& tensor, int64_t axis, bool non_negative) {
  const std::vector<int64_t> shape = tensor.shape();
  const int64_t rank = static_cast<int64_t>(shape.size());
  if (axis < 1 || axis >= rank)
    refuse("expected units on axis 1 to " + std::to_string(rank - 1) +
           ". Received: axis " + std::to_string(axis));
  const int64_t* extents = shape.data();
  const int64_t before = product(extents + 1, extents + axis);
  const int64_t after = product(extents + axis + 1, extents + rank);
  moda_activation a{};
  a.data = tensor.data();
  a.dtype = dtype_of(tensor.type());
  a.non_negative = non_negative;
  a.units = shape[axis];
  a.unit_stride = after;
  a.sample_stride = before * a.units * after;
  // The core runs fastest over the last: that of channels last is the positions before the units.
  const bool units_last = after == 1;
  const int64_t folded[] = {1, units_last ? 1 : before, units_last ? before : after};
  const int64_t strides[] = {0, units_last ? 0 : a.units * after, units_last ? a.units : 1};
  std::copy(folded, folded + MODA_POSITION_AXES, a.positions);
  std::copy(strides, strides + MODA_POSITION_AXES, a.position_strides);
  return a;
}

// The inputs that all operations begin with: the activations of a step, then the labels.
class Step {
 public:
  Step(const Context& context, const Layout& layout, const std::vector<unsigned char>& non_negative)
      : labels_(context.input(layout.count())) {
    batch = {labels_.data<int32_t>(), labels_.elements(), layout.classes};
    for (int64_t i = 0; i < layout.count(); ++i) {
      tensors.push_back(context.input(i));
      activations.push_back(describe(tensors[i], layout.axes[i], non_negative[i] != 0));
      check_samples(tensors[i]);
      units += activations[i].units;
    }
  }

  int64_t count() const { return static_cast<int64_t>(activations.size()); }
  TF_DataType real() const {
    return moda_is_double(activations.data(), count()) ? TF_DOUBLE : TF_FLOAT;
  }

  std::vector<Tensor> tensors;
  std::vector<moda_activation> activations;
  moda_batch batch;
  int64_t units = 0;

 private:
  void check_samples(const Tensor& tensor) const {
    if (tensor.shape()[0] == batch.samples) return;
    refuse("expected one label for each sample. Received: " + std::to_string(batch.samples) +
           " labels for " + std::to_string(tensor.shape()[0]) + " samples");
  }

  Tensor labels_;
};

void check_elements(const Tensor& tensor, int64_t expected, const char* name) {
  if (tensor.elements() == expected) return;
  refuse("expected " + std::to_string(expected) + " elements of `" + name + "`. Received: " +
         std::to_string(tensor.elements()));
}

// What a forward operation left for the backward one.
struct Saved {
  Saved(const Context& context, const Step& step, int64_t first, bool has_totals)
      : normalized(context.input(first)), inverse_norms(context.input(first + 1)) {
    check_elements(normalized, step.batch.samples * step.units, "normalized");
    check_elements(inverse_norms, step.batch.samples * step.count(), "inverse_norms");
    values = {normalized.data(), inverse_norms.data<double>(), nullptr};
    if (!has_totals) return;
    totals = std::make_unique<Tensor>(context.input(first + 2));
    check_elements(*totals, step.units, "totals");
    values.totals = totals->data();
  }

  Tensor normalized, inverse_norms;
  std::unique_ptr<Tensor> totals;
  moda_saved values;
};

// The gradients to the activations: the first outputs.
struct Gradients {
  Gradients(const Context& context, const Step& step)
      : vectors(new char[step.batch.samples * step.units * bytes_of(step.real())]) {
    described.reserve(step.count());
    for (int64_t i = 0; i < step.count(); ++i) {
      tensors.push_back(context.output(i, step.tensors[i].type(), step.tensors[i].shape()));
      described.push_back(step.activations[i]);
      described[i].data = tensors[i].data();
      // An empty tensor has no address, and nothing to write.
      present.push_back(step.batch.samples ? &described[i] : nullptr);
    }
  }

  std::unique_ptr<char[]> vectors;
  std::vector<Tensor> tensors;
  std::vector<moda_activation> described;
  std::vector<const moda_activation*> present;
};

// Attributes that several operations have.
constexpr const char* kCount = "N: int >= 1";
constexpr const char* kElement = "T: {float, double, half, bfloat16}";
constexpr const char* kReal = "real: {float, double}";
constexpr const char* kClasses = "classes: int >= 1";
constexpr const char* kAxes = "axes: list(int)";
constexpr const char* kNonNegative = "non_negative: list(bool)";

// `real` is what the core computes in: double for double, else float.
void check_real(const Attributes& attributes) {
  if ((attributes.type("T") == TF_DOUBLE) != (attributes.type("real") == TF_DOUBLE))
    refuse("expected the attribute `real` to be double if and only if `T` is");
}

// ----------------------------------------------------------------------------------- objectives

struct ObjectivesAttributes {
  explicit ObjectivesAttributes(const Attributes& attributes)
      : layout(attributes, attributes.integer("N")),
        non_negative(attributes.flags("non_negative")),
        options{attributes.flag("averages_pairs") ? MODA_AVERAGE_PAIRS : MODA_AVERAGE_CLASSES,
                attributes.flag("unit_divides")} {
    check_length("non_negative", non_negative.size(), layout.count());
    check_real(attributes);
  }

  Layout layout;
  std::vector<unsigned char> non_negative;
  moda_options options;
};

template <class R>
void copy_as(const std::vector<double>& from, const Tensor& to) {
  std::transform(from.begin(), from.end(), to.data<R>(),
                 [](double value) { return static_cast<R>(value); });
}

std::vector<double> as_doubles(const Tensor& tensor) {
  const int64_t count = tensor.elements();
  if (tensor.type() == TF_DOUBLE)
    return {tensor.data<double>(), tensor.data<double>() + count};
  return {tensor.data<float>(), tensor.data<float>() + count};
}

struct Objectives : ObjectivesAttributes {
  static constexpr const char* kName = "ModaKerasObjectives";
  using ObjectivesAttributes::ObjectivesAttributes;

  void compute(const Context& context) const {
    const Step step(context, layout, non_negative);
    const int64_t count = step.count(), samples = step.batch.samples;
    const TF_DataType real = step.real();
    const Tensor values = context.output(0, real, {count, MODA_OBJECTIVES});
    const Tensor normalized = context.output(1, real, {samples * step.units});
    const Tensor inverse_norms = context.output(2, TF_DOUBLE, {count, samples});
    const Tensor totals = context.output(3, real, {step.units});
    const moda_saved saved{normalized.data(), inverse_norms.data<double>(), totals.data()};
    std::vector<double> results(count * MODA_OBJECTIVES);
    check_core(moda_objectives_forward(step.activations.data(), count, &step.batch, &options,
                                       &saved, results.data()));
    real == TF_DOUBLE ? copy_as<double>(results, values) : copy_as<float>(results, values);
  }
};

struct ObjectivesGradient : ObjectivesAttributes {
  static constexpr const char* kName = "ModaKerasObjectivesGradient";
  using ObjectivesAttributes::ObjectivesAttributes;

  void compute(const Context& context) const {
    const Step step(context, layout, non_negative);
    const int64_t count = step.count();
    const Saved saved(context, step, count + 1, true);
    const Tensor upstream = context.input(count + 4);
    check_elements(upstream, count * MODA_OBJECTIVES, "upstream");
    const Gradients gradients(context, step);
    check_core(moda_objectives_backward(step.activations.data(), count, &step.batch, &options,
                                        &saved.values, as_doubles(upstream).data(),
                                        gradients.vectors.get(), gradients.present.data()));
  }
};

// ------------------------------------------------------------------------------------ statistics

struct StatisticsAttributes {
  explicit StatisticsAttributes(const Attributes& attributes)
      : layout(attributes, 1), non_negative(attributes.flags("non_negative")) {
    check_length("non_negative", non_negative.size(), 1);
    check_real(attributes);
  }

  Layout layout;
  std::vector<unsigned char> non_negative;
};

struct ClassStatistics : StatisticsAttributes {
  static constexpr const char* kName = "ModaKerasClassStatistics";
  using StatisticsAttributes::StatisticsAttributes;

  void compute(const Context& context) const {
    const Step step(context, layout, non_negative);
    const int64_t samples = step.batch.samples, classes = layout.classes;
    const TF_DataType real = step.real();
    const Tensor sums = context.output(0, real, {classes, step.units});
    const Tensor counts = context.output(1, real, {classes});
    const Tensor nonzero = context.output(2, real, {classes});
    const Tensor l1 = context.output(3, real, {classes});
    const Tensor normalized = context.output(4, real, {samples * step.units});
    const Tensor inverse_norms = context.output(5, TF_DOUBLE, {1, samples});
    const moda_saved saved{normalized.data(), inverse_norms.data<double>(), nullptr};
    check_core(moda_class_statistics_forward(step.activations.data(), &step.batch, &saved,
                                             sums.data(), counts.data(), nonzero.data(),
                                             l1.data()));
  }
};

struct ClassStatisticsGradient : StatisticsAttributes {
  static constexpr const char* kName = "ModaKerasClassStatisticsGradient";
  using StatisticsAttributes::StatisticsAttributes;

  void compute(const Context& context) const {
    const Step step(context, layout, non_negative);
    const Saved saved(context, step, 2, false);
    const Tensor sums_gradient = context.input(4), l1_gradient = context.input(5);
    check_elements(sums_gradient, layout.classes * step.units, "sums_gradient");
    check_elements(l1_gradient, layout.classes, "l1_gradient");
    const Gradients gradients(context, step);
    check_core(moda_class_statistics_backward(step.activations.data(), &step.batch, &saved.values,
                                              sums_gradient.data(), l1_gradient.data(),
                                              gradients.vectors.get(), gradients.present[0]));
  }
};

// ------------------------------------------------------------------------------------- frequency

struct ActivationFrequency {
  static constexpr const char* kName = "ModaKerasActivationFrequency";
  explicit ActivationFrequency(const Attributes& attributes)
      : layout(attributes, attributes.integer("N")) {}

  void compute(const Context& context) const {
    const int64_t count = layout.count();
    const Step step(context, layout, std::vector<unsigned char>(count));
    const Tensor epsilons = context.input(count + 1);
    check_elements(epsilons, count, "epsilons");
    std::vector<int32_t*> counts;
    std::vector<Tensor> outputs;
    for (int64_t i = 0; i <= count; ++i) {
      const std::vector<int64_t> shape =
          i < count ? std::vector<int64_t>{layout.classes, step.activations[i].units}
                    : std::vector<int64_t>{count};
      outputs.push_back(context.output(i, TF_INT32, shape));
      counts.push_back(outputs[i].data<int32_t>());
      std::fill_n(counts[i], outputs[i].elements(), 0);
    }
    check_core(moda_activation_frequency(step.activations.data(), count, &step.batch,
                                         epsilons.data<double>(), counts.data(), counts[count]));
  }

  Layout layout;
};

// ---------------------------------------------------------------------------------- registration

// Runs the body; what it throws becomes a status that names the operation.
template <class Operation, class F>
bool succeeds(Status& status, const F& body) {
  const std::string prefix = std::string(Operation::kName) + ": ";
  try {
    body();
    return true;
  } catch (const Failure& failure) {
    status.set(failure.code, prefix + failure.what());
  } catch (const std::bad_alloc&) {
    status.set(TF_RESOURCE_EXHAUSTED, prefix + "out of memory");
  } catch (const std::exception& error) {
    status.set(TF_INTERNAL, prefix + error.what());
  }
  return false;
}

template <class Operation>
void* create(TF_OpKernelConstruction* construction) {
  Status status;
  Operation* operation = nullptr;
  if (!succeeds<Operation>(status, [&] { operation = new Operation(Attributes(construction)); }))
    TF_OpKernelConstruction_Failure(construction, status.get());
  return operation;
}

template <class Operation>
void compute(void* operation, TF_OpKernelContext* context) {
  Status status;
  const auto* self = static_cast<const Operation*>(operation);
  if (!succeeds<Operation>(status, [&] { self->compute(Context(context)); }))
    TF_OpKernelContext_Failure(context, status.get());
}

template <class Operation>
void destroy(void* operation) {
  delete static_cast<Operation*>(operation);
}

struct Signature {
  std::vector<const char*> inputs, outputs, attributes;
};

using InferShapes = void (*)(TF_ShapeInferenceContext*, TF_Status*);

// Attributes that are no types cannot be read here: the Python side sets the shapes.
void infer_nothing(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
}

// Inputs after the activations: how many of these there are follows from the number of all.
template <int others>
void infer_gradients(TF_ShapeInferenceContext* context, TF_Status* status) {
  const int count = static_cast<int>(TF_ShapeInferenceContextNumInputs(context)) - others;
  TF_ShapeHandle* shape = TF_NewShapeHandle();
  for (int i = 0; i < count && TF_GetCode(status) == TF_OK; ++i) {
    TF_ShapeInferenceContextGetInput(context, i, shape, status);
    if (TF_GetCode(status) == TF_OK) TF_ShapeInferenceContextSetOutput(context, i, shape, status);
  }
  TF_DeleteShapeHandle(shape);
}

// A registration that fails leaves an operation out, which the Python side notices.
template <class Operation>
void register_operation(const Signature& signature, InferShapes infer) {
  Status status;
  TF_OpDefinitionBuilder* definition = TF_NewOpDefinitionBuilder(Operation::kName);
  for (const char* attribute : signature.attributes)
    TF_OpDefinitionBuilderAddAttr(definition, attribute);
  for (const char* input : signature.inputs) TF_OpDefinitionBuilderAddInput(definition, input);
  for (const char* output : signature.outputs) TF_OpDefinitionBuilderAddOutput(definition, output);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(definition, infer);
  TF_RegisterOpDefinition(definition, status.get());
  if (TF_GetCode(status.get()) != TF_OK) return;
  TF_KernelBuilder* kernel = TF_NewKernelBuilder(Operation::kName, "CPU", create<Operation>,
                                                 compute<Operation>, destroy<Operation>);
  TF_RegisterKernelBuilder(Operation::kName, kernel, status.get());
}

bool register_all() {
  const std::vector<const char*> objectives = {
      kCount, kElement, kReal, kClasses, kAxes, kNonNegative, "averages_pairs: bool",
      "unit_divides: bool"};
  register_operation<Objectives>(
      {{"activations: N * T", "labels: int32"},
       {"values: real", "normalized: real", "inverse_norms: double", "totals: real"},
       objectives},
      infer_nothing);
  register_operation<ObjectivesGradient>(
      {{"activations: N * T", "labels: int32", "normalized: real", "inverse_norms: double",
        "totals: real", "upstream: real"},
       {"gradients: N * T"},
       objectives},
      infer_gradients<5>);

  const std::vector<const char*> statistics = {kElement, kReal, kClasses, kAxes, kNonNegative};
  register_operation<ClassStatistics>(
      {{"activation: T", "labels: int32"},
       {"sums: real", "counts: real", "nonzero: real", "l1: real", "normalized: real",
        "inverse_norms: double"},
       statistics},
      infer_nothing);
  register_operation<ClassStatisticsGradient>(
      {{"activation: T", "labels: int32", "normalized: real", "inverse_norms: double",
        "sums_gradient: real", "l1_gradient: real"},
       {"gradient: T"},
       statistics},
      infer_gradients<5>);

  register_operation<ActivationFrequency>(
      {{"activations: N * T", "labels: int32", "epsilons: double"},
       {"counts: N * int32", "not_finite: int32"},
       {kCount, kElement, kClasses, kAxes}},
      infer_nothing);
  return true;
}

[[maybe_unused]] const bool registered = register_all();

}  // namespace
