// Files beside a model that hold its weights, mapped read-only.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace sx {

// A file mapped into memory, read-only. Throws NoSuchFile, or InvalidArgument where it is not a regular file.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  // Takes over an open descriptor; `shown` names the file in messages.
  MappedFile(int descriptor, const std::string& shown);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  // Tells the system that the pages inside `part` are not needed again, so that they stop counting as memory in use.
  void forget(std::string_view part) const;

 private:
  void map(int descriptor, const std::string& shown);
  void* data_ = nullptr;
  size_t size_ = 0;
};

// The folder that a model may read weights from. A location is a relative path without ".."; none of its parts may be
// a symbolic link, and the file may not have a second (hard) link. One exception: where the model file itself is a
// symbolic link, as in download caches, a link to a file in the folder that really holds the model is followed.
class ExternalData {
 public:
  ExternalData() = default;  // no folder: every location is refused
  // `folder` "" is the working directory; `model_path` may be empty.
  ExternalData(std::string folder, const std::string& model_path);

  // The file's bytes; mapped once and kept while a tensor refers to it.
  std::shared_ptr<Buffer> open(const std::string& location);

 private:
  int open_file(const std::string& location) const;

  bool allowed_ = false;
  std::string folder_;
  std::string real_folder_;  // where the model really is, when its path is a symbolic link
  std::map<std::string, std::shared_ptr<Buffer>> files_;
};

}  // namespace sx
