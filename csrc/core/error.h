// Errors of the native core. Codes come from errors.def, which the Python classes and the C ABI read too.
// Message grammar: "argument: got X, expected Y; hint".
#pragma once
#include <exception>
#include <sstream>
#include <string>
#include <utility>

namespace covfast {

enum class Code {
#define X(name, exit_code, python_class, python_base, meaning) name,
#include "errors.def"
#undef X
};

class Error : public std::exception {
public:
    Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}
    Code code() const { return code_; }
    const char* what() const noexcept override { return message_.c_str(); }

private:
    Code code_;
    std::string message_;
};

namespace detail {
template <class... Parts>
std::string join(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
}
}  // namespace detail

template <class... Parts>
[[noreturn]] void fail(Code code, const Parts&... parts) {
    throw Error(code, detail::join(parts...));
}

}  // namespace covfast

// The message parts are only put together when the condition is false.
#define COVFAST_REQUIRE(condition, code, ...)                                  \
    do {                                                                       \
        if (!(condition)) ::covfast::fail(::covfast::Code::code, __VA_ARGS__); \
    } while (0)
