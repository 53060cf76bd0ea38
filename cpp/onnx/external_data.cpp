// Maps files and keeps locations that a model names inside its folder.
#include "onnx/external_data.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"

namespace sx {
namespace {

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }
  int release() {
    const int number = number_;
    number_ = -1;
    return number;
  }
  void reset(int number) {
    if (number_ >= 0) ::close(number_);
    number_ = number;
  }

 private:
  int number_;
};

constexpr int kNotOpen = -1;

int64_t time_of_change(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec;
}

std::string real_path(const std::string& path) {
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return "";
  std::string result(resolved);
  ::free(resolved);
  return result;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::vector<std::string> parts_of(const std::string& location) {
  std::vector<std::string> parts;
  size_t from = 0;
  while (from <= location.size()) {
    const size_t slash = std::min(location.find('/', from), location.size());
    const std::string part = location.substr(from, slash - from);
    if (!part.empty() && part != ".") parts.push_back(part);
    from = slash + 1;
  }
  return parts;
}

}  // namespace

OpenFile::OpenFile(const std::string& path) : descriptor_(kNotOpen), shown_(path) {
  SX_REQUIRE(path.find('\0') == std::string::npos, kInvalidArgument, "a path with a NUL character was given");
  // Not blocking: a pipe must not make the open wait.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    const int reason = errno;
    fail(ErrorKind::kNoSuchFile, "cannot open '", path, "': ", std::strerror(reason));
  }
  look(file.get());
  descriptor_ = file.release();
}

OpenFile::OpenFile(int descriptor, const std::string& shown) : descriptor_(kNotOpen), shown_(shown) {
  Descriptor file(descriptor);
  look(file.get());
  descriptor_ = file.release();
}

OpenFile::~OpenFile() {
  if (descriptor_ != kNotOpen) ::close(descriptor_);
}

void OpenFile::look(int descriptor) {
  struct stat info;
  SX_REQUIRE(::fstat(descriptor, &info) == 0, kFail, "cannot look at '", shown_, "': ", std::strerror(errno));
  SX_REQUIRE(!S_ISDIR(info.st_mode), kInvalidArgument, "'", shown_, "' is a directory; the path of a file expected");
  SX_REQUIRE(S_ISREG(info.st_mode), kInvalidArgument, "'", shown_, "' is not a regular file");
  size_ = static_cast<size_t>(info.st_size);
  changed_ = time_of_change(info);
}

void OpenFile::read(size_t offset, size_t bytes, void* to) const {
  struct stat info;
  SX_REQUIRE(::fstat(descriptor_, &info) == 0 && static_cast<size_t>(info.st_size) == size_ &&
                 time_of_change(info) == changed_,
             kFail, "'", shown_, "' was changed after it was loaded, and weights that are needed now are no longer ",
             "there; load the model again, or load it from bytes if its file is to be written while it is in use");
  // Touching new memory costs more than the copy does, and all threads can do it.
  constexpr int64_t kGrain = 1 << 20;
  auto* place = static_cast<char*>(to);
  parallel_for(static_cast<int64_t>(bytes), kGrain, [&](int64_t begin, int64_t end) {
    for (auto done = static_cast<size_t>(begin); done < static_cast<size_t>(end);) {
      const ssize_t count =
          ::pread(descriptor_, place + done, static_cast<size_t>(end) - done, static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      SX_REQUIRE(count > 0, kFail, "cannot read '", shown_,
                 "': ", count < 0 ? std::strerror(errno) : "it is shorter than when it was loaded");
      done += static_cast<size_t>(count);
    }
  });
}

MappedFile::MappedFile(std::shared_ptr<const OpenFile> file) : file_(std::move(file)) {
  if (file_->size() == 0) return;
  void* data = ::mmap(nullptr, file_->size(), PROT_READ, MAP_PRIVATE, file_->descriptor(), 0);
  SX_REQUIRE(data != MAP_FAILED, kRuntimeException, "cannot map '", file_->shown(), "': ", std::strerror(errno));
  data_ = data;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, file_->size());
}

void MappedFile::forget(std::string_view part) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(part.data()) + part.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

ExternalData::ExternalData(std::string folder, const std::string& model_path)
    : allowed_(true), folder_(folder.empty() ? "." : std::move(folder)) {
  struct stat info;
  if (!model_path.empty() && ::lstat(model_path.c_str(), &info) == 0 && S_ISLNK(info.st_mode))
    real_folder_ = folder_of(real_path(model_path));
}

int ExternalData::open_file(const std::string& location) const {
  SX_REQUIRE(allowed_, kInvalidArgument, "the model keeps weights in the file '", location,
             "', but it was given as bytes; load it from its file, or say in which folder its external data is");
  SX_REQUIRE(!location.empty() && location.find('\0') == std::string::npos, kInvalidGraph,
             "a tensor has external data without a valid location");
  SX_REQUIRE(location[0] != '/', kInvalidGraph, "the external data '", location,
             "' has an absolute path; only files in the model's folder are read");
  const std::vector<std::string> parts = parts_of(location);
  for (const std::string& part : parts)
    SX_REQUIRE(part != "..", kInvalidGraph, "the external data '", location,
               "' has '..' in its path; only files in the model's folder are read");
  SX_REQUIRE(!parts.empty(), kInvalidGraph, "the external data '", location, "' is not a file");
  if (!real_folder_.empty()) {
    const std::string target = real_path(folder_ + "/" + location);
    if (!target.empty() && folder_of(target) == real_folder_)
      return ::open(target.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  }
  Descriptor at(::open(folder_.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  for (size_t i = 0; i < parts.size() && at.get() >= 0; ++i) {
    const bool last = i + 1 == parts.size();
    const int next =
        ::openat(at.get(), parts[i].c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | (last ? O_NONBLOCK : O_DIRECTORY));
    const int reason = errno;
    struct stat info;
    if (next < 0 && ::fstatat(at.get(), parts[i].c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0)
      SX_REQUIRE(!S_ISLNK(info.st_mode), kInvalidGraph, "the external data '", location,
                 "' goes through the symbolic link '", parts[i],
                 "'; links are not followed, because they may lead out of the model's folder");
    at.reset(next);
    errno = reason;
  }
  return at.release();
}

std::shared_ptr<const MappedFile> ExternalData::open(const std::string& location) {
  auto found = files_.find(location);
  if (found != files_.end()) return found->second;
  errno = 0;
  Descriptor file(open_file(location));
  if (file.get() < 0) {
    const int reason = errno;
    fail(ErrorKind::kNoSuchFile, "cannot open the external data '", location, "' in '", folder_,
         "': ", std::strerror(reason));
  }
  struct stat info;
  SX_REQUIRE(::fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode), kInvalidGraph, "the external data '", location,
             "' is not a regular file");
  SX_REQUIRE(
      info.st_nlink <= 1, kInvalidGraph, "the external data '", location, "' has ", info.st_nlink,
      " hard links; a file of its own is expected, because a link may lead out of the model's folder: copy the file");
  auto mapped = std::make_shared<MappedFile>(std::make_shared<OpenFile>(file.release(), location));
  files_.emplace(location, mapped);
  return mapped;
}

}  // namespace sx
