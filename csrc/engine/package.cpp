#include "engine/package.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace covfast {
namespace {

constexpr uint64_t kHeaderLimit = 4 << 20;  // bytes: some 30,000 tensors; bounds what the JSON parser may allocate
constexpr size_t kAxisLimit = 8;
constexpr int64_t kSizeLimit = int64_t{1} << 40;
constexpr int kFormatVersion = 1;

struct Dtype {
    const char* name;
    uint64_t bytes;
};
constexpr std::array<Dtype, 14> kDtypes = {{{"F32", 4},
                                            {"F16", 2},
                                            {"BF16", 2},
                                            {"F64", 8},
                                            {"I64", 8},
                                            {"I32", 4},
                                            {"I16", 2},
                                            {"I8", 1},
                                            {"U64", 8},
                                            {"U32", 4},
                                            {"U16", 2},
                                            {"U8", 1},
                                            {"BOOL", 1},
                                            {"F8_E4M3", 1}}};

std::string last_part(const std::string& path) {
    const size_t slash = path.find_last_of('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
}

// Bytes of a tensor. Throws FORMAT if they overflow.
uint64_t bytes_of(const std::string& name, const std::string& dtype, const std::vector<int64_t>& shape) {
    const auto known = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const Dtype& d) { return d.name == dtype; });
    COVFAST_REQUIRE(known != kDtypes.end(), FORMAT, "tensor '", name, "': got dtype '", dtype, "', expected F32 or U8");
    uint64_t bytes = known->bytes;
    for (const int64_t size : shape)
        COVFAST_REQUIRE(!__builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes), FORMAT, "tensor '", name,
                        "': got a shape of more bytes than 64 bits count, expected a shape that fits the file");
    return bytes;
}

}  // namespace

std::shared_ptr<const Package> Package::open(const std::string& path) {
    std::shared_ptr<Package> package(new Package);
    package->file_name_ = last_part(path);
    try {
        package->map(path);
        package->read_header();
    } catch (const Error& error) {
        fail(error.code(), package->file_name_, ": ", error.what());
    }
    return package;
}

Package::~Package() {
    if (file_ != nullptr) munmap(const_cast<std::byte*>(file_), file_bytes_);
}

void Package::map(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not block
    COVFAST_REQUIRE(descriptor >= 0, FORMAT, "path: got '", std::strerror(errno), "', expected a model package");
    struct stat status{};
    const bool is_file = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    void* memory = MAP_FAILED;
    if (is_file && status.st_size > 0) {
        file_bytes_ = static_cast<uint64_t>(status.st_size);
        memory = mmap(nullptr, file_bytes_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    }
    ::close(descriptor);
    COVFAST_REQUIRE(is_file, FORMAT, "path: got something that is no file, expected a model package");
    COVFAST_REQUIRE(file_bytes_ >= 8, FORMAT, "size: got ", file_bytes_, " bytes, expected a model package");
    COVFAST_REQUIRE(memory != MAP_FAILED, FORMAT, "path: got '", std::strerror(errno), "', expected a file to map");
    file_ = static_cast<const std::byte*>(memory);
}

void Package::read_header() {
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<uint64_t>(file_[i]);
    COVFAST_REQUIRE(length >= 2 && length <= kHeaderLimit && length <= file_bytes_ - 8, FORMAT,
                    "header: got a length of ", length, " in a file of ", file_bytes_, " bytes, expected at most ",
                    kHeaderLimit, " and the file");
    COVFAST_REQUIRE((length + 8) % 64 == 0, FORMAT, "header: got a length of ", length,
                    ", expected the data to begin at a multiple of 64 bytes");
    data_ = file_ + 8 + length;
    data_bytes_ = file_bytes_ - 8 - length;
    const Json header = Json::parse({reinterpret_cast<const char*>(file_ + 8), static_cast<size_t>(length)});
    for (const auto& [name, json] : header.as_object("header"))
        if (name != "__metadata__") entries_.emplace(name, read_entry(name, json));
    require_no_holes();
    read_metadata(header.at("__metadata__"));
}

Package::Entry Package::read_entry(const std::string& name, const Json& json) const {
    Entry entry{json.text("dtype"), json.integers("shape", 0, 0, kSizeLimit), 0, 0};
    COVFAST_REQUIRE(entry.shape.size() <= kAxisLimit, FORMAT, "tensor '", name, "': got ", entry.shape.size(),
                    " axes, expected at most ", kAxisLimit);
    const std::vector<int64_t> offsets = json.integers("data_offsets", 2, 0, kSizeLimit);
    entry.begin = static_cast<uint64_t>(offsets[0]), entry.end = static_cast<uint64_t>(offsets[1]);
    COVFAST_REQUIRE(entry.begin <= entry.end && entry.end <= data_bytes_, FORMAT, "tensor '", name, "': got bytes ",
                    entry.begin, " to ", entry.end, ", expected bytes of the ", data_bytes_, " that there are");
    const uint64_t expected = bytes_of(name, entry.dtype, entry.shape);
    COVFAST_REQUIRE(entry.end - entry.begin == expected, FORMAT, "tensor '", name, "': got ", entry.end - entry.begin,
                    " bytes, expected ", expected, " for its shape");
    return entry;
}

void Package::require_no_holes() const {
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    for (const auto& [name, entry] : entries_) ranges.emplace_back(entry.begin, entry.end);
    std::sort(ranges.begin(), ranges.end());
    uint64_t at = 0;
    for (const auto& [begin, end] : ranges) {
        COVFAST_REQUIRE(begin == at, FORMAT, "data: got a tensor at byte ", begin, ", expected one at ", at,
                        ", without overlap or hole");
        at = end;
    }
    COVFAST_REQUIRE(at == data_bytes_, FORMAT, "data: got ", data_bytes_, " bytes, expected ", at,
                    ", those of its tensors");
}

void Package::read_metadata(const Json& texts) {
    COVFAST_REQUIRE(texts.find("format") != nullptr && texts.text("format") == "covfast", FORMAT, "__metadata__: got ",
                    texts.print(60), ", expected {\"format\": \"covfast\"}; this is no model package of covfast");
    metadata_ = Json::parse(texts.text("covfast"));
    const int64_t version = metadata_.integer("format_version", 1, 1 << 30);
    COVFAST_REQUIRE(version == kFormatVersion, FORMAT, "format_version: got ", version, ", expected ", kFormatVersion,
                    "; a newer covfast wrote this package");
}

TensorView Package::tensor(const std::string& name) const {
    const auto found = entries_.find(name);
    COVFAST_REQUIRE(found != entries_.end(), FORMAT, "tensor: got no '", name, "', expected one of that name");
    const Entry& entry = found->second;
    COVFAST_REQUIRE(entry.dtype == "F32", FORMAT, "tensor '", name, "': got dtype ", entry.dtype, ", expected F32");
    COVFAST_REQUIRE(entry.begin % 64 == 0, FORMAT, "tensor '", name, "': got byte ", entry.begin,
                    ", expected a multiple of 64");
    return {reinterpret_cast<const float*>(data_ + entry.begin), entry.shape};
}

}  // namespace covfast
