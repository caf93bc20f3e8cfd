// An accelerator that is none: PyTorch's PrivateUse1 device, simulated on the host, so that what goes wrong only with
// asynchronous copies goes wrong without a GPU too.
//
// Memory  Device memory has addresses that trap when the host follows them; the bytes lie elsewhere. What is freed is
//         scribbled over and used again, once the stream it was allocated on, and those it was recorded on, are through
//         with all that had been queued on them by then.
// Copies  Between device and device, and without waiting between device and pinned memory, they are queued on the
//         current stream, and carried out by its thread after a delay.
// Kernels All others run at once in the calling thread, as the CPU's own kernels on the bytes of the device, after the
//         current stream has been drained. That wait stands for the queueing of a kernel, and is not counted.
// Waits   Whatever would block the host on a GPU is counted, by thread.
//
// Nothing that a worker thread may touch is ever destroyed: threads outlive `main`.

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IValue;
using c10::Storage;
using c10::StorageImpl;
using c10::Stream;
using c10::StreamId;
using at::Tensor;

const Device DEVICE(c10::kPrivateUse1, 0);

std::atomic<double> delay{0.002};   // seconds, before each queued copy
thread_local int64_t waits = 0;     // how often this thread has waited for the device
thread_local StreamId current = 0;  // the stream this thread queues on

// ---------------------------------------------------------------------------------------------------------- streams

class Queue {
 public:
  void push(std::function<void()> task) {
    std::lock_guard lock(mutex_);
    if (!started_) {
      std::thread([this] { work(); }).detach();
      started_ = true;
    }
    tasks_.push_back(std::move(task));
    ++pushed_;
    changed_.notify_all();
  }

  // Wait for all that is queued now, not for what others queue meanwhile.
  void drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, upto = pushed_] { return done_ >= upto; });
  }

  bool idle() {
    std::lock_guard lock(mutex_);
    return done_ == pushed_;
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return !tasks_.empty(); });
      {
        auto task = std::move(tasks_.front());
        tasks_.pop_front();
        lock.unlock();
        task();
      }
      lock.lock();
      ++done_;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  uint64_t pushed_ = 0, done_ = 0;
  bool started_ = false;
};

constexpr StreamId POOL = 32;  // as many as CUDA has: further streams are these again

std::array<Queue, 1 + POOL>& queues() {  // the first is the default stream's
  static auto& all = *new std::array<Queue, 1 + POOL>;
  return all;
}

Queue& queue(StreamId id) { return queues().at(id); }

void drain_all() {
  for (auto& each : queues()) each.drain();
}

Stream stream(StreamId id) { return Stream(Stream::UNSAFE, DEVICE, id); }

// One recording of an event: recorded again, the event has another, and who waits for the first still does.
struct Recording {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::chrono::steady_clock::time_point when;

  void finish() {
    std::lock_guard lock(mutex);
    done = true;
    when = std::chrono::steady_clock::now();
    changed.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return done; });
  }
  bool query() {
    std::lock_guard lock(mutex);
    return done;
  }
};

struct Event {
  std::shared_ptr<Recording> last;
};

std::shared_ptr<Recording> last(void* event) { return static_cast<Event*>(event)->last; }

// ----------------------------------------------------------------------------------------------------------- memory

class Arena {
 public:
  // A trapping arena has addresses without memory; the bytes lie in a mapping of their own, `shift_` away.
  explicit Arena(bool trapping) : base_(reserve(trapping ? PROT_NONE : PROT_READ | PROT_WRITE)) {
    if (trapping) shift_ = reserve(PROT_READ | PROT_WRITE) - base_;
    free_[base_] = SIZE;
  }

  bool holds(const void* address) const { return address >= base_ && address < base_ + SIZE; }

  char* bytes(const void* address) const {
    return address ? static_cast<char*>(const_cast<void*>(address)) + shift_ : nullptr;
  }

