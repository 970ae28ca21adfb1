// A JSON value (RFC 8259): parsed from untrusted text, read by typed accessors, printed. Every failure is FORMAT.
//   const Json graph = Json::parse(text);
//   graph.at("nodes").items()[0].text("op");   graph.integer("rank", 2, 3);
// Refused: nesting deeper than 64, a key given twice, numbers outside a double, text after the value. The memory of a
// value is bounded by some 150 times its text.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace covfast {

class Json {
public:
    using Member = std::pair<std::string, Json>;

    Json() = default;
    static Json parse(std::string_view text);
    // One line, keys in the order of the text; not more than `limit` bytes of it, then "...".
    std::string print(size_t limit = std::string::npos) const;

    bool is_null() const { return kind_ == Kind::kNull; }

    // This value as what it must be; `what` names it in the error.
    bool as_boolean(std::string_view what) const;
    double as_number(std::string_view what) const;
    int64_t as_integer(std::string_view what, int64_t low, int64_t high) const;
    const std::string& as_text(std::string_view what) const;
    const std::vector<Json>& as_array(std::string_view what) const;
    const std::vector<Member>& as_object(std::string_view what) const;

    // The member of this name: null if there is none; FORMAT if this is no object.
    const Json* find(std::string_view key) const;
    const Json& at(std::string_view key) const;  // FORMAT if there is none

    // The member as what it must be.
    bool boolean(std::string_view key) const { return at(key).as_boolean(key); }
    double number(std::string_view key) const { return at(key).as_number(key); }
    int64_t integer(std::string_view key, int64_t low, int64_t high) const {
        return at(key).as_integer(key, low, high);
    }
    const std::string& text(std::string_view key) const { return at(key).as_text(key); }
    const std::vector<Json>& array(std::string_view key) const { return at(key).as_array(key); }
    // Its `count` integers from low to high, or any number of them where count is 0.
    std::vector<int64_t> integers(std::string_view key, size_t count, int64_t low, int64_t high) const;
    std::vector<double> numbers(std::string_view key, size_t count = 0) const;

private:
    friend class JsonParser;
    enum class Kind { kNull, kBoolean, kNumber, kText, kArray, kObject };
    [[noreturn]] void fail_kind(std::string_view what, std::string_view expected) const;
    void print_to(std::string& out, size_t limit) const;

    Kind kind_ = Kind::kNull;
    bool boolean_ = false;
    bool is_whole_ = false;  // number_ came as an integer that fits whole_
    double number_ = 0;
    int64_t whole_ = 0;
    std::string text_;
    std::vector<Json> items_;
    std::vector<Member> members_;
};

}  // namespace covfast
