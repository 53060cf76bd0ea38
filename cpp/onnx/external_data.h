// Files beside a model that hold its weights, mapped read-only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

namespace sx {

// A regular file, kept open so that parts of it can be read again. Throws NoSuchFile, or InvalidArgument where it is
// not a regular file.
class OpenFile {
 public:
  explicit OpenFile(const std::string& path);
  // Takes over an open descriptor; `shown` names the file in messages.
  OpenFile(int descriptor, const std::string& shown);
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int descriptor() const { return descriptor_; }
  const std::string& shown() const { return shown_; }
  size_t size() const { return size_; }
  // Copies bytes; throws Fail where the file is not as it was when it was opened. Thread-safe.
  void read(size_t offset, size_t bytes, void* to) const;

 private:
  void look(int descriptor);
  int descriptor_;
  std::string shown_;
  size_t size_ = 0;
  int64_t changed_ = 0;  // time of the last change, in nanoseconds
};

// A file mapped into memory, read-only.
class MappedFile {
 public:
  explicit MappedFile(std::shared_ptr<const OpenFile> file);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::shared_ptr<const OpenFile>& file() const { return file_; }
  std::string_view bytes() const { return {static_cast<const char*>(data_), file_->size()}; }
  // Tells the system that the pages inside `part` are not needed again, so that they stop counting as memory in use.
  void forget(std::string_view part) const;

 private:
  std::shared_ptr<const OpenFile> file_;
  void* data_ = nullptr;
};

// The folder that a model may read weights from. A location is a relative path without ".."; none of its parts may be
// a symbolic link, and the file may not have a second (hard) link. One exception: where the model file itself is a
// symbolic link, as in download caches, a link to a file in the folder that really holds the model is followed.
class ExternalData {
 public:
  ExternalData() = default;  // no folder: every location is refused
  // `folder` "" is the working directory; `model_path` may be empty.
  ExternalData(std::string folder, const std::string& model_path);

  // The file; mapped once and kept while a tensor refers to it.
  std::shared_ptr<const MappedFile> open(const std::string& location);

 private:
  int open_file(const std::string& location) const;

  bool allowed_ = false;
  std::string folder_;
  std::string real_folder_;  // where the model really is, when its path is a symbolic link
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
};

}  // namespace sx