  void* allocate(size_t wanted, std::set<StreamId> users) {
    if (!wanted) return nullptr;
    const size_t size = (wanted + GRAIN - 1) / GRAIN * GRAIN;
    for (bool again : {true, false}) {
      {
        std::lock_guard lock(mutex_);
        for (auto [address, length] : free_) {
          if (length < size) continue;
          free_.erase(address);
          if (length > size) free_[address + size] = length - size;
          used_[address] = {size, std::move(users)};
          return address;
        }
      }
      if (again) drain_all();  // what was freed, and waits for a stream, comes back
    }
    TORCH_CHECK_WITH(OutOfMemoryError, false, "the simulated device has no ", wanted, " bytes left in one piece");
  }

  // The block around this address is used by a stream, and stays as it is until that is through.
  void use(const void* inside, StreamId user) {
    std::lock_guard lock(mutex_);
    auto after = used_.upper_bound(static_cast<char*>(const_cast<void*>(inside)));
    if (after != used_.begin()) std::prev(after)->second.users.insert(user);
  }

  void release(void* address) {
    Block block;
    {
      std::lock_guard lock(mutex_);
      block = std::move(used_.extract(static_cast<char*>(address)).mapped());
    }
    // One share for each stream that is busy, and one for here: the last to drop it makes the block free.
    std::shared_ptr<void> share(nullptr, [this, address, size = block.size](void*) {
      recycle(static_cast<char*>(address), size);
    });
    for (StreamId user : block.users)
      if (!queue(user).idle()) queue(user).push([share] {});
  }

 private:
  static constexpr size_t SIZE = size_t(2) << 30, GRAIN = 512;

  struct Block {
    size_t size;
    std::set<StreamId> users;
  };

  static char* reserve(int protection) {
    void* base = mmap(nullptr, SIZE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    TORCH_CHECK(base != MAP_FAILED, "no address space for the simulated device");
    return static_cast<char*>(base);
  }

  void recycle(char* address, size_t size) {
    std::memset(bytes(address), 0xA5, size);
    std::lock_guard lock(mutex_);
    auto here = free_.emplace(address, size).first;
    if (auto next = std::next(here); next != free_.end() && address + size == next->first) {
      here->second += next->second;
      free_.erase(next);
    }
    if (here == free_.begin()) return;
    if (auto before = std::prev(here); before->first + before->second == address) {
      before->second += here->second;
      free_.erase(here);
    }
  }

  char* const base_;
  ptrdiff_t shift_ = 0;
  std::mutex mutex_;
  std::map<char*, size_t> free_;
  std::map<char*, Block> used_;
};

Arena& device_memory() {
  static auto& arena = *new Arena(true);
  return arena;
}

Arena& pinned_memory() {
  static auto& arena = *new Arena(false);
  return arena;
}

void release(void* address) {
  if (address) (device_memory().holds(address) ? device_memory() : pinned_memory()).release(address);
}

struct DeviceAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* address = device_memory().allocate(size, {current});
    return {address, address, &release, DEVICE};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t count) const override {
    queue(current).drain();
    std::memcpy(device_memory().bytes(to), device_memory().bytes(from), count);
  }
};

struct PinnedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* address = pinned_memory().allocate(size, {});
    return {address, address, &release, Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t count) const override { std::memcpy(to, from, count); }
};

DeviceAllocator device_allocator;
PinnedAllocator pinned_allocator;

void resize(StorageImpl* storage, const void* bytes, size_t held, size_t wanted) {
  auto grown = device_allocator.allocate(wanted);
  if (held && wanted) std::memcpy(device_memory().bytes(grown.get()), bytes, std::min(held, wanted));
  storage->set_data_ptr_noswap(std::move(grown));
  storage->set_nbytes(wanted);
}

// ---------------------------------------------------------------------------------------------------------- kernels

bool on_device(const Tensor& tensor) { return tensor.defined() && tensor.device().type() == c10::kPrivateUse1; }

Tensor tensor_on(Storage storage, DispatchKey key, const Tensor& like) {
  auto made = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), DispatchKeySet(key), like.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  made._set_conj(like.is_conj());
  made._set_neg(like.is_neg());
  return made;
}

// The device's tensors as the CPU's kernels see them, during one call: the same bytes, under the host's address. They
// own nothing, so that they cannot keep alive what a GPU would not.
class Views {
 public:
  Tensor host(const Tensor& tensor) {
    if (!on_device(tensor)) return tensor;
    auto& view = host_of_[tensor.unsafeGetTensorImpl()];
    if (!view.defined()) {
      view = tensor_on(host(tensor.storage()), DispatchKey::CPU, tensor);
      device_of_.emplace(view.unsafeGetTensorImpl(), tensor);
    }
    return view;
  }

