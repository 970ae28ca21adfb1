#include "engine/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_set>

#include "core/error.h"

namespace covfast {
namespace {

constexpr int kDepthLimit = 64;  // the parser recurses: a deeper text could exhaust the stack

void append_utf8(std::string& out, uint32_t code) {
    if (code < 0x80) {
        out += static_cast<char>(code);
    } else if (code < 0x800) {
        out += static_cast<char>(0xC0 | code >> 6);
        out += static_cast<char>(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        out += static_cast<char>(0xE0 | code >> 12);
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
    } else {
        out += static_cast<char>(0xF0 | code >> 18);
        out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
        out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
        out += static_cast<char>(0x80 | (code & 0x3F));
    }
}

void print_text(std::string& out, const std::string& text) {
    constexpr char kHex[] = "0123456789abcdef";
    out += '"';
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\', out += c;
        } else if (byte < 0x20) {
            out += "\\u00", out += kHex[byte >> 4], out += kHex[byte & 15];
        } else {
            out += c;
        }
    }
    out += '"';
}

}  // namespace

class JsonParser {
public:
    explicit JsonParser(std::string_view text) : text_(text) {}

    Json run() {
        Json value = read_value(0);
        skip_space();
        if (at_ != text_.size()) fail_here("the end");
        return value;
    }

private:
    [[noreturn]] void fail_here(const char* expected) const {
        const std::string got = at_ < text_.size() ? "byte " + std::to_string(static_cast<unsigned char>(text_[at_]))
                                                   : std::string("the end");
        fail(Code::FORMAT, "JSON: got ", got, " at position ", at_, ", expected ", expected);
    }

    void skip_space() {
        while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
    }

    bool take(char c) {
        if (at_ >= text_.size() || text_[at_] != c) return false;
        ++at_;
        return true;
    }

