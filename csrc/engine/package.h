// A model package: one file in the safetensors layout, memory-mapped, read-only. Nothing in it is trusted.
//
//   8 bytes     length of the header, little endian
//   header      JSON: tensor name -> {"dtype", "shape", "data_offsets"}, and "__metadata__", texts by name:
//               {"format": "covfast", "covfast": "<one JSON text>"}; spaces to the next multiple of 64 bytes
//   data        the tensors, each at a multiple of 64 bytes, without holes: fillers are named "__pad__.N"
//
// covfast/package.py writes it, documents its metadata and holds the checksum. While a package is open its file must
// not be cut short: a mapped page that is gone ends the process. Writers here replace files by atomic rename.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/json.h"

namespace covfast {

struct TensorView {
    const float* data = nullptr;
    std::vector<int64_t> shape;
    int64_t count() const {
        int64_t n = 1;
        for (const int64_t size : shape) n *= size;
        return n;
    }
};

class Package {
public:
    // Throws FORMAT naming the last part of the path: not a file, cut short, sizes, offsets or metadata that do not
    // fit.
    static std::shared_ptr<const Package> open(const std::string& path);
    ~Package();
    Package(const Package&) = delete;
    Package& operator=(const Package&) = delete;

    const std::string& file_name() const { return file_name_; }
    uint64_t file_bytes() const { return file_bytes_; }  // mapped: weights that are read count as memory in use
    // {"format_version": 1, "name", "graph", "recipe", "labels", "input", "licence", "provenance", "checksum"}
    const Json& metadata() const { return metadata_; }
    // A float32 tensor. Throws FORMAT if there is none of that name or its elements are something else.
    TensorView tensor(const std::string& name) const;

private:
    struct Entry {
        std::string dtype;
        std::vector<int64_t> shape;
        uint64_t begin, end;  // bytes from data_
    };

    Package() = default;
    void map(const std::string& path);
    void read_header();
    void read_metadata(const Json& texts);
    Entry read_entry(const std::string& name, const Json& json) const;
    void require_no_holes() const;

    std::string file_name_;
    const std::byte* file_ = nullptr;
    const std::byte* data_ = nullptr;
    uint64_t file_bytes_ = 0, data_bytes_ = 0;
    std::map<std::string, Entry> entries_;
    Json metadata_;
};

}  // namespace covfast