  Storage host(const Storage& storage) {
    if (storage.device_type() != c10::kPrivateUse1) return storage;
    auto& view = host_storage_of_[storage.unsafeGetStorageImpl()];
    if (!view) {
      c10::DataPtr data(device_memory().bytes(storage.data()), Device(c10::kCPU));
      view = Storage({}, storage.nbytes(), std::move(data), c10::GetAllocator(c10::kCPU), /*resizable=*/true);
      device_storage_of_.emplace(view.unsafeGetStorageImpl(), storage);
      kept_.push_back(storage);
    }
    return view;
  }

  IValue host(const IValue& value) {
    if (value.isTensor()) return host(value.toTensor());
    if (value.isStorage()) return host(value.toStorage());
    if (value.isDevice() && value.toDevice().type() == c10::kPrivateUse1) return Device(c10::kCPU);
    if (value.isTensorList()) {
      c10::List<Tensor> views;
      for (const Tensor& each : value.toTensorVector()) views.push_back(host(each));
      return views;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> views;
      for (const auto& each : value.toOptionalTensorVector())
        views.push_back(each ? std::make_optional(host(*each)) : std::nullopt);
      return views;
    }
    return value;
  }

  // What a kernel returned, as the device's: an argument is itself again, a view of one is a view of the device's
  // tensor, and what is new is put into new memory of the device.
  Tensor device(const Tensor& tensor) {
    if (!tensor.defined() || on_device(tensor)) return tensor;
    if (auto found = device_of_.find(tensor.unsafeGetTensorImpl()); found != device_of_.end()) return found->second;
    return tensor_on(device(tensor.storage()), DispatchKey::PrivateUse1, tensor);
  }

  Storage device(const Storage& storage) {
    auto& found = device_storage_of_[storage.unsafeGetStorageImpl()];
    if (!found) {
      found = Storage({}, 0, device_allocator.allocate(0), &device_allocator, /*resizable=*/true);
      resize(found.unsafeGetStorageImpl(), storage.data(), storage.nbytes(), storage.nbytes());
    }
    return found;
  }

  IValue device(const IValue& value) {
    if (value.isTensor()) return device(value.toTensor());
    if (value.isTensorList()) {
      c10::List<Tensor> tensors;
      for (const Tensor& each : value.toTensorVector()) tensors.push_back(device(each));
      return tensors;
    }
    return value;
  }

  // Some kernels change their arguments' shapes or storages: `resize_`, `set_`, everything with `out=`.
  void adopt() {
    for (auto& [was, view] : host_storage_of_)
      if (view.data() != device_memory().bytes(was->data()) || view.nbytes() != was->nbytes())
        resize(was, view.data(), view.nbytes(), view.nbytes());
    for (auto& [was, view] : host_of_) {
      if (auto storage = device(view.storage()); !storage.is_alias_of(was->storage()))
        was->set_storage_keep_dtype(std::move(storage));
      if (was->sizes() != view.sizes() || was->strides() != view.strides() ||
          was->storage_offset() != view.storage_offset())
        was->set_sizes_and_strides(view.sizes(), view.strides(), view.storage_offset());
    }
  }

 private:
  std::unordered_map<c10::TensorImpl*, Tensor> host_of_, device_of_;
  std::unordered_map<StorageImpl*, Storage> host_storage_of_, device_storage_of_;
  std::vector<Storage> kept_;  // what `set_` takes from its tensor stays until the call is over
};

// A kernel whose result, or its shape, the host has to know makes the host wait: `item`, `nonzero`, a mask as index.
bool waits_for(const c10::OperatorHandle& op, at::ArrayRef<IValue> arguments) {
  for (const IValue& each : arguments) {
    if (!each.isOptionalTensorList()) continue;
    for (const auto& index : each.toOptionalTensorVector())
      if (index && on_device(*index) && (index->scalar_type() == at::kBool || index->scalar_type() == at::kByte))
        return true;
    return false;
  }
  return op.hasTag(at::Tag::data_dependent_output) || op.hasTag(at::Tag::dynamic_output_shape);
}