    bool take_word(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    Json read_value(int depth) {
        if (depth > kDepthLimit) fail_here("nesting of at most 64");
        skip_space();
        Json value;
        if (take('{')) {
            value.kind_ = Json::Kind::kObject;
            read_members(value.members_, depth);
        } else if (take('[')) {
            value.kind_ = Json::Kind::kArray;
            read_items(value.items_, depth);
        } else if (take('"')) {
            value.kind_ = Json::Kind::kText;
            value.text_ = read_text();
        } else if (take_word("true")) {
            value.kind_ = Json::Kind::kBoolean, value.boolean_ = true;
        } else if (take_word("false")) {
            value.kind_ = Json::Kind::kBoolean;
        } else if (!take_word("null")) {
            read_number(value);
        }
        return value;
    }

    void read_members(std::vector<Json::Member>& members, int depth) {
        std::unordered_set<std::string> keys;
        skip_space();
        if (take('}')) return;
        do {
            skip_space();
            if (!take('"')) fail_here("a key");
            std::string key = read_text();
            if (!keys.insert(key).second) fail_here("each key once");
            skip_space();
            if (!take(':')) fail_here("':'");
            members.emplace_back(std::move(key), read_value(depth + 1));
            skip_space();
        } while (take(','));
        if (!take('}')) fail_here("',' or '}'");
    }

    void read_items(std::vector<Json>& items, int depth) {
        skip_space();
        if (take(']')) return;
        do {
            items.push_back(read_value(depth + 1));
            skip_space();
        } while (take(','));
        if (!take(']')) fail_here("',' or ']'");
    }

    uint32_t read_hex() {
        uint32_t code = 0;
        const char* begin = text_.data() + at_;
        if (text_.size() - at_ < 4 || std::from_chars(begin, begin + 4, code, 16).ptr != begin + 4)
            fail_here("four hexadecimal digits");
        at_ += 4;
        return code;
    }

    std::string read_text() {
        std::string out;
        for (;;) {
            if (at_ >= text_.size()) fail_here("the end of a text");
            const char c = text_[at_];
            if (static_cast<unsigned char>(c) < 0x20) fail_here("no control character");
            ++at_;
            if (c == '"') return out;
            if (c == '\\') {
                read_escape(out);
            } else if (static_cast<unsigned char>(c) < 0x80) {
                out += c;
            } else {
                --at_;
                read_utf8(out);
            }
        }
    }

    // A character of two to four bytes: messages that quote it must be text.
    void read_utf8(std::string& out) {
        const auto first = static_cast<unsigned char>(text_[at_]);
        const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
        uint32_t code = first & (0xFF >> (length + 1));
        bool is_valid = first >= 0xC2 && first <= 0xF4 && text_.size() - at_ >= length;
        for (size_t i = 1; is_valid && i < length; ++i) {
            const auto byte = static_cast<unsigned char>(text_[at_ + i]);
            is_valid = (byte & 0xC0) == 0x80;
            code = code << 6 | (byte & 0x3F);
        }
        constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
        is_valid = is_valid && code >= kLeast[length] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
        if (!is_valid) fail_here("UTF-8");
        out.append(text_, at_, length);
        at_ += length;
    }

    void read_escape(std::string& out) {
        constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
        if (at_ >= text_.size()) fail_here("an escape");
        const char c = text_[at_++];
        if (const size_t i = kNames.find(c); i != std::string_view::npos) {
            out += kValues[i];
            return;
        }
        if (c != 'u') fail_here("an escape");
        uint32_t code = read_hex();
        if (code >= 0xD800 && code < 0xDC00) {
            if (!take_word("\\u")) fail_here("the second half of a surrogate pair");
            const uint32_t low = read_hex();
            if (low < 0xDC00 || low > 0xDFFF) fail_here("the second half of a surrogate pair");
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        } else if (code >= 0xDC00 && code <= 0xDFFF) {
            fail_here("the first half of a surrogate pair");
        }
        append_utf8(out, code);
    }

    void read_number(Json& value) {
        const size_t end = std::min(text_.find_first_not_of("+-0123456789.eE", at_), text_.size());
        const char *first = text_.data() + at_, *last = text_.data() + end;
        const char* digits = first + (first < last && *first == '-');
        const bool has_lead = digits < last && *digits >= '0' && *digits <= '9';
        if (!has_lead || (*digits == '0' && digits + 1 < last && digits[1] >= '0' && digits[1] <= '9'))
            fail_here("a value");
        value.kind_ = Json::Kind::kNumber;
        const auto whole = std::from_chars(first, last, value.whole_);
        value.is_whole_ = whole.ec == std::errc() && whole.ptr == last;
        const auto number = std::from_chars(first, last, value.number_);
        if (number.ec != std::errc() || number.ptr != last || !std::isfinite(value.number_))
            fail_here("a finite number");
        const size_t point = text_.substr(at_, end - at_).find('.');
        const char* behind = first + point + 1;
        if (point != std::string_view::npos && (behind == last || *behind < '0' || *behind > '9'))
            fail_here("a digit after the point");
        at_ = end;
    }

    std::string_view text_;
    size_t at_ = 0;
};

Json Json::parse(std::string_view text) { return JsonParser(text).run(); }

std::string Json::print(size_t limit) const {
    std::string out;
    print_to(out, limit);
    if (out.size() > limit) out.resize(limit), out += "...";
    return out;
}

void Json::print_to(std::string& out, size_t limit) const {
    if (out.size() > limit) return;
    if (kind_ == Kind::kNull) out += "null";
    if (kind_ == Kind::kBoolean) out += boolean_ ? "true" : "false";
    if (kind_ == Kind::kText) print_text(out, text_);
    if (kind_ == Kind::kNumber) {
        char buffer[32];
        const auto end = is_whole_ ? std::to_chars(buffer, buffer + sizeof buffer, whole_)
                                   : std::to_chars(buffer, buffer + sizeof buffer, number_);
        out.append(buffer, end.ptr);
    }
    if (kind_ == Kind::kArray) {
        out += '[';
        for (size_t i = 0; i < items_.size() && out.size() <= limit; ++i) {
            if (i > 0) out += ", ";
            items_[i].print_to(out, limit);
        }
        out += ']';
    }
    if (kind_ == Kind::kObject) {
        out += '{';
        for (size_t i = 0; i < members_.size() && out.size() <= limit; ++i) {
            if (i > 0) out += ", ";
            print_text(out, members_[i].first);
            out += ": ";
            members_[i].second.print_to(out, limit);
        }
        out += '}';
    }
}

void Json::fail_kind(std::string_view what, std::string_view expected) const {
    fail(Code::FORMAT, what, ": got ", print(60), ", expected ", expected);
}

bool Json::as_boolean(std::string_view what) const {
    if (kind_ != Kind::kBoolean) fail_kind(what, "true or false");
    return boolean_;
}

double Json::as_number(std::string_view what) const {
    if (kind_ != Kind::kNumber) fail_kind(what, "a number");
    return number_;
}

int64_t Json::as_integer(std::string_view what, int64_t low, int64_t high) const {
    if (kind_ != Kind::kNumber || !is_whole_ || whole_ < low || whole_ > high)
        fail_kind(what, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    return whole_;
}

const std::string& Json::as_text(std::string_view what) const {
    if (kind_ != Kind::kText) fail_kind(what, "a text");
    return text_;
}

const std::vector<Json>& Json::as_array(std::string_view what) const {
    if (kind_ != Kind::kArray) fail_kind(what, "a list");
    return items_;
}

const std::vector<Json::Member>& Json::as_object(std::string_view what) const {
    if (kind_ != Kind::kObject) fail_kind(what, "an object");
    return members_;
}

const Json* Json::find(std::string_view key) const {
    for (const Member& member : as_object(key))
        if (member.first == key) return &member.second;
    return nullptr;
}

const Json& Json::at(std::string_view key) const {
    const Json* value = find(key);
    COVFAST_REQUIRE(value != nullptr, FORMAT, key, ": got ", print(60), ", expected an object that has it");
    return *value;
}

std::vector<int64_t> Json::integers(std::string_view key, size_t count, int64_t low, int64_t high) const {
    const std::vector<Json>& items = array(key);
    if (count != 0 && items.size() != count) at(key).fail_kind(key, std::to_string(count) + " integers");
    std::vector<int64_t> values;
    for (const Json& item : items) values.push_back(item.as_integer(key, low, high));
    return values;
}

std::vector<double> Json::numbers(std::string_view key, size_t count) const {
    const std::vector<Json>& items = array(key);
    if (count != 0 && items.size() != count) at(key).fail_kind(key, std::to_string(count) + " numbers");
    std::vector<double> values;
    for (const Json& item : items) values.push_back(item.as_number(key));
    return values;
}

}  // namespace covfast