// A GPU's kernels read no memory of the host's, save a lone number, or indices, which they send over first.
void check_same_device(const c10::OperatorHandle& op, at::ArrayRef<IValue> arguments) {
  const std::string& name = op.schema().name();
  for (const char* exempt : {"aten::index", "aten::_index", "aten::_foreach", "aten::_pack", "aten::set_"})
    if (name.rfind(exempt, 0) == 0) return;
  bool device = false, host = false;
  auto look = [&](const Tensor& tensor) {
    device |= on_device(tensor);
    host |= tensor.defined() && tensor.is_cpu() && tensor.dim() > 0;
  };
  for (const IValue& each : arguments) {
    if (each.isTensor()) look(each.toTensor());
    if (each.isTensorList())
      for (const Tensor& tensor : each.toTensorVector()) look(tensor);
  }
  TORCH_CHECK(!(device && host), name, ": Expected all tensors to be on the same device, ",
              "but found at least two devices, ", DEVICE, " and cpu!");
}

void run(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  auto arguments = torch::jit::last(*stack, op.schema().arguments().size());
  check_same_device(op, arguments);
  waits += waits_for(op, arguments);
  Views views;
  for (size_t i = stack->size() - arguments.size(); i < stack->size(); ++i) (*stack)[i] = views.host((*stack)[i]);
  queue(current).drain();
  {
    at::AutoDispatchBelowADInplaceOrView below;
    op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
  }
  views.adopt();
  for (size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i)
    (*stack)[i] = views.device((*stack)[i]);
}

Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &device_allocator, DispatchKeySet(DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &device_allocator, DispatchKeySet(DispatchKey::PrivateUse1),
                                           c10::dtype_or_default(dtype));
}

// A view that owns nothing of a tensor of either side.
Tensor borrowed(const Tensor& tensor, Views& views) {
  if (on_device(tensor)) return views.host(tensor);
  c10::DataPtr data(const_cast<void*>(tensor.storage().data()), Device(c10::kCPU));
  return tensor_on(Storage({}, tensor.storage().nbytes(), std::move(data), nullptr, false), DispatchKey::CPU, tensor);
}

Tensor& copy_(Tensor& to, const Tensor& from, bool non_blocking) {
  at::AutoDispatchBelowADInplaceOrView below;
  Views views;
  auto target = borrowed(to, views), source = borrowed(from, views).expand(to.sizes());
  if (to.numel() == 0 || to.is_same(from)) return to;
  at::assert_no_internal_overlap(target);
  const Tensor* on_host = on_device(to) ? on_device(from) ? nullptr : &from : &to;
  if (on_host && !(non_blocking && pinned_memory().holds(on_host->storage().data()))) {
    queue(current).drain();
    target.copy_(source);
    waits += !(non_blocking && on_host == &from);  // pageable memory is read at once, without waiting for the device
    return to;
  }
  if (on_host) pinned_memory().use(on_host->storage().data(), current);
  queue(current).push([target, source]() mutable {
    std::this_thread::sleep_for(std::chrono::duration<double>(delay.load()));
    at::AutoDispatchBelowADInplaceOrView below;
    target.copy_(source);
  });
  return to;
}

void record_stream(Tensor& tensor, Stream user) { device_memory().use(tensor.storage().data(), user.id()); }

bool may_take_over(const Tensor&, const Tensor&) { return true; }  // `param.data = ...` across devices, as on a GPU

// ----------------------------------------------------------------------------------------------------- registration

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::kPrivateUse1; }
  Device exchangeDevice(Device) const override { return DEVICE; }
  Device getDevice() const override { return DEVICE; }
  void setDevice(Device) const override {}
  void uncheckedSetDevice(Device) const noexcept override {}
  DeviceIndex deviceCount() const noexcept override { return 1; }

  Stream getStream(Device) const override { return stream(current); }
  Stream getDefaultStream(Device) const override { return stream(0); }
  Stream getNewStream(Device, int) const override {
    static std::atomic<StreamId> made{0};
    return stream(1 + made++ % POOL);
  }
  Stream getStreamFromGlobalPool(Device device, bool) const override { return getNewStream(device, 0); }
  Stream exchangeStream(Stream next) const override { return stream(std::exchange(current, next.id())); }
  bool queryStream(const Stream& asked) const override { return queue(asked.id()).idle(); }
  void synchronizeStream(const Stream& asked) const override {
    ++waits;
    queue(asked.id()).drain();
  }
  void synchronizeDevice(DeviceIndex) const override {
    ++waits;
    drain_all();
  }
  void recordDataPtrOnStream(const c10::DataPtr& data, const Stream& user) const override {
    device_memory().use(data.get(), user.id());
  }

  void record(void** event, const Stream& on, DeviceIndex, c10::EventFlag) const override {
    if (!*event) *event = new Event;
    auto recording = static_cast<Event*>(*event)->last = std::make_shared<Recording>();
    queue(on.id()).push([recording] { recording->finish(); });
  }
  void block(void* event, const Stream& waiting) const override {
    queue(waiting.id()).push([recording = last(event)] { recording->wait(); });
  }
  bool queryEvent(void* event) const override { return last(event)->query(); }
  void synchronizeEvent(void* event) const override {
    ++waits;
    last(event)->wait();
  }
  double elapsedTime(void* from, void* to, DeviceIndex) const override {
    return std::chrono::duration<double, std::milli>(last(to)->when - last(from)->when).count();
  }
  void destroyEvent(void* event, DeviceIndex) const noexcept override { delete static_cast<Event*>(event); }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(DeviceIndex) const override {}
  DeviceIndex exchangeDevice(DeviceIndex) const override { return 0; }
  DeviceIndex maybeExchangeDevice(DeviceIndex) const override { return 0; }
  bool isPinnedPtr(const void* data) const override { return pinned_memory().holds(data); }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator; }
  Device getDeviceFromPtr(void*) const override { return DEVICE; }
  // The device draws from the CPU's generator: the same seed gives the same numbers.
  const at::Generator& getDefaultGenerator(DeviceIndex) const override { return at::detail::getDefaultCPUGenerator(); }
  at::Generator getNewGenerator(DeviceIndex) const override { return at::detail::createCPUGenerator(); }
  void resizePrivateUse1Bytes(const Storage& storage, size_t wanted) const override {
    queue(current).drain();
    resize(storage.unsafeGetStorageImpl(), device_memory().bytes(storage.data()), storage.nbytes(), wanted);
  }
};

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&run>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  c10::SetAllocator(c10::kPrivateUse1, &device_allocator);
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("copy_", &copy_);
  m.impl("record_stream", &record_stream);
  m.impl("_has_compatible_shallow_copy_type", &may_take_over);
  // Whatever has a kernel of the CPU's own runs that, and so do convolutions, which choose theirs by the device: a
  // decomposition made for all devices would round differently.
  std::set<std::string> whole{"aten::convolution", "aten::convolution_backward"};
  for (const auto& name : c10::Dispatcher::singleton().getAllOpNamesForDispatchKey(DispatchKey::CPU))
    if (name.name.rfind("aten::", 0) == 0) whole.insert(c10::toString(name));
  for (const char* own : {"aten::empty.memory_format", "aten::empty_strided", "aten::_fused_sdp_choice"})
    whole.erase(own);
  for (const auto& name : whole)
    m.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&run>());
}

// Mixed precision casts for the same operations as everywhere.
TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

#define TO_LOWER(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
#define TO_SINGLE(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
#define TO_SINGLE_UNLESS_ASKED(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32_set_opt_dtype)
#define TO_WIDEST(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, promote)

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  AT_FORALL_LOWER_PRECISION_FP(TO_LOWER)
  AT_FORALL_FP32(TO_SINGLE)
  AT_FORALL_FP32_SET_OPT_DTYPE(TO_SINGLE_UNLESS_ASKED)
  AT_FORALL_PROMOTE(TO_WIDEST)
}

}  // namespace

extern "C" {
int64_t simulated_waits() { return waits; }
void simulated_set_delay(double seconds) { delay = seconds; }
void simulated_drain() { drain_all(); }
}
